package btrfs

import (
	"fmt"
	"slices"

	"fsenc/internal/image"
)

// Repair implements image.Repairer: a missing context of an extent is taken from
// another reference to the same blocks, as is one that others contradict and
// that does not decrypt; contexts that are too long are cut, and those without
// an extent are removed.
func (fs *FS) Repair(fits func(image.Ino, image.Extent) (bool, error), done func(image.Finding)) error {
	r := repair{fs: fs, fits: fits, done: done, known: make(map[uint64][]string), proven: make(map[uint64]string)}
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
			if err == nil && a.Type == image.TypeRegular && a.Encrypted {
				inos = append(inos, a.Ino)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, pass := range []func(*repairFile) error{r.learn, r.eliminate, r.file} {
		for _, ino := range inos {
			if err := r.each(ino, pass); err != nil {
				return err
			}
		}
	}
	return nil
}

type repair struct {
	fs    *FS
	fits  func(image.Ino, image.Extent) (bool, error)
	done  func(image.Finding)
	known map[uint64][]string // contexts, by where extents start

	// proven is the one of several contexts that the references to an extent
	// leave over, "" if they contradict one another.
	proven map[uint64]string
}

// repairFile is an encrypted file with its mapping.
type repairFile struct {
	ino  image.Ino
	t    *tree
	obj  uint64
	list []fileExtent
}

func (r *repair) each(ino image.Ino, f func(*repairFile) error) error {
	t, obj, err := r.fs.fileTree(ino)
	if err != nil {
		return err
	}
	list, err := r.fs.fileExtents(t, obj)
	if err != nil {
		return nil // damage of another kind, reported by the check
	}
	return f(&repairFile{ino, t, obj, list})
}

// encrypted calls f for the items that have contexts or should have.
func (x *repairFile) encrypted(f func(e *fileExtent) error) error {
	for i := range x.list {
		if e := &x.list[i]; e.enc == 1 && e.kind != extInline && e.disk != 0 {
			if err := f(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// learn notes the contexts that a file has.
func (r *repair) learn(x *repairFile) error {
	return x.encrypted(func(e *fileExtent) error {
		if len(e.context) >= contextSize && !slices.Contains(r.known[e.disk], e.context[:contextSize]) {
			r.known[e.disk] = append(r.known[e.disk], e.context[:contextSize])
		}
		return nil
	})
}

// tries returns which of the contexts of an extent decrypt it as a part of a
// file.
func (r *repair) tries(x *repairFile, e *fileExtent) (fit []string, err error) {
	for _, c := range r.known[e.disk] {
		try := *e
		try.context = c
		m, _ := r.fs.extent(&try, true)
		ok, err := r.fits(x.ino, m)
		if err != nil {
			return nil, err
		}
		if ok {
			fit = append(fit, c)
		}
	}
	return fit, nil
}

// eliminate strikes out contexts that do not decrypt an extent, where one of
// several does. A file that none fits is one of another key.
func (r *repair) eliminate(x *repairFile) error {
	return x.encrypted(func(e *fileExtent) error {
		if len(r.known[e.disk]) < 2 {
			return nil
		}
		fit, err := r.tries(x, e)
		if err != nil || len(fit) != 1 {
			return err
		}
		if c, ok := r.proven[e.disk]; ok && c != fit[0] {
			fit[0] = ""
		}
		r.proven[e.disk] = fit[0]
		return nil
	})
}

// file repairs one file.
func (r *repair) file(x *repairFile) error {
	if x.t.readonly {
		return nil
	}
	t, obj := x.t, x.obj
	wanted := make(map[uint64]bool)
	err := x.encrypted(func(e *fileExtent) error {
		wanted[e.off] = true
		return r.give(x, e)
	})
	if err != nil {
		return err
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
			r.tell(x.ino, "extent-context-stale", "removed a context for offset %d, where no encrypted extent is", off)
		}
	}
	return err
}

// give sets the context that an item lacks, or has wrong, if the key proves it.
func (r *repair) give(x *repairFile, e *fileExtent) error {
	if e.appended {
		return nil
	}
	proven := r.proven[e.disk]
	alone := len(r.known[e.disk]) == 1
	id, what, c := "", "", proven
	switch {
	case alone:
		c = r.known[e.disk][0]
	case proven == "":
		return nil
	}
	switch {
	case e.context == c:
		return nil
	case e.context == "":
		id, what = "extent-context-missing", "gave the extent at offset %d the context that another reference to its blocks has"
	case len(e.context) > contextSize && e.context[:contextSize] == c:
		id, what = "extent-context-invalid", "cut the context of the extent at offset %d to its length"
	default:
		id, what = "extent-contexts-differ", "gave the extent at offset %d the one context of its blocks that decrypts them"
	}
	if fit, err := r.tries(x, e); err != nil || !slices.Contains(fit, c) {
		return err
	}
	if err := r.fs.set(x.t, key{x.obj, keyContext, e.off}, []byte(c)); err != nil {
		return err
	}
	r.tell(x.ino, id, what, e.off)
	return nil
}

func (r *repair) tell(ino image.Ino, id, format string, a ...any) {
	r.done(image.Finding{ID: id, Severity: image.Info, Ino: ino, Text: fmt.Sprintf(format, a...)})
}
