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
	if err := fs.setRefs(t, obj, parent, []stored{{index: index, new: name}}); err != nil {
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
