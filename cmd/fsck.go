package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt"
	"fsenc/internal/fsck"
	"fsenc/internal/image"
	"fsenc/internal/survey"
)

// fsckOptions are the flags of fsck.
type fsckOptions struct {
	keys    keyFlags
	content bool
	repair  bool
	preen   bool
}

func newFsck(a *app) *cobra.Command {
	var o fsckOptions
	c := &cobra.Command{
		Use:     "fsck IMAGE",
		GroupID: groupRead,
		Short:   "Check the encryption metadata of an image",
		Long: "Check the encryption metadata of an image: contexts, policies, nonces, stored names\n" +
			"and targets, and what of the filesystem bears on them. With a\n" +
			"key names, targets and the ends of files are decoded too; with --content all that\n" +
			"encrypted files hold.\n\n" +
			"Nothing is written unless --repair says so: then what can be put right without a\n" +
			"doubt is, before the check. On btrfs those are contexts of extents: a missing one is\n" +
			"taken from another reference to the same blocks if the key decrypts them with it, one\n" +
			"without an extent is removed. --preen does the same without asking.\n\n" +
			"A passphrase is asked for only if --key-id or --protector say which.",
		Args:              operands("IMAGE"),
		ValidArgsFunction: completeImage,
		RunE:              func(_ *cobra.Command, args []string) error { return a.fsck(&o, args[0]) },
	}
	c.Flags().BoolVar(&o.repair, "repair", false, "put right what can be without a doubt")
	c.Flags().BoolVar(&o.preen, "preen", false, "likewise, without asking")
	c.Flags().BoolVar(&o.content, "content", false, "read all contents of the files that a key opens, and what has checksums (btrfs)")
	o.keys.register(c.Flags())
	return c
}

func (a *app) fsck(o *fsckOptions, path string) error {
	repaired := 0
	if o.repair || o.preen {
		if o.preen {
			a.flags.yes = true
		}
		var err error
		if repaired, err = a.repair(o, path); err != nil {
			return err
		}
	}
	x, err := a.openChecking(path, &o.keys)
	if err != nil {
		return err
	}
	defer x.Close()
	if err := x.unlockAll(); err != nil {
		return err
	}
	r := newFsckReport(x)
	defer r.stop()
	sb := x.fs.Super()
	res, err := fsck.Check(r.ctx, x.fs, fsck.Options{
		Keys: x.ring, Content: o.content, Report: r.finding,
		Progress: func(n uint64) {
			r.meter.update(tick{Phase: "check", Items: n, TotalItems: sb.Inodes - min(sb.Inodes, sb.FreeInodes)})
		},
	})
	r.meter.finish()
	if err := errors.Join(r.err, ignoreStop(err, r.err)); err != nil {
		return err
	}
	if err := r.summary(res); err != nil {
		return err
	}
	return r.verdict(o, res, repaired > 0 && !a.flags.dryRun)
}

