package cmd

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt"
	"fsenc/internal/image"
	"fsenc/internal/tree"
)

// lsOptions are the flags of ls.
type lsOptions struct {
	keys      keyFlags
	long      bool
	recursive bool
	all       bool
	inode     bool
	null      bool
}

func newLs(a *app) *cobra.Command {
	var o lsOptions
	c := &cobra.Command{
		Use:     "ls IMAGE [PATH...]",
		GroupID: groupRead,
		Short:   "List directories, names in clear with a key",
		Long: "List directories inside an image. With the key names are in clear, without it they\n" +
			"have the no-key form that the kernel shows. PATH is absolute; the root is listed\n" +
			"if there is none.",
		Args:              operands("IMAGE", "[PATH...]"),
		ValidArgsFunction: a.completePaths(&o.keys, false),
		RunE:              func(_ *cobra.Command, args []string) error { return a.ls(&o, args[0], args[1:]) },
	}
	f := c.Flags()
	f.BoolVarP(&o.long, "long", "l", false, "show type, mode, owner, size, time and whether it is encrypted")
	f.BoolVarP(&o.recursive, "recursive", "R", false, "list what is below, too")
	f.BoolVarP(&o.all, "all", "a", false, "list names that begin with a dot, too")
	f.BoolVarP(&o.inode, "inode", "i", false, "show inode numbers")
	f.BoolVarP(&o.null, "null", "0", false, "print paths as they are, each ended by a NUL")
	o.keys.register(f)
	return c
}

// lister prints directories.
type lister struct {
	*access
	o       *lsOptions
	headed  bool // several directories: each gets a heading
	first   bool
	damaged int
}

func (a *app) ls(o *lsOptions, image string, paths []string) error {
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	if o.null && a.json() {
		return usagef("--null and --json exclude each other")
	}
	if err := checkPaths(paths...); err != nil {
		return err
	}
	x, err := a.openReading(image, &o.keys)
	if err != nil {
		return err
	}
	defer x.Close()
	x.silent = a.set.NonInteractive
	l := &lister{access: x, o: o, headed: o.recursive || len(paths) > 1, first: true}
	for _, p := range paths {
		if err := l.path(p); err != nil {
			return err
		}
	}
	if l.damaged > 0 {
		return fmt.Errorf("%w: %s could not be read", errPartial, plural(l.damaged, "entry"))
	}
	return nil
}

// path lists one operand. A key that was given and does not fit is an error;
// without any the listing is in no-key form.
func (l *lister) path(path string) error {
	n, lock, err := l.lookup(path)
	if err != nil {
		return err
	}
	if lock != nil && (l.k.given() || !errors.Is(lock, crypt.ErrNoKey)) {
		return lock
	}
	if lock != nil {
		l.app.verbose("%v: names are in no-key form", lock)
	}
	if n.Type != image.TypeDirectory {
		return l.print([]tree.Node{n}, func(n tree.Node) []byte { return []byte(path) })
	}
	return l.dir(n)
}

// dir lists a directory and, with -R, those below it, one after another.
func (l *lister) dir(top tree.Node) error {
	stack := []tree.Node{top}
	seen := map[image.Ino]bool{}
	for len(stack) > 0 {
		d := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if err := l.app.ctx.Err(); err != nil {
			return err
		}
		if seen[d.Ino] {
			l.bad(&image.CorruptError{What: "directory", Ino: d.Ino, Why: "has a second name: " + escapeString(d.Path)})
			continue
		}
		seen[d.Ino] = true
		nodes, err := l.entries(d)
		if err != nil {
			return err
		}
		if err := l.heading(d); err != nil {
			return err
		}
		if err := l.print(nodes, func(n tree.Node) []byte { return n.Name }); err != nil {
			return err
		}
		for _, n := range slices.Backward(nodes) {
			if l.o.recursive && n.Type == image.TypeDirectory {
				stack = append(stack, n)
			}
		}
	}
	return nil
}

// bad reports an entry that cannot be read.
func (l *lister) bad(err error) {
	l.app.warn("%v", err)
	l.damaged++
}

// entries reads a directory and sorts it by the bytes of the names.
func (l *lister) entries(d tree.Node) ([]tree.Node, error) {
	l.unlockSilently(d)
	locked := l.tree.Locked(d)
	var nodes []tree.Node
	err := l.tree.ReadDir(d, func(n tree.Node) error {
		if !l.o.all && len(n.Name) > 0 && n.Name[0] == '.' {
			return nil
		}
		if n.Err != nil && locked == nil {
			l.bad(n.Err)
		}
		nodes = append(nodes, n)
		return nil
	})
	if errors.Is(err, image.ErrCorrupt) && d.Path != "/" {
		l.bad(err)
		err = nil
	}
	slices.SortFunc(nodes, func(a, b tree.Node) int { return cmp.Compare(string(a.Name), string(b.Name)) })
	return nodes, err
}

// heading separates directories in text output.
func (l *lister) heading(d tree.Node) error {
	if !l.headed || l.o.null || l.app.json() {
		return nil
	}
	gap := "\n"
	if l.first {
		gap, l.first = "", false
	}
	_, err := fmt.Fprintf(l.app.out, "%s%s:\n", gap, escapeString(d.Path))
	return err
}
