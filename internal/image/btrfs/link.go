package btrfs

import (
	"fmt"

	"fsenc/internal/image"
)

// inlineExtent makes the item of data inside of an extent item.
func (fs *FS) inlineExtent(data []byte, enc byte) []byte {
	b := make([]byte, extInlineData, extInlineData+len(data))
	le.PutUint64(b[offExtGen:], fs.gen)
	le.PutUint64(b[offExtRAM:], uint64(len(data)))
	b[offExtEncryption] = enc
	b[offExtKind] = extInline
	return append(b, data...)
}

// SetLink replaces what a symlink stores. Its item never has the mark of
// encrypted contents.
func (fs *FS) SetLink(ino image.Ino, target []byte, _ bool) error {
	t, obj, r, err := fs.look(ino)
	if err != nil {
		return err
	}
	if r.fileType() != image.TypeSymlink || len(target) > fs.ss || len(target)+extInlineData > fs.maxItem() {
		return fmt.Errorf("%w: a target of %d bytes for inode %d", image.ErrUnsupported, len(target), ino)
	}
	if err := fs.replace(t, key{obj, keyExtentData, 0}, fs.inlineExtent(target, 0)); err != nil {
		return err
	}
	return fs.editInode(t, obj, func(r rawInode) {
		r.set64(offInoSize, uint64(len(target)))
		r.set64(offInoBytes, uint64(len(target)))
	})
}

// CostLink returns an upper bound of the bytes that SetLink allocates.
func (fs *FS) CostLink(_ image.Ino, size int, _ bool) (int64, error) { return int64(2 * size), nil }

// Uninline moves the contents of an inline file to an extent of their own.
func (fs *FS) Uninline(ino image.Ino) error {
	t, obj, r, err := fs.look(ino)
	if err != nil {
		return err
	}
	e, err := fs.inlineItem(t, obj)
	if err != nil {
		return err
	}
	data := e.raw[extInlineData:]
	if e.compr != 0 {
		if data, err = fs.inlineData(t, obj, &e); err != nil {
			return err
		}
	}
	if size := r.u64(offInoSize); uint64(len(data)) > size {
		data = data[:size]
	}
	if len(data) == 0 || len(data) > fs.ss {
		return fs.itemError(t, key{obj, keyExtentData, 0}, "%d bytes of inline data", len(data))
	}
	p := make([]byte, fs.ss)
	copy(p, data) // which may lie in the item
	sums := !r.flag(inoNoSum)
	if err := fs.remove(t, key{obj, keyExtentData, 0}); err != nil {
		return err
	}
	if err := fs.addExtent(t, obj, 0, p, sums); err != nil {
		return err
	}
	return fs.countInline(t, obj, e.ram, uint64(fs.ss))
}

// countInline changes what an inode counts for its first item. A file may have
// allocated extents behind that.
func (fs *FS) countInline(t *tree, obj, old, now uint64) error {
	return fs.editInode(t, obj, func(r rawInode) { r.set64(offInoBytes, r.u64(offInoBytes)-old+now) })
}

// addExtent gives a file new data, whole sectors, at an offset that is a hole. It
// keeps p.
func (fs *FS) addExtent(t *tree, obj, off uint64, p []byte, sums bool) error {
	n := uint64(len(p))
	at, err := fs.allocData(n)
	if err != nil {
		return err
	}
	fs.keepData(p, at)
	if sums {
		if err := fs.addSums(at, p); err != nil {
			return err
		}
	}
	b := make([]byte, extentSize)
	le.PutUint64(b[offExtGen:], fs.gen)
	le.PutUint64(b[offExtRAM:], n)
	b[offExtKind] = extRegular
	le.PutUint64(b[offExtDisk:], at)
	le.PutUint64(b[offExtDiskLen:], n)
	le.PutUint64(b[offExtLen:], n)
	if err := fs.insert(t, key{obj, keyExtentData, off}, b); err != nil {
		return err
	}
	e := fileExtent{off: off, disk: at, diskLen: n}
	fs.addRef(dataID(&e), dataRef(t.id, obj, &e), 1)
	return nil
}

// CostUninline returns an upper bound of the bytes that Uninline allocates.
func (fs *FS) CostUninline(image.Ino) (int64, error) { return int64(fs.ss) + costSmall, nil }

// FitsInline implements image.InlineEncrypter. What is inside of the item must be
// all that the file has.
func (fs *FS) FitsInline(ino image.Ino, size, _ int) (bool, error) {
	if size <= 0 || size >= fs.ss || size+extInlineData > fs.maxItem() {
		return false, nil
	}
	t, obj, err := fs.fileTree(ino)
	if err != nil {
		return false, err
	}
	list, err := fs.fileExtents(t, obj)
	return len(list) == 1, err
}

// SetInline implements image.InlineEncrypter. Of an encrypted inode the item is
// marked encrypted, too. An item holds one byte at least, and takes no room from
// the context.
func (fs *FS) SetInline(ino image.Ino, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	t, obj, r, err := fs.look(ino)
	if err != nil {
		return err
	}
	if len(data) > fs.ss || len(data)+extInlineData > fs.maxItem() {
		return fmt.Errorf("%w: %d bytes inside of the item of inode %d", image.ErrUnsupported, len(data), ino)
	}
	// Between two calls the item may be empty, which no file's is.
	k := key{obj, keyExtentData, 0}
	item, err := fs.item(t, k)
	if err != nil {
		return err
	}
	if len(item) < extInlineData || item[offExtKind] != extInline {
		return fs.itemError(t, k, "no inline data")
	}
	old := le.Uint64(item[offExtRAM:])
	enc := byte(0)
	if r.flag(inoEncrypt) {
		enc = 1
	}
	if err := fs.replace(t, key{obj, keyExtentData, 0}, fs.inlineExtent(data, enc)); err != nil {
		return err
	}
	return fs.countInline(t, obj, old, uint64(len(data)))
}
