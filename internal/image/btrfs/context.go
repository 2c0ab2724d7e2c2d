package btrfs

import (
	"fmt"

	"fsenc/internal/image"
)

// editInode changes an inode item where it lies.
func (fs *FS) editInode(t *tree, obj uint64, f func(rawInode)) error {
	return fs.modify(t, key{obj, keyInode, 0}, func(b []byte) {
		f(b)
		rawInode(b).set64(offInoTrans, fs.gen)
	})
}

// SetContext stores the context of an inode and marks it encrypted; nil removes
// both. Extents are the business of SetExtents.
func (fs *FS) SetContext(ino image.Ino, context []byte) error {
	t, obj, _, err := fs.look(ino)
	if err != nil {
		return err
	}
	err = fs.editInode(t, obj, func(r rawInode) {
		flags := r.u64(offInoFlags) &^ inoEncrypt
		if context != nil {
			flags |= inoEncrypt
		}
		r.set64(offInoFlags, flags)
	})
	if err != nil {
		return err
	}
	return fs.setOrRemove(t, key{obj, keyInodeContext, 0}, context)
}

// setOrRemove stores an item, or removes it if data is nil.
func (fs *FS) setOrRemove(t *tree, k key, data []byte) error {
	if data != nil {
		return fs.set(t, k, data)
	}
	b, err := fs.item(t, k)
	if err != nil || b == nil {
		return err
	}
	return fs.remove(t, k)
}

// SetExtents marks the extents of a file as encrypted, each with the context of
// the place where it starts; with a nil pick it removes marks and contexts.
func (fs *FS) SetExtents(ino image.Ino, pick func(start image.Pblk) []byte) error {
	t, obj, err := fs.fileTree(ino)
	if err != nil {
		return err
	}
	contexts, err := fs.contexts(t, obj)
	if err != nil {
		return err
	}
	list, err := fs.extentsWith(t, obj, contexts)
	if err != nil {
		return err
	}
	keep := make(map[uint64]bool)
	type mark struct {
		off, disk uint64
	}
	var marks []mark
	for i := range list {
		if e := &list[i]; e.kind != extInline && e.disk != 0 {
			marks = append(marks, mark{e.off, e.disk})
			keep[e.off] = pick != nil
		}
	}
	for _, off := range sortedKeys(contexts) {
		if !keep[off] {
			if err := fs.remove(t, key{obj, keyContext, off}); err != nil {
				return err
			}
		}
	}
	for _, m := range marks {
		enc := byte(0)
		if pick != nil {
			enc = 1
			if err := fs.set(t, key{obj, keyContext, m.off}, pick(fs.pblk(m.disk))); err != nil {
				return err
			}
		}
		if err := fs.modify(t, key{obj, keyExtentData, m.off}, func(b []byte) { b[offExtEncryption] = enc }); err != nil {
			return err
		}
	}
	return nil
}

// What items take in a leaf, in bytes, twice over: leaves are half full after
// they are divided.
const (
	costContext = 2 * (itemSize + 40)
	costExtent  = 2 * (itemSize + contextSize)
)

// CostContext returns an upper bound of the bytes that SetContext and SetExtents
// allocate.
func (fs *FS) CostContext(ino image.Ino, _ int) (int64, error) {
	t, obj, r, err := fs.look(ino)
	if err != nil {
		return 0, err
	}
	if isVacant(obj) {
		return 0, fmt.Errorf("%w: a snapshot has an empty directory where the subvolume %d was: remove it", image.ErrUnsupported, obj-objVacant)
	}
	if r.flag(inoVerity) {
		return 0, fmt.Errorf("%w: inode %d has fs-verity, which does not go with encryption on btrfs", image.ErrUnsupported, ino)
	}
	if t.readonly {
		return 0, fmt.Errorf("%w: inode %d is in a read-only subvolume", image.ErrUnsupported, ino)
	}
	n := int64(0)
	err = fs.eachOf(t, obj, keyExtentData, func(uint64, []byte) error {
		n++
		return nil
	})
	return costContext + n*costExtent, err
}
