package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"fsenc/internal/convert"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/txn"
)

// stateDir keeps the logs of block devices, beside which no file can lie.
const stateDir = "/var/lib/fsenc"

// convertOptions are what encrypt-dir and decrypt-dir have in common.
type convertOptions struct {
	keys       keyFlags
	log        string
	initOnly   bool
	resilience string
	copyTo     string
}

// register adds the flags that all conversions have.
func (o *convertOptions) register(f *pflag.FlagSet) {
	o.keys.register(f)
	f.StringVar(&o.log, "journal", "", "keep the journal in `FILE` instead of IMAGE.fsenc")
	f.BoolVar(&o.initOnly, "init-only", false, "record the plan and mark the image; fsenc resume does the work")
	f.StringVar(&o.resilience, "resilience", "checksum", "protect contents by `MODE`: checksum, journal, or none (copies only)")
	f.StringVar(&o.copyTo, "copy-to", "", "write the converted image to the new file `NEW` and leave IMAGE alone")
}

// check refuses what contradicts itself, before anything is opened.
func (o *convertOptions) check() error {
	switch {
	case o.resilience != "checksum" && o.resilience != "journal" && o.resilience != "none":
		return usagef("--resilience: %q is none of checksum, journal, none", o.resilience)
	case o.resilience == "none" && o.copyTo == "":
		e := usagef("--resilience none is for copies: without a journal a power cut in the middle would lose the tree")
		e.hint = "use --copy-to NEW"
		return e
	case o.copyTo != "" && (o.initOnly || o.log != ""):
		return usagef("--copy-to needs no journal: --init-only and --journal do not go with it")
	}
	return nil
}

// openConverting opens the image that a conversion is to change: the image
// itself, or a copy that comes to be.
func (a *app) openConverting(path string, o *convertOptions) (*access, error) {
	if err := errors.Join(o.check(), o.keys.check()); err != nil {
		return nil, err
	}
	keys, err := a.masterKeys(&o.keys)
	if err != nil {
		return nil, err
	}
	open := a.openImage
	if o.copyTo != "" {
		open = func(path string, po probe.Options) (*opened, error) { return a.openCopy(path, o.copyTo, po) }
	}
	img, err := open(path, probe.Options{Write: true})
	if err != nil {
		wipeKeys(keys)
		return nil, err
	}
	return a.accessTo(img, &o.keys, keys), nil
}

// logPath is where the log of an image lies: beside it, unless the user wants
// it elsewhere.
func logPath(image, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	st, err := os.Stat(image)
	if err != nil {
		return "", err
	}
	if st.Mode().IsRegular() {
		return image + ".fsenc", nil
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return "", &hinted{fmt.Errorf("make a place for the log: %w", err), "name a file with --journal"}
	}
	return filepath.Join(stateDir, filepath.Base(image)+".fsenc"), nil
}

// tops finds the directories to convert.
func (x *access) tops(paths []string) ([]convert.Top, error) {
	var out []convert.Top
	seen := make(map[image.Ino]bool)
	for _, p := range paths {
		n, lock, err := x.lookup(p)
		if err == nil {
			err = lock
		}
		if err != nil {
			return nil, err
		}
		if !seen[n.Ino] {
			seen[n.Ino] = true
			out = append(out, convert.Top{Path: n.Path, Ino: n.Ino})
		}
	}
	return out, nil
}

// wholeTrees finds the encrypted directories to convert, each of which must be
// where an encrypted tree begins.
func (x *access) wholeTrees(paths []string) ([]convert.Top, error) {
	tops, err := x.tops(paths)
	if err != nil {
		return nil, err
	}
	for _, t := range tops {
		parent, _, err := x.lookup(filepath.Dir(t.Path))
		if err != nil {
			return nil, err
		}
		attr, err := x.tree.Attr(parent)
		if err != nil {
			return nil, err
		}
		if attr.Encrypted && t.Ino != x.fs.Root() {
			return nil, convert.RefuseInside(t)
		}
	}
	return tops, nil
}

// conversion is one run of a plan: what the user is told, and doing it.
type conversion struct {
	*access
	command string
	o       *convertOptions
	plan    *convert.Plan
	log     string
	opts    convert.Options
}

