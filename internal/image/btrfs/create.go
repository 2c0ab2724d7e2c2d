package btrfs

import (
	"bytes"
	"fmt"
	"time"

	"fsenc/internal/image"
)

const (
	modeRegular = 0x8000
	modeDir     = 0x4000
	modePerm    = 0x0fff

	firstIndex = 2    // of entries of a directory
	inlineMax  = 2048 // bytes of a file that stays inside of its item
)

// plainDir reads a directory that is to get or lose a name.
func (fs *FS) plainDir(dir image.Ino) (*tree, uint64, error) {
	t, obj, r, err := fs.dirInode(dir)
	switch {
	case err != nil:
	case r.flag(inoEncrypt):
		err = fmt.Errorf("%w: new entry in encrypted directory inode %d", image.ErrUnsupported, dir)
	case t.readonly:
		err = fmt.Errorf("%w: directory inode %d is in a read-only subvolume", image.ErrUnsupported, dir)
	}
	return t, obj, err
}

// Mkdir makes an empty directory in an unencrypted one.
func (fs *FS) Mkdir(dir image.Ino, name []byte, n image.NewFile) (image.Ino, error) {
	return fs.add(dir, name, modeDir, n, nil)
}

// Create makes a file with the given contents in an unencrypted directory.
func (fs *FS) Create(dir image.Ino, name []byte, data []byte, n image.NewFile) (image.Ino, error) {
	return fs.add(dir, name, modeRegular, n, data)
}

func (fs *FS) add(dir image.Ino, name []byte, kind uint32, n image.NewFile, data []byte) (image.Ino, error) {
	t, parent, err := fs.plainDir(dir)
	if err != nil {
		return 0, err
	}
	if len(name) == 0 || len(name) > maxNameLen || bytes.ContainsAny(name, "/\x00") || string(name) == "." || string(name) == ".." {
		return 0, fmt.Errorf("%w: name %q in directory inode %d", image.ErrUnsupported, name, dir)
	}
	if d, err := fs.lookup(t, parent, name); err != nil {
		return 0, err
	} else if d.Ino != 0 {
		return 0, fmt.Errorf("%q in directory inode %d: %w", name, dir, image.ErrExist)
	}
	obj, err := fs.newObject(t)
	if err != nil {
		return 0, err
	}
	b := make(rawInode, inodeSize)
	b.set64(offInoGen, fs.gen)
	b.set64(offInoTrans, fs.gen)
	b.set32(offInoLinks, 1)
	b.set32(offInoUID, n.UID)
	b.set32(offInoGID, n.GID)
	b.set32(offInoMode, kind|n.Perm&modePerm)
	for _, off := range []int{offInoAtime, offInoCtime, offInoMtime, offInoOtime} {
		b.setTime(off, n.Time)
	}
	if err := fs.insert(t, key{obj, keyInode, 0}, b); err != nil {
		return 0, err
	}
	if err := fs.fill(t, obj, data); err != nil {
		return 0, err
	}
	return inoOf(t.id, obj), fs.enter(t, parent, obj, name, kind, n.Time)
}

// newObject is a number behind all that the tree has.
func (fs *FS) newObject(t *tree) (uint64, error) {
	k, _, ok, err := fs.last(t, key{lastFree, 255, ^uint64(0)})
	if err != nil || !ok {
		return firstFree + 1, err
	}
	if k.obj >= maxObject {
		return 0, fmt.Errorf("%w: inode numbers of subvolume %d", image.ErrNoSpace, t.id)
	}
	return max(k.obj, firstFree) + 1, nil
}

