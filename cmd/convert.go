package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"fsenc/internal/convert"
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
	shared     string
}

// register adds the flags that all conversions have.
func (o *convertOptions) register(f *pflag.FlagSet) {
	o.keys.register(f)
	f.StringVar(&o.log, "journal", "", "keep the journal in `FILE` instead of IMAGE.fsenc")
	f.BoolVar(&o.initOnly, "init-only", false, "record the plan and mark the image; fsenc resume does the work")
	f.StringVar(&o.resilience, "resilience", "checksum", "protect contents by `MODE`: checksum, journal, or none (copies only)")
	f.StringVar(&o.shared, "shared", "refuse", "where others share extents with the tree (btrfs): `refuse`, unshare (copy them), or whole (take snapshots of the tree along, copy the rest)")
	f.StringVar(&o.copyTo, "copy-to", "", "write the converted image to the new file `NEW` and leave IMAGE alone")
}

// check refuses what contradicts itself, before anything is opened.
func (o *convertOptions) check() error {
	switch {
	case o.shared != "refuse" && o.shared != "unshare" && o.shared != "whole":
		return usagef("--shared: %q is none of refuse, unshare, whole", o.shared)
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

// tops finds the directories to convert. One that lies below another is
// converted with it.
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
	all := slices.Clone(out)
	return slices.DeleteFunc(out, func(t convert.Top) bool {
		return slices.ContainsFunc(all, func(o convert.Top) bool { return strings.HasPrefix(t.Path, o.Path+"/") })
	}), nil
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
	tops    []convert.Top

	// make plans for an open filesystem; it is called again when the image has
	// been changed on the way.
	make func(fs image.FS, tops []convert.Top, o convert.Options) (*convert.Plan, error)
}

// run plans and carries out.
func (v *conversion) run() error {
	if v.o.shared != "refuse" {
		v.opts.Shared = convert.UnshareShared // with whole, what is left
	}
	if v.o.shared == "whole" {
		if err := v.addTwins(); err != nil {
			return err
		}
	}
	p, err := v.make(v.fs, v.tops, v.opts)
	if err != nil {
		return v.app.refusals(err)
	}
	v.plan = p
	return v.carryOut()
}

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
		if err := v.unshare(); err != nil {
			return err
		}
		return v.convertCopy()
	}
	if err := v.app.checkUse(v.path, true); err != nil { // while the question stood, somebody may have mounted it
		return err
	}
	if err := v.unshare(); err != nil {
		return err
	}
	log, err := createLog(v.log)
	if err != nil {
		return err
	}
	v.letGo() // the conversion opens it anew
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
