package btrfs

import (
	"fmt"

	"fsenc/internal/image"
)

// Repair implements image.Repairer: a missing context of an extent is taken from
// another reference to the same blocks, contexts without an extent are removed.
func (fs *FS) Repair(fits func(image.Ino, image.Extent) (bool, error), done func(image.Finding)) error {
	r := repair{fs: fs, fits: fits, done: done, known: make(map[uint64]string)}
	ids, err := fs.subvolumes()
	if err != nil {
		return err
	}
	var inos []image.Ino
	for _, id := range ids {
		t, err := fs.treeOf(id)
		if err != nil {
			return err
		}
		err = fs.inodesOf(t, func(a image.Attr, err error) error {
			if err != nil || a.Type != image.TypeRegular || !a.Encrypted {
				return nil
			}
			inos = append(inos, a.Ino)
			return r.learn(a.Ino)
		})
		if err != nil {
			return err
		}
	}
	for _, ino := range inos {
		if err := r.file(ino); err != nil {
			return err
		}
	}
	return nil
}

type repair struct {
	fs    *FS
	fits  func(image.Ino, image.Extent) (bool, error)
	done  func(image.Finding)
	known map[uint64]string // contexts, by where extents start
}

// learn notes the contexts that a file has.
func (r *repair) learn(ino image.Ino) error {
	t, obj, err := r.fs.fileTree(ino)
	if err != nil {
		return err
	}
	list, err := r.fs.fileExtents(t, obj)
	if err != nil {
		return nil // damage of another kind, reported by the check
	}
	for i := range list {
		if e := &list[i]; e.enc == 1 && e.kind != extInline && len(e.context) == contextSize {
			r.known[e.disk] = e.context
		}
	}
	return nil
}

// file repairs one file.
func (r *repair) file(ino image.Ino) error {
	t, obj, err := r.fs.fileTree(ino)
	if err != nil || t.readonly {
		return err
	}
	list, err := r.fs.fileExtents(t, obj)
	if err != nil {
		return nil // likewise
	}
	wanted := make(map[uint64]bool)
	for i := range list {
		e := list[i]
		if e.enc != 1 || e.kind == extInline || e.disk == 0 {
			continue
		}
		wanted[e.off] = true
		if e.context != "" {
			continue
		}
		if err := r.give(ino, t, obj, &e); err != nil {
			return err
		}
	}
	var stale []uint64
	err = r.fs.eachOf(t, obj, keyContext, func(off uint64, _ []byte) error {
		if !wanted[off] {
			stale = append(stale, off)
		}
		return nil
	})
	for _, off := range stale {
		if err == nil {
			err = r.fs.remove(t, key{obj, keyContext, off})
			r.tell(ino, "extent-context-stale", "removed a context for offset %d, where no encrypted extent is", off)
		}
	}
	return err
}

// give adds the context that another reference to the same blocks has, if it
// decrypts them.
func (r *repair) give(ino image.Ino, t *tree, obj uint64, e *fileExtent) error {
	c, ok := r.known[e.disk]
	if !ok {
		return nil
	}
	e.context = c
	x, _ := r.fs.extent(e, true)
	if ok, err := r.fits(ino, x); err != nil || !ok {
		return err
	}
	if err := r.fs.insert(t, key{obj, keyContext, e.off}, []byte(c)); err != nil {
		return err
	}
	r.tell(ino, "extent-context-missing", "gave the extent at offset %d the context that another reference to its blocks has", e.off)
	return nil
}

func (r *repair) tell(ino image.Ino, id, format string, a ...any) {
	r.done(image.Finding{ID: id, Severity: image.Info, Ino: ino, Text: fmt.Sprintf(format, a...)})
}