// ignoreStop drops the error of a check that was stopped for another reason.
func ignoreStop(err, why error) error {
	if why != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// openChecking opens an image whatever state it is in: that is a finding.
func (a *app) openChecking(path string, k *keyFlags) (*access, error) {
	x, err := a.openInspecting(path, k)
	if err != nil {
		return nil, err
	}
	x.silent = !k.passphraseGiven() && k.keyID == "" && k.protector == ""
	return x, nil
}

// unlockAll unlocks by the image's metadata the policies that no raw key is the
// one of. Where only raw keys were given they need not open everything.
func (x *access) unlockAll() error {
	if !x.k.given() {
		return nil
	}
	s, err := survey.Take(x.app.ctx, x.fs)
	if err != nil {
		return err
	}
	var first, unknown error // what is wrong with a secret tells more than that .fscrypt lacks a policy
	opened := x.silent
	for _, u := range s.Policies {
		if _, err := x.ring.For(u.Policy); err == nil {
			continue
		}
		err := x.unlockPolicy(u.Policy)
		switch {
		case err == nil:
			opened = true
		case errors.Is(err, errNoMetadata):
			unknown = cmp.Or(unknown, fmt.Errorf("%w: policy %s", crypt.ErrNoKey, u.Policy.KeySpec()))
		default:
			first = cmp.Or(first, err)
		}
	}
	if opened {
		return nil // the summary tells how much stays closed
	}
	return cmp.Or(first, unknown)
}

// fsckReport prints findings as they come.
type fsckReport struct {
	*access
	ctx   context.Context
	stop  context.CancelFunc
	meter *meter
	err   error // of printing; it stops the check
}

func newFsckReport(x *access) *fsckReport {
	r := &fsckReport{access: x, meter: x.app.newMeter()}
	r.ctx, r.stop = context.WithCancel(x.app.ctx)
	return r
}

// jsonFinding is a finding in JSON.
type jsonFinding struct {
	header
	Event    string     `json:"event"`
	ID       string     `json:"id"`
	Severity string     `json:"severity"`
	Inode    image.Ino  `json:"inode,omitempty"`
	Block    image.Pblk `json:"block,omitempty"`
	Path     string     `json:"path,omitempty"`
	Bytes    []byte     `json:"path_bytes,omitempty"`
	Text     string     `json:"text"`
	Advice   string     `json:"advice,omitempty"`
}

func (r *fsckReport) finding(f fsck.Finding) {
	if r.meter.form == "bar" {
		r.meter.finish() // make room on the terminal
	}
	if r.app.json() {
		p := pathOf(f.Path)
		r.keep(r.app.emit(jsonFinding{headerOf("fsck"), "finding", f.ID, f.Severity.String(), f.Ino, f.Pblk,
			p.Path, p.PathBytes, f.Text, f.Advice}))
	} else {
		_, err := fmt.Fprintln(r.app.out, r.line(f))
		r.keep(err)
	}
	r.keep(r.app.out.Flush())
}

// keep keeps the first error and stops the check: nobody would see the rest.
func (r *fsckReport) keep(err error) {
	if err != nil && r.err == nil {
		r.err = err
		r.stop()
	}
}

// line is a finding as text.
func (r *fsckReport) line(f fsck.Finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: ", f.Severity, f.ID)
	if f.Path != "" {
		b.WriteString(escapeString(f.Path) + ": ")
	}
	text := clean(f.Text)
	if f.Ino != 0 && !strings.Contains(text, fmt.Sprintf("inode %d", f.Ino)) {
		fmt.Fprintf(&b, "inode %d: ", f.Ino)
	}
	b.WriteString(text)
	if f.Advice != "" {
		b.WriteString("\n    " + clean(strings.ReplaceAll(f.Advice, "IMAGE", r.app.operand())))
	}
	return b.String()
}

// jsonFsck is the last object of the result.
type jsonFsck struct {
	header
	Event     string `json:"event"`
	Image     string `json:"image"`
	Clean     bool   `json:"clean"`
	Inodes    uint64 `json:"inodes"`
	Encrypted uint64 `json:"encrypted_inodes"`
	Opened    uint64 `json:"opened_inodes"`
	Inline    uint64 `json:"inline_files,omitempty"`
	Format    string `json:"inline_contents,omitempty"`
	Errors    int    `json:"errors"`
	Warnings  int    `json:"warnings"`
	Infos     int    `json:"infos"`
}

func (r *fsckReport) summary(res fsck.Result) error {
	clean := res.Errors+res.Warnings == 0
	if r.app.json() {
		return r.app.emit(jsonFsck{headerOf("fsck"), "summary", r.path, clean, res.Inodes, res.Encrypted, res.Opened,
			res.Inline, r.fs.Super().Inline, res.Errors, res.Warnings, res.Infos})
	}
	verdict := "clean"
	if !clean {
		verdict = plural(res.Errors, "error") + ", " + plural(res.Warnings, "warning")
	}
	_, err := fmt.Fprintf(r.app.out, "%s: %s; %s, %d encrypted, %d of them opened with a key\n",
		escapeString(r.path), verdict, plural(res.Inodes, "inode"), res.Encrypted, res.Opened)
	if err == nil && res.Inline > 0 {
		_, err = fmt.Fprintf(r.app.out, "%s: encrypted inside of inodes: %s, %s\n",
			escapeString(r.path), plural(res.Inline, "file"), r.fs.Super().Inline)
	}
	return err
}

// verdict makes the exit code, a sum.
func (r *fsckReport) verdict(o *fsckOptions, res fsck.Result, repaired bool) error {
	code := exitDone
	if repaired {
		code |= fsckRepaired
	}
	if res.Errors+res.Warnings > 0 {
		code |= fsckProblems
	}
	switch {
	case o.keys.given() && res.Opened == 0 && res.Encrypted > 0:
		// Whoever gives a key wants more checked than was.
		r.app.warn("%v: nothing in the image was opened, so only what needs no key is checked", crypt.ErrWrongKey)
		code |= fsckFailed
	case o.content && res.Encrypted > res.Opened:
		r.app.note("the contents of %s were not read: there is no key for them", plural(res.Encrypted-res.Opened, "inode"))
	}
	if code == exitDone {
		return nil
	}
	return codeError(code)
}
