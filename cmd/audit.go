package cmd

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"fsenc/internal/audit"
	"fsenc/internal/fsck"
)

// auditFindings is the exit code of an audit that found something.
const auditFindings = 4

// auditOptions are the flags of audit.
type auditOptions struct {
	keys   keyFlags
	source string
}

func newAudit(a *app) *cobra.Command {
	var o auditOptions
	c := &cobra.Command{
		Use:     "audit IMAGE [PATH]",
		GroupID: groupRead,
		Short:   "Look for plaintext where there should be none",
		Long: "Report what is unencrypted in an encrypted directory and, if PATH is given,\n" +
			"everything below PATH that is unencrypted; and what is to be said against the\n" +
			"policies in use. Nothing is written, and no key is needed: one that is given makes\n" +
			"paths readable.\n\n" +
			"With --plaintext-of the whole image is searched for the names, symlink targets and\n" +
			"contents of the files of a directory, or of one file: free blocks, free inode slots,\n" +
			"the journal, gaps in directories and inodes, and the blocks of other files.",
		Args:              operands("IMAGE", "[PATH]"),
		ValidArgsFunction: a.completePaths(&o.keys, false),
		RunE:              func(_ *cobra.Command, args []string) error { return a.audit(&o, args[0], args[1:]) },
	}
	f := c.Flags()
	f.StringVar(&o.source, "plaintext-of", "", "search for what is in `SRC`, the unencrypted original")
	o.keys.register(f)
	return c
}

func (a *app) audit(o *auditOptions, path string, paths []string) error {
	if err := checkPaths(paths...); err != nil {
		return err
	}
	x, err := a.openReading(path, &o.keys)
	if err != nil {
		return err
	}
	defer x.Close()
	x.silent = !o.keys.passphraseGiven() && o.keys.keyID == "" && o.keys.protector == ""
	if err := x.unlockAll(); err != nil {
		return err
	}
	r := &auditReport{fsckReport: newFsckReport(x)}
	defer r.stop()
	if err := r.tree(strings.Join(paths, "")); err != nil {
		return err
	}
	if o.source != "" {
		if err := r.scan(o.source); err != nil {
			return err
		}
	}
	return r.end()
}

// auditReport prints findings as they come.
type auditReport struct {
	*fsckReport
	sum jsonAudit
}

// jsonAudited is a finding in JSON.
type jsonAudited struct {
	jsonFinding
	Region string     `json:"region,omitempty"`
	Match  *jsonMatch `json:"match,omitempty"`
}

// jsonMatch is what of the source was found.
type jsonMatch struct {
	Kind        string `json:"kind"`
	Source      string `json:"source"`
	SourceBytes []byte `json:"source_bytes,omitempty"`
	Bytes       int64  `json:"bytes"`
}

// jsonAudit is the last object of the result.
type jsonAudit struct {
	header
	Event       string      `json:"event"`
	Image       string      `json:"image"`
	Clean       bool        `json:"clean"`
	Names       uint64      `json:"names"`
	Encrypted   uint64      `json:"encrypted"`
	Unencrypted uint64      `json:"unencrypted"`
	Scan        *jsonScan   `json:"scan,omitempty"`
	Source      *jsonSource `json:"source,omitempty"`
	Errors      int         `json:"errors"`
	Warnings    int         `json:"warnings"`
	Infos       int         `json:"infos"`
}

// jsonScan is how much of the image was searched.
type jsonScan struct {
	Bytes   int64  `json:"bytes"`
	Read    int64  `json:"read_bytes"` // the rest are holes
	Matches uint64 `json:"matches"`
	Untold  uint64 `json:"matches_untold"`
}

// jsonSource is what the image was searched for.
type jsonSource struct {
	Path    string `json:"path"`
	Files   uint64 `json:"files"`
	Dirs    uint64 `json:"dirs"`
	Links   uint64 `json:"symlinks"`
	Bytes   int64  `json:"bytes"`
	Names   uint64 `json:"names"`
	Sectors uint64 `json:"sectors"`
	OneIn   uint64 `json:"sectors_sampled_one_in"`
	Dropped uint64 `json:"names_left_out"`
	Unread  int    `json:"unread"`
}

func (r *auditReport) finding(f audit.Finding) error {
	if r.meter.form == "bar" {
		r.meter.finish() // make room on the terminal
	}
	if err := r.print(f); err != nil {
		return err
	}
	return r.app.out.Flush()
}