// jsonConversion is a plan, or what became of it, in JSON.
type jsonConversion struct {
	header
	Image     string       `json:"image"`
	Paths     []jsonPath   `json:"paths"`
	Policies  []jsonPolicy `json:"policies"`
	Target    *jsonPolicy  `json:"new_policy,omitempty"`
	Files     uint64       `json:"files"`
	Dirs      uint64       `json:"dirs"`
	Symlinks  uint64       `json:"symlinks"`
	Others    uint64       `json:"others"`
	Skipped   uint64       `json:"skipped"`
	Names     uint64       `json:"names"`
	Bytes     int64        `json:"bytes"`
	NeedBytes int64        `json:"need_bytes"`
	FreeBytes int64        `json:"free_bytes"`
	Journal   string       `json:"journal"`
	State     string       `json:"state"` // planned; begun; done; done, not verified; nothing to do
	Verified  bool         `json:"verified"`
}

func (v *conversion) result(state string) error {
	t := v.plan.Totals
	if !v.app.json() {
		return v.text(state)
	}
	r := jsonConversion{
		header: headerOf(v.command), Image: v.path, Files: t.Files, Dirs: t.Dirs, Symlinks: t.Links,
		Others: t.Others, Skipped: t.Skipped, Names: t.Names, Bytes: t.Bytes, NeedBytes: t.NeedBytes,
		FreeBytes: t.FreeBytes, Journal: v.log, State: state, Verified: state == "done",
		Policies: []jsonPolicy{}, Paths: []jsonPath{},
	}
	for _, p := range v.plan.Policies {
		r.Policies = append(r.Policies, policyJSON(p, v.fs.Super().BlockSize))
	}
	if v.plan.Target != nil {
		p := policyJSON(*v.plan.Target, v.fs.Super().BlockSize)
		r.Target = &p
	}
	for _, p := range v.plan.Tops {
		r.Paths = append(r.Paths, pathOf(p.Path))
	}
	return v.app.emit(r)
}

// text prints the result after the plan, which went to stderr, or stands for
// the result of a dry run.
func (v *conversion) text(state string) error {
	if state == "planned" {
		return v.describe(v.app.out.Write)
	}
	t := v.plan.Totals
	verb := map[convert.Op]string{convert.Encrypt: "encrypted", convert.Decrypt: "decrypted", convert.Rekey: "rekeyed"}[v.plan.Op]
	var err error
	switch state {
	case "nothing to do":
		_, err = fmt.Fprintf(v.app.out, "nothing to do: %s as wanted already\n", plural(t.Skipped, "inode"))
	case "begun":
		_, err = fmt.Fprintf(v.app.out, "begun, nothing converted: fsenc resume %s goes on\n", operand(v.path))
	default:
		verified := "read back from the image, every name decodes and every inode has its new form"
		if state != "done" {
			verified = "no: fsenc fsck " + operand(v.path) + " does it"
		}
		_, err = fmt.Fprintf(v.app.out, "%s %s, %s, %s, %s of contents\nverified: %s\n", verb,
			plural(t.Files, "file"), plural(t.Dirs, "directory"), plural(t.Links, "symlink"), iec(t.Bytes), verified)
		err = errors.Join(err, v.howToTest())
	}
	return err
}

// howToTest names the commands that let a real kernel judge.
func (v *conversion) howToTest() error {
	img := operand(v.path)
	if v.o.copyTo != "" {
		img = operand(v.o.copyTo)
	}
	if v.plan.Op == convert.Decrypt {
		_, err := fmt.Fprintf(v.app.out, "test it: e2fsck -fn %[1]s && mount -o loop,ro %[1]s /mnt\n", img)
		return err
	}
	unlock := "fscryptctl add_key /mnt < KEYFILE"
	if !v.k.raw() {
		unlock = "fscrypt unlock /mnt" + operand(v.plan.Tops[0].Path)
	}
	_, err := fmt.Fprintf(v.app.out, "test it: e2fsck -fn %[1]s && mount -o loop %[1]s /mnt && %[2]s\n", img, unlock)
	return err
}

