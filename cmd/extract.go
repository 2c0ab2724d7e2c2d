package cmd

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt"
	"fsenc/internal/extract"
	"fsenc/internal/tree"
)

// extractOptions are the flags of extract.
type extractOptions struct {
	keys  keyFlags
	dir   string
	tar   bool
	owner bool
}

func newExtract(a *app) *cobra.Command {
	o := extractOptions{}
	c := &cobra.Command{
		Use:     "extract IMAGE PATH...",
		GroupID: groupRead,
		Short:   "Copy files out of an image, decrypted",
		Long: "Copy files and trees out of an image, decrypted: with times, modes, extended\n" +
			"attributes, holes and hard links, and for root also owners and device nodes.\n" +
			"Nothing is written outside the directory, through a symlink or over a file that is\n" +
			"there already. What could not be copied is listed, and the exit code is 3.",
		Args:              operands("IMAGE", "PATH..."),
		ValidArgsFunction: a.completePaths(&o.keys, false),
		RunE: func(c *cobra.Command, args []string) error {
			if !c.Flags().Changed("same-owner") {
				o.owner = o.tar || os.Geteuid() == 0
			}
			return a.extract(&o, args[0], args[1:])
		},
	}
	f := c.Flags()
	f.StringVarP(&o.dir, "directory", "C", "", "copy into `DIR`, which is made if it is missing")
	f.BoolVar(&o.tar, "tar", false, "write a tar archive to stdout instead")
	f.BoolVar(&o.owner, "same-owner", false, "keep owners (default for root, and in archives)")
	o.keys.register(f)
	return c
}

func (o *extractOptions) check(a *app) error {
	switch {
	case o.tar && o.dir != "":
		return usagef("-C and --tar exclude each other")
	case !o.tar && o.dir == "":
		e := usagef("extract needs to know where to: -C DIR or --tar")
		e.hint = "fsenc extract IMAGE /path -C DIR"
		return e
	case o.tar && a.json():
		return usagef("--tar and --json both want stdout")
	case o.tar && isTerminal(a.stdout):
		return usagef("a tar archive does not go to a terminal: redirect stdout")
	}
	return nil
}

func (a *app) extract(o *extractOptions, image string, paths []string) error {
	if err := errors.Join(o.check(a), checkPaths(paths...)); err != nil {
		return err
	}
	x, err := a.openReading(image, &o.keys)
	if err != nil {
		return err
	}
	defer x.Close()
	var tops []tree.Node
	for _, p := range paths {
		n, lock, err := x.lookup(p)
		if err != nil {
			return err
		}
		if lock != nil {
			return lock
		}
		if err := x.unlockBelow(n); err != nil {
			return err
		}
		tops = append(tops, n)
	}
	if a.flags.dryRun {
		return a.extractResult(o, extract.Result{}, nil)
	}
	return a.copyTrees(x, o, tops)
}

// copyTrees copies and lists what was left out.
func (a *app) copyTrees(x *access, o *extractOptions, tops []tree.Node) error {
	m := a.newMeter()
	var skipped []extract.Skipped
	opt := extract.Options{
		Owners: o.owner,
		Skip: func(s extract.Skipped) {
			m.finish()
			if len(skipped) < maxListed {
				skipped = append(skipped, s)
			}
			a.warn("%s", skippedText(s))
		},
		Progress: func(r extract.Result) {
			m.update(tick{Phase: "extract", Items: uint64(r.Files + r.Dirs + r.Links), Bytes: r.Bytes})
		},
	}
	var res extract.Result
	var err error
	if o.tar {
		res, err = extract.ToTar(a.ctx, x.tree, tops, a.out, opt)
	} else {
		res, err = extract.ToDir(a.ctx, x.tree, tops, o.dir, opt)
	}
	m.finish()
	if err != nil {
		return err
	}
	return a.extractResult(o, res, skipped)
}

// maxListed bounds the list of skipped files in JSON; stderr has them all.
const maxListed = 10000

func skippedText(s extract.Skipped) string {
	if s.What == "" {
		return fmt.Sprintf("skipped: %v", s.Err)
	}
	return fmt.Sprintf("%s: %s not kept: %v", s.Path, s.What, s.Err)
}

// jsonSkipped is something that was not copied, in JSON.
type jsonSkipped struct {
	jsonPath
	Inode uint64 `json:"inode"`
	What  string `json:"what,omitempty"`
	Why   string `json:"why"`
}

func (a *app) extractResult(o *extractOptions, r extract.Result, skipped []extract.Skipped) error {
	var err error
	if a.json() {
		list := make([]jsonSkipped, 0, len(skipped))
		for _, s := range skipped {
			list = append(list, jsonSkipped{pathOf(s.Path), uint64(s.Ino), s.What, s.Err.Error()})
		}
		err = a.emit(struct {
			header
			Directory string        `json:"directory"`
			DryRun    bool          `json:"dry_run"`
			Files     int64         `json:"files"`
			Dirs      int64         `json:"dirs"`
			Links     int64         `json:"links"`
			Bytes     int64         `json:"bytes"`
			Skipped   []jsonSkipped `json:"skipped"`
		}{headerOf("extract"), o.dir, a.flags.dryRun, r.Files, r.Dirs, r.Links, r.Bytes, list})
	} else if !a.flags.dryRun {
		a.note("%s, %s, %s", plural(r.Files+r.Links, "file"), plural(r.Dirs, "directory"), iec(r.Bytes))
	}
	if err == nil && r.Skipped > 0 {
		return fmt.Errorf("%w: %s skipped or not kept whole", errPartial, plural(r.Skipped, "item"))
	}
	return err
}

// unlockBelow looks for the keys of encrypted directories below a plain one,
// so that questions come before the work.
func (x *access) unlockBelow(top tree.Node) error {
	return x.tree.Walk(top, func(n tree.Node) error {
		if err := x.app.ctx.Err(); err != nil {
			return err
		}
		attr, err := x.tree.Attr(n)
		if err != nil || !attr.Encrypted {
			return nil // copying meets a damaged inode again
		}
		if err := x.unlock(n); err != nil && !errors.Is(err, crypt.ErrNoKey) {
			return err
		}
		if attr.Encrypted {
			return tree.SkipDir
		}
		return nil
	})
}