func (r *auditReport) print(f audit.Finding) error {
	if !r.app.json() {
		_, err := fmt.Fprintln(r.app.out, r.line(fsck.Finding{Finding: f.Finding, Path: f.Path}))
		return err
	}
	p := pathOf(f.Path)
	j := jsonAudited{jsonFinding{headerOf("audit"), "finding", f.ID, f.Severity.String(), f.Ino, f.Pblk, p.Path, p.PathBytes,
		f.Text, f.Advice}, string(f.Region), nil}
	if f.Region != "" {
		source := pathOf(f.Match.Source)
		j.Match = &jsonMatch{string(f.Match.Kind), source.Path, source.PathBytes, f.Match.Bytes}
	}
	return r.app.emit(j)
}

// tree walks all directories; below a path that was given everything has to be
// encrypted.
func (r *auditReport) tree(path string) error {
	top, _, err := r.lookup(cmp.Or(path, "/"))
	if err != nil {
		return err
	}
	res, err := audit.Tree(r.ctx, r.access.tree, top, top.Ino != r.fs.Root(), r.finding)
	r.sum.Names, r.sum.Encrypted, r.sum.Unencrypted = res.Inodes, res.Encrypted, res.Unencrypted
	r.count(res.Result)
	return err
}

func (r *auditReport) count(res audit.Result) {
	r.sum.Errors, r.sum.Warnings, r.sum.Infos = r.sum.Errors+res.Errors, r.sum.Warnings+res.Warnings, r.sum.Infos+res.Infos
}

// scan searches the image for what is in a directory of the host.
func (r *auditReport) scan(source string) error {
	src, err := audit.ReadSource(r.ctx, source, func(st audit.Stats) {
		r.meter.update(tick{Phase: "read source", Items: st.Files, Bytes: st.Bytes})
	})
	if err != nil {
		return &hinted{fmt.Errorf("--plaintext-of %s: %w", escapeString(source), unwrapPath(err)), "SRC is the unencrypted original, outside of the image"}
	}
	st := src.Stats()
	r.warn(st)
	total := r.fs.Super().SizeBytes
	res, err := audit.Scan(r.ctx, r.access.tree, r.home, src, func(n int64) {
		r.meter.update(tick{Phase: "search", Bytes: n, TotalBytes: total})
	}, r.finding)
	r.meter.finish()
	if err != nil {
		return err
	}
	if res.Untold > 0 {
		r.app.warn("%d of %d matches are not shown: zero free space with fsenc wipe-free, then look again", res.Untold, res.Matches)
	}
	r.count(res.Result)
	r.sum.Scan = &jsonScan{res.Bytes, res.Read, res.Matches, res.Untold}
	r.sum.Source = &jsonSource{source, st.Files, st.Dirs, st.Links, st.Bytes, st.Names, st.Sectors, st.SampledOneIn,
		st.Dropped, len(st.Unread)}
	return nil
}

// warn tells what of the source is not searched for.
func (r *auditReport) warn(st audit.Stats) {
	for _, err := range st.Unread {
		r.app.warn("not searched for: %v", err)
	}
	if st.SampledOneIn > 1 {
		r.app.warn("one in %d of %d sectors is searched for: the source has more than fit into memory", st.SampledOneIn, st.Sectors)
	}
	if st.Dropped > 0 {
		r.app.warn("%s, targets or short files are not searched for: the source has more than fit into memory", plural(st.Dropped, "name"))
	}
}

// end prints the summary and makes the exit code.
func (r *auditReport) end() error {
	r.sum.header, r.sum.Event, r.sum.Image = headerOf("audit"), "summary", r.path
	r.sum.Clean = r.sum.Errors+r.sum.Warnings == 0
	if err := r.summary(); err != nil {
		return err
	}
	if !r.sum.Clean {
		return codeError(auditFindings)
	}
	if r.sum.Source != nil && r.sum.Source.Unread > 0 {
		return fmt.Errorf("%w: %s of the source could not be read", errPartial, plural(r.sum.Source.Unread, "file"))
	}
	return nil
}

func (r *auditReport) summary() error {
	if r.app.json() {
		return r.app.emit(r.sum)
	}
	verdict := "nothing found"
	if !r.sum.Clean {
		verdict = plural(r.sum.Errors, "error") + ", " + plural(r.sum.Warnings, "warning")
	}
	searched := ""
	if s := r.sum.Source; s != nil {
		searched = fmt.Sprintf("; searched %s for %s, %s and %s of contents", iec(r.sum.Scan.Bytes), plural(s.Names, "name"), plural(s.Links, "target"), iec(s.Bytes))
	}
	_, err := fmt.Fprintf(r.app.out, "%s: %s; %d encrypted, %d not%s\n", escapeString(r.path), verdict, r.sum.Encrypted, r.sum.Unencrypted, searched)
	return err
}