// describe prints what is going to be done.
func (v *conversion) describe(write func([]byte) (int, error)) error {
	t, sb := v.plan.Totals, v.fs.Super()
	tab := newTable(writerFunc(write))
	tab.row("image:", v.path)
	tab.row("filesystem:", sb.Kind+", "+uuid(sb.UUID))
	for _, top := range v.plan.Tops {
		tab.row(v.plan.Op.String()+":", top.Path)
	}
	tab.row("contains:", fmt.Sprintf("%s, %s, %s, %s", plural(t.Files, "file"), plural(t.Dirs, "directory"),
		plural(t.Links, "symlink"), iec(t.Bytes)))
	if t.Skipped > 0 {
		tab.row("left alone:", plural(t.Skipped, "inode")+", as wanted already")
	}
	for _, p := range v.plan.Policies {
		tab.row("policy:", policyWords(p, sb.BlockSize))
	}
	if v.plan.Target != nil {
		tab.row("new policy:", policyWords(*v.plan.Target, sb.BlockSize))
	}
	tab.row("space:", fmt.Sprintf("%s at most, %s free", iec(t.NeedBytes), iec(t.FreeBytes)))
	if v.copy != nil {
		tab.row("copy:", v.o.copyTo+" gets the result, "+v.path+" stays as it is")
		return tab.flush()
	}
	tab.row("journal:", fmt.Sprintf("%s, %s, contents by %s", v.log, v.journalSize(), v.plan.Method()))
	tab.row("undo:", "possible until it is finished: fsenc undo "+operand(v.path))
	if v.plan.Op == convert.Decrypt {
		tab.row("note:", "the journal holds plaintext while this runs; it is overwritten in the end")
	}
	if v.plan.Op != convert.Decrypt && !v.file.Device() {
		tab.row("note:", "what the host keeps outside of the file (flash, snapshots) is not reached: --copy-to writes a new one")
	}
	return tab.flush()
}

func policyWords(p policy.Policy, blockSize int) string {
	return fmt.Sprintf("v%d, %s, %s, key %s", p.Version, policyModes(p), policyFlags(p, blockSize), p.KeySpec())
}

// journalSize is about how large the journal becomes.
func (v *conversion) journalSize() string {
	n := int64(8 << 20)
	if v.plan.Method() == txn.Journal {
		n += min(3*64<<20, 2*v.plan.Totals.Bytes)
	}
	return "up to about " + iec(n)
}

// writerFunc makes a function an io.Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// carryOut asks, converts and reports.
func (v *conversion) carryOut() error {
	v.plan.Journal = v.o.resilience == "journal"
	if v.log == "" && v.copy == nil {
		var err error
		if v.log, err = logPath(v.path, v.o.log); err != nil {
			return err
		}
	}
	if v.plan.Inodes() == 0 {
		return v.result("nothing to do")
	}
	if v.app.flags.dryRun {
		return v.result("planned")
	}
	if !v.app.set.Quiet && !v.app.json() {
		if err := v.describe(v.app.stderr.Write); err != nil {
			return err
		}
	}
	if err := v.app.confirm("Proceed?"); err != nil {
		return err
	}
	if v.copy != nil {
		return v.convertCopy()
	}
	log, err := createLog(v.log)
	if err != nil {
		return err
	}
	c, err := convert.Begin(v.home, log, v.plan, v.ring)
	if err != nil {
		return v.app.beginFailed(log, err)
	}
	v.app.wrote = true
	if v.o.initOnly {
		return errors.Join(log.Close(), v.result("begun"))
	}
	if err := v.app.runConversion(c, log, convert.Forward); err != nil {
		return err
	}
	state, err := v.verify()
	if err != nil {
		return err
	}
	return v.result(state)
}

// verify reads the converted trees back and tells the state that is reached.
func (v *conversion) verify() (string, error) {
	err := convert.Verify(v.app.ctx, v.home, v.plan, v.opts)
	if errors.Is(err, context.Canceled) {
		v.app.warn("interrupted: the conversion is complete, reading it back was cut short")
		return "done, not verified", nil
	}
	return "done", err
}

// createLog makes a log and says what one that is there means.
func createLog(path string) (*txn.LogFile, error) {
	log, err := txn.CreateLogFile(path)
	if errors.Is(err, txn.ErrLogExists) {
		return nil, &hinted{err, "it is of a conversion that did not end: fsenc resume IMAGE or fsenc undo IMAGE deals with it"}
	}
	return log, err
}

// beginFailed takes the log away again where the image was not touched.
func (a *app) beginFailed(log *txn.LogFile, err error) error {
	if errors.Is(err, txn.ErrUnfinished) {
		return errors.Join(err, log.Close())
	}
	return errors.Join(err, log.Remove())
}

// runConversion moves a conversion to one end and removes its log.
func (a *app) runConversion(c *convert.Conversion, log *txn.LogFile, d convert.Direction) error {
	if err := a.show(c, d); err != nil {
		return errors.Join(err, log.Close())
	}
	return log.Remove()
}

// show runs a conversion and shows its progress.
func (a *app) show(c *convert.Conversion, d convert.Direction) error {
	m := a.newMeter()
	c.OnProgress(func(p convert.Progress) {
		m.update(tick{Phase: p.Phase, Items: p.Items, TotalItems: p.TotalItems, Bytes: p.Bytes, TotalBytes: p.TotalBytes})
	})
	err := c.Run(a.ctx, d)
	m.finish()
	return err
}
