package cmd

import (
	"errors"
	"fmt"
	"os"

	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/partition"
	"fsenc/internal/store"
)

// opened is an image at hand.
type opened struct {
	path    string
	file    *store.File
	home    store.Store // the part of the file that the filesystem lies in
	section section     // where that is
	fs      image.FS
	copy    *copyTarget // nil unless the result goes to a new file
}

// Close gives the lock back.
func (o *opened) Close() {
	o.copy.abandon()
	// Nothing is cached here: whoever wrote has called Sync.
	_ = o.file.Close()
}

// openImage opens the filesystem of an image. For writing it proves as far as
// it can that nobody else uses the image.
func (a *app) openImage(path string, o probe.Options) (*opened, error) {
	img, err := a.openStore(path, o.Write)
	if err != nil {
		return nil, err
	}
	if !o.Write && a.forced(unfinished) {
		o.AllowUnfinished = true
	}
	if img.fs, err = a.probe(img, o); err != nil {
		img.Close()
		return nil, err
	}
	return img, nil
}

// openStore opens the file and finds the part that the filesystem lies in.
func (a *app) openStore(path string, write bool) (*opened, error) {
	a.image = path
	if err := a.checkUse(path, write); err != nil {
		return nil, err
	}
	open := store.OpenFile
	if a.forced("in-use") {
		open = store.OpenForced
	}
	f, err := open(path, write)
	if errors.Is(err, store.ErrLocked) || errors.Is(err, store.ErrInUse) {
		return nil, refuse("in-use", err)
	}
	if err != nil {
		return nil, plainOpenError(path, err)
	}
	img := &opened{path: path, file: f, home: f}
	if err = a.window(img, f); err != nil {
		img.Close()
		return nil, err
	}
	a.debug("opened %s, %d bytes, of which %d are looked at", path, f.Size(), img.home.Size())
	return img, nil
}

// plainOpenError puts the name of the image in place of the "open PATH" of
// package os.
func plainOpenError(path string, err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", path, pe.Err)
	}
	return err
}

// checkUse asks the kernel who else has the image. A reader only gets a
// warning: what it sees may be half written.
func (a *app) checkUse(path string, write bool) error {
	unproven, err := store.InUse(path)
	for _, what := range unproven {
		a.verbose("not proven to be unused: %s", what)
	}
	switch {
	case !errors.Is(err, store.ErrInUse):
		return nil // opening the file will tell what is wrong with it
	case !write:
		a.note("warning: %v: what is shown may be half written", err)
		return nil
	case a.forced("in-use"):
		a.warn("%v: overridden", err)
		return nil
	}
	return refuse("in-use", err)
}

// section is a part of a disk image, in bytes.
type section struct{ off, size int64 }

// window finds the filesystem inside a disk image by the global flags.
func (a *app) window(img *opened, f store.Store) error {
	w := section{int64(a.flags.offset), int64(a.flags.size)}
	switch {
	case a.flags.partition != "":
		p, err := partition.Find(f, a.flags.partition)
		if err != nil {
			return err
		}
		w = section{p.Off, p.Size}
	case w.off >= f.Size() && w.off > 0, w.size > f.Size()-w.off:
		return usagef("--offset %d and --size %d reach beyond the %d bytes of the image", w.off, w.size, f.Size())
	case w.size == 0:
		w.size = f.Size() - w.off
	}
	img.home, img.section = f, w
	if w.off != 0 || w.size != f.Size() {
		img.home = store.Section(f, w.off, w.size)
	}
	return nil
}

// probe opens the filesystem and explains what else there is if it is none.
func (a *app) probe(img *opened, o probe.Options) (image.FS, error) {
	fs, err := probe.Open(img.home, o)
	if err == nil || !errors.Is(err, image.ErrUnknown) {
		return fs, err
	}
	if what := partition.Explain(img.home); what != "" {
		return nil, fmt.Errorf("%w: this is %s", image.ErrUnknown, what)
	}
	return nil, err
}
