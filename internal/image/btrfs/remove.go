package btrfs

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"fsenc/internal/image"
)

// empty takes the contents of a file away.
func (fs *FS) empty(t *tree, obj uint64) error {
	list, err := fs.fileExtents(t, obj)
	if err != nil {
		return err
	}
	type old struct {
		off uint64
		id  extentID
		r   ref
	}
	var olds []old
	for i := range list {
		e := &list[i]
		o := old{off: e.off}
		if e.kind != extInline && e.disk != 0 {
			o.id, o.r = dataID(e), dataRef(t.id, obj, e)
		}
		olds = append(olds, o)
	}
	for _, o := range olds {
		// The leaf is copied first: from then on its references are the tree's.
		if err := fs.remove(t, key{obj, keyExtentData, o.off}); err != nil {
			return err
		}
		if o.id.len > 0 {
			fs.addRef(o.id, o.r, -1)
		}
	}
	return nil
}

// Remove takes a name out of an unencrypted directory, and the inode with its
// last name. A directory must be empty.
func (fs *FS) Remove(dir image.Ino, name []byte) error {
	t, parent, err := fs.plainDir(dir)
	if err != nil {
		return err
	}
	list, err := fs.storedEntries(t, parent)
	if err != nil {
		return err
	}
	for i := range list {
		if bytes.Equal(list[i].old, name) {
			return fs.removeEntry(t, parent, &list[i])
		}
	}
	return fmt.Errorf("%q in directory inode %d: %w", name, dir, image.ErrNotExist)
}

func (fs *FS) removeEntry(t *tree, parent uint64, e *stored) error {
	if e.location.kind != keyInode {
		return fmt.Errorf("%w: removing a subvolume", image.ErrUnsupported)
	}
	obj := e.location.obj
	r, err := fs.inode(t, obj)
	if err != nil {
		return err
	}
	if r.fileType() == image.TypeDirectory {
		err := fs.eachOf(t, obj, keyDirIndex, func(uint64, []byte) error {
			return fmt.Errorf("directory inode %d: %w", inoOf(t.id, obj), image.ErrNotEmpty)
		})
		if err != nil {
			return err
		}
	}
	links := r.u32(offInoLinks)
	if err := fs.unenter(t, parent, e); err != nil {
		return err
	}
	if links > 1 {
		return fs.editInode(t, obj, func(r rawInode) { r.set32(offInoLinks, links-1) })
	}
	if err := fs.empty(t, obj); err != nil {
		return err
	}
	var keys []key
	if err := fs.each(t, key{obj, 0, 0}, func(k key, _ []byte) (bool, error) {
		if k.obj == obj {
			keys = append(keys, k)
		}
		return k.obj == obj, nil
	}); err != nil {
		return err
	}
	for _, k := range keys {
		if err := fs.remove(t, k); err != nil {
			return err
		}
	}
	return nil
}

// unenter takes a name away: index, hash and reference.
func (fs *FS) unenter(t *tree, parent uint64, e *stored) error {
	if err := fs.remove(t, key{parent, keyDirIndex, e.index}); err != nil {
		return err
	}
	h := key{parent, keyDirItem, uint64(nameHash(e.old))}
	b, err := fs.item(t, h)
	if err != nil {
		return err
	}
	var rest []byte
	if err := fs.dirEntries(t, h, b, func(d *dirEntry) error {
		if !bytes.Equal(d.name, e.old) {
			rest = append(rest, d.raw...)
		}
		return nil
	}); err != nil {
		return err
	}
	if err := fs.setOrRemove(t, h, rest); err != nil {
		return err
	}
	names, err := fs.refsIn(t, e.location.obj, parent)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n stored) bool { return n.index == e.index })
	if len(names) == 0 {
		err = fs.dropRefs(t, e.location.obj, parent)
	} else {
		err = fs.setRefs(t, e.location.obj, parent, names)
	}
	if err != nil {
		return err
	}
	return fs.grow(t, parent, -2*int64(len(e.old)), time.Now())
}

// refsIn returns the names of an inode in a directory, by ascending index.
func (fs *FS) refsIn(t *tree, obj, dir uint64) (names []stored, err error) {
	err = fs.eachRef(t, obj, func(_ key, parent, index uint64, name []byte) error {
		if parent == dir {
			names = append(names, stored{index: index, new: bytes.Clone(name)})
		}
		return nil
	})
	slices.SortFunc(names, func(a, b stored) int { return cmp.Compare(a.index, b.index) })
	return names, err
}