// enter gives an inode a name.
func (fs *FS) enter(t *tree, parent, obj uint64, name []byte, kind uint32, at time.Time) error {
	index := uint64(firstIndex)
	k, _, ok, err := fs.last(t, key{parent, keyDirIndex, ^uint64(0)})
	if err != nil {
		return err
	}
	if ok && k.obj == parent && k.kind == keyDirIndex {
		index = max(index, k.off+1)
	}
	e := stored{index: index, location: key{obj, keyInode, 0}, transid: fs.gen, kind: byte(image.TypeRegular), new: name}
	if kind == modeDir {
		e.kind = byte(image.TypeDirectory)
	}
	if err := fs.insert(t, key{parent, keyDirIndex, index}, e.item()); err != nil {
		return err
	}
	h := key{parent, keyDirItem, uint64(nameHash(name))}
	old, err := fs.item(t, h)
	if err != nil {
		return err
	}
	if err := fs.set(t, h, append(bytes.Clone(old), e.item()...)); err != nil {
		return err
	}
	if err := fs.setRefs(t, obj, parent, map[uint64][]byte{index: name}); err != nil {
		return err
	}
	return fs.grow(t, parent, 2*int64(len(name)), at)
}

// grow changes the size of a directory and its times.
func (fs *FS) grow(t *tree, dir uint64, by int64, at time.Time) error {
	return fs.editInode(t, dir, func(r rawInode) {
		r.set64(offInoSize, uint64(int64(r.u64(offInoSize))+by))
		r.setTime(offInoMtime, at)
		r.setTime(offInoCtime, at)
	})
}

// fill stores the contents of a file that has none.
func (fs *FS) fill(t *tree, obj uint64, data []byte) error {
	used := uint64(len(data))
	switch {
	case len(data) == 0:
	case len(data) <= inlineMax && len(data)+extInlineData <= fs.maxItem()/2:
		if err := fs.insert(t, key{obj, keyExtentData, 0}, fs.inlineExtent(data, 0)); err != nil {
			return err
		}
	default:
		p := make([]byte, (len(data)+fs.ss-1)/fs.ss*fs.ss)
		copy(p, data)
		used = uint64(len(p))
		if err := fs.addExtent(t, obj, 0, p, true); err != nil {
			return err
		}
	}
	return fs.editInode(t, obj, func(r rawInode) {
		r.set64(offInoSize, uint64(len(data)))
		r.set64(offInoBytes, used)
	})
}

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

// SetFile replaces the contents of an unencrypted regular file.
func (fs *FS) SetFile(ino image.Ino, data []byte) error {
	t, obj, r, err := fs.look(ino)
	if err != nil {
		return err
	}
	if r.fileType() != image.TypeRegular || r.flag(inoEncrypt) || r.flag(inoVerity) || r.flag(inoNoSum) || t.readonly {
		return fmt.Errorf("%w: new contents for inode %d", image.ErrUnsupported, ino)
	}
	if err := fs.empty(t, obj); err != nil {
		return err
	}
	if err := fs.fill(t, obj, data); err != nil {
		return err
	}
	now := time.Now()
	return fs.editInode(t, obj, func(r rawInode) {
		r.setTime(offInoMtime, now)
		r.setTime(offInoCtime, now)
	})
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
	delete(names, e.index)
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

// refsIn returns the names of an inode in a directory, by index.
func (fs *FS) refsIn(t *tree, obj, dir uint64) (map[uint64][]byte, error) {
	names := make(map[uint64][]byte)
	k := key{obj, keyInodeRef, dir}
	b, err := fs.item(t, k)
	if err != nil {
		return nil, err
	}
	for len(b) > 0 {
		if len(b) < refHeader || len(b) < refHeader+int(le.Uint16(b[offRefNameLen:])) {
			return nil, fs.itemError(t, k, "reference of %d bytes", len(b))
		}
		n := refHeader + int(le.Uint16(b[offRefNameLen:]))
		names[le.Uint64(b)] = bytes.Clone(b[refHeader:n])
		b = b[n:]
	}
	err = fs.eachOf(t, obj, keyInodeExtref, func(off uint64, b []byte) error {
		for len(b) > 0 {
			if len(b) < extrefHeader || len(b) < extrefHeader+int(le.Uint16(b[offExtNameLen:])) {
				return fs.itemError(t, key{obj, keyInodeExtref, off}, "reference of %d bytes", len(b))
			}
			n := extrefHeader + int(le.Uint16(b[offExtNameLen:]))
			if le.Uint64(b) == dir {
				names[le.Uint64(b[offExtIndex:])] = bytes.Clone(b[extrefHeader:n])
			}
			b = b[n:]
		}
		return nil
	})
	return names, err
}
