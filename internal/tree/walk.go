package tree

import (
	"errors"
	"fmt"

	"fsenc/internal/image"
)

// SkipDir, returned by the function given to Walk for a directory, leaves out
// what is in it.
//
//lint:ignore ST1012 it is called as in io/fs
var SkipDir = errors.New("skip this directory")

// maxDepth bounds the nesting of directories that Walk goes into: paths, and
// the time to make them, grow with it, and an image may be hostile.
const maxDepth = 4096

// Walk calls f for top and everything below it: all entries of a directory,
// then what is in its directories. It stops at the first error of f. What
// cannot be read comes to f as a node with Unread set, after its entry; a
// directory that is met twice, which no sound filesystem has, is one of those.
func (t *Tree) Walk(top Node, f func(Node) error) error {
	err := f(top)
	if errors.Is(err, SkipDir) {
		return nil
	}
	if err != nil || top.Type != image.TypeDirectory {
		return err
	}
	w := walker{t: t, f: f, seen: map[image.Ino]bool{top.Ino: true}, stack: []level{{top, 1}}}
	for len(w.stack) > 0 {
		at := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		if err := w.dir(at); err != nil {
			return err
		}
	}
	return nil
}

// level is a directory yet to be read and how deep it lies.
type level struct {
	dir   Node
	depth int
}

type walker struct {
	t     *Tree
	f     func(Node) error
	seen  map[image.Ino]bool // directories
	stack []level
}

// dir reads one directory and puts its directories on the stack, so that the
// first of them comes next.
func (w *walker) dir(at level) error {
	var subdirs []level
	var stop error
	err := w.t.ReadDir(at.dir, func(n Node) error {
		stop = w.f(n)
		if n.Type != image.TypeDirectory || errors.Is(stop, SkipDir) {
			if errors.Is(stop, SkipDir) {
				stop = nil
			}
			return stop
		}
		if stop == nil {
			subdirs, stop = w.enter(n, at.depth, subdirs)
		}
		return stop
	})
	if stop != nil {
		return stop
	}
	if err != nil {
		at.dir.Err, at.dir.Unread = err, true
		if err := w.f(at.dir); err != nil && !errors.Is(err, SkipDir) {
			return err
		}
	}
	for i := len(subdirs) - 1; i >= 0; i-- {
		w.stack = append(w.stack, subdirs[i])
	}
	return nil
}

// enter notes that a directory is to be read, or tells f why it is not.
func (w *walker) enter(n Node, depth int, subdirs []level) ([]level, error) {
	why := ""
	if w.seen[n.Ino] {
		why = "has a second name"
	} else if depth >= maxDepth {
		why = fmt.Sprintf("lies deeper than %d directories", maxDepth)
	}
	if why == "" {
		w.seen[n.Ino] = true
		return append(subdirs, level{n, depth + 1}), nil
	}
	n.Unread, n.Err = true, n.wrap(&image.CorruptError{What: "directory", Ino: n.Ino, Why: why})
	if err := w.f(n); err != nil && !errors.Is(err, SkipDir) {
		return subdirs, err
	}
	return subdirs, nil
}
