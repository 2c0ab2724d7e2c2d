// Package extract copies files out of an image, decrypted, into a directory
// or a tar stream: with times, modes, owners, extended attributes, holes, hard
// links and device nodes, as far as the place allows it.
//
// What the image says is not trusted: nothing is written outside the
// directory, through a symlink or over a file that is there already.
package extract

import (
	"context"
	"errors"
	"path"
	"strings"

	"fsenc/internal/image"
	"fsenc/internal/tree"
)

// Options say what to do besides copying.
type Options struct {
	// Owners keeps user and group, and with them setuid and setgid bits; only
	// root can give files away.
	Owners bool
	// Skip is told what was left out, or left in part, and why.
	Skip func(Skipped)
	// Progress is told after each file how much was copied so far.
	Progress func(Result)
}

// Skipped is something that was not copied.
type Skipped struct {
	Path string // in the image
	Ino  image.Ino
	What string // "" for all of it, else the part: "owner", "xattr user.mime_type"
	Err  error
}

// Result counts what was copied.
type Result struct {
	Files   int64 // regular files, symlinks and special files
	Dirs    int64
	Links   int64 // further names of a file
	Bytes   int64 // contents, holes included
	Skipped int64 // calls of Options.Skip
}

// entry is one inode on its way out.
type entry struct {
	node   tree.Node
	rel    string // where to: below the directory, of checked components
	attr   image.Attr
	xattrs []image.Xattr
}

// sink takes what comes out.
type sink interface {
	// add makes the entry. A directory comes before what is in it.
	add(e *entry) error
	// link makes e a further name of the file that was added as first.
	link(e *entry, first string) error
	// finish completes what had to wait until all is there.
	finish() error
}

// job is one extraction.
type job struct {
	ctx  context.Context
	t    *tree.Tree
	o    Options
	sink sink
	res  Result
	top  tree.Node
	base string // of top, in the destination; "" for the root
	// first has the place of files that have further names.
	first map[image.Ino]string
}

// run copies the trees at tops. An error means that the destination is
// unusable or ctx is done; what goes wrong with single files is skipped.
func (j *job) run(tops []tree.Node) (Result, error) {
	j.first = make(map[image.Ino]string)
	for _, top := range tops {
		j.top, j.base = top, ""
		if top.Path != "/" {
			j.base = path.Base(top.Path)
		}
		if err := j.t.Walk(top, j.visit); err != nil {
			return j.res, err
		}
	}
	return j.res, j.sink.finish()
}

// errSink marks an error after which nothing more can be written.
type errSink struct{ error }

func (e errSink) Unwrap() error { return e.error }

func (j *job) visit(n tree.Node) error {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	err := j.copy(n)
	var fatal errSink
	switch {
	case errors.As(err, &fatal):
		return fatal.error
	case j.ctx.Err() != nil:
		return j.ctx.Err()
	case err != nil:
		j.skip(n, "", err)
		return tree.SkipDir
	}
	if j.o.Progress != nil {
		j.o.Progress(j.res)
	}
	return nil
}

func (j *job) skip(n tree.Node, what string, err error) {
	j.res.Skipped++
	if j.o.Skip != nil {
		j.o.Skip(Skipped{Path: n.Path, Ino: n.Ino, What: what, Err: err})
	}
}

func (j *job) copy(n tree.Node) error {
	if n.Err != nil {
		return n.Err
	}
	if n.Type == image.TypeDirectory {
		if err := j.t.Locked(n); err != nil {
			return err
		}
	}
	e := entry{node: n, rel: j.place(n)}
	var err error
	if e.attr, err = j.t.Attr(n); err != nil {
		return err
	}
	if e.attr.Type != image.TypeDirectory && e.attr.Links > 1 {
		if first, ok := j.first[n.Ino]; ok {
			if err := j.sink.link(&e, first); err != nil {
				return err
			}
			j.res.Links++
			return nil
		}
	}
	if e.xattrs, err = j.t.FS().Xattrs(n.Ino); err != nil {
		j.skip(n, "xattrs", err)
	}
	if err := j.sink.add(&e); err != nil {
		return err
	}
	j.count(&e)
	return nil
}

func (j *job) count(e *entry) {
	if e.attr.Type == image.TypeDirectory {
		j.res.Dirs++
		return
	}
	j.res.Files++
	if e.attr.Type == image.TypeRegular {
		j.res.Bytes += e.attr.Size
	}
	if e.attr.Links > 1 {
		j.first[e.node.Ino] = e.rel
	}
}

// place returns where a node goes: under the last name of the path that was
// asked for, "" for the root of the filesystem itself.
func (j *job) place(n tree.Node) string {
	below := strings.TrimPrefix(strings.TrimPrefix(n.Path, j.top.Path), "/")
	switch {
	case below == "":
		return j.base
	case j.base == "":
		return below
	}
	return j.base + "/" + below
}
