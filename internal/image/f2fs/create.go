package f2fs

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"fsenc/internal/casefold"
	"fsenc/internal/image"
)

const (
	modeRegular = 0x8000
	modeDir     = 0x4000
	modePerm    = 0x0fff

	// i_flags that a new inode takes from its directory: SYNC, NODUMP, NOATIME;
	// a directory DIRSYNC, PROJINHERIT and CASEFOLD, too.
	inheritAll = 0x8 | 0x40 | 0x80
	inheritDir = inheritAll | 0x10000 | flProjInherit | flCasefold
)

// plainDir reads a directory that is to get or lose a name, with its entries
// and its parent.
func (fs *FS) plainDir(dir image.Ino) (in *inode, parent image.Ino, list []image.Dirent, err error) {
	if in, err = fs.dirInode(dir); err != nil {
		return nil, 0, nil, err
	}
	if in.advise(advEncrypt) {
		return nil, 0, nil, fmt.Errorf("%w: new entry in encrypted directory inode %d", image.ErrUnsupported, dir)
	}
	err = fs.ReadDir(dir, func(d image.Dirent) error {
		d.Name, d.Hash = bytes.Clone(d.Name), in.hashOf(d.Name)
		list = append(list, d)
		return nil
	})
	if err == nil {
		parent, err = fs.parent(in)
	}
	return in, parent, list, err
}

func checkNewName(in *inode, list []image.Dirent, name []byte) error {
	if len(name) == 0 || len(name) > maxNameLen || bytes.ContainsAny(name, "/\x00") || string(name) == "." || string(name) == ".." {
		return fmt.Errorf("%w: name %q in directory inode %d", image.ErrUnsupported, name, in.ino)
	}
	same := bytes.Equal
	if in.flag(flCasefold) {
		same = func(a, b []byte) bool {
			x, okX := casefold.Fold(nil, a)
			y, okY := casefold.Fold(nil, b)
			return okX && okY && bytes.Equal(x, y) || bytes.Equal(a, b)
		}
	}
	if slices.ContainsFunc(list, func(d image.Dirent) bool { return same(d.Name, name) }) {
		return fmt.Errorf("%q in directory inode %d: %w", name, in.ino, image.ErrExist)
	}
	return nil
}

// Mkdir makes an empty directory in an unencrypted one.
func (fs *FS) Mkdir(dir image.Ino, name []byte, n image.NewFile) (image.Ino, error) {
	return fs.add(dir, name, modeDir, n, func(in *inode) error {
		in.set32(offLinks, 2)
		in.set32(offDepth, 1)
		in.setInline(inDentry, true)
		if err := fs.measure(in); err != nil {
			return err
		}
		return fs.layDir(in, dir, nil)
	})
}

// Create makes a file with the given contents in an unencrypted directory.
func (fs *FS) Create(dir image.Ino, name []byte, data []byte, n image.NewFile) (image.Ino, error) {
	return fs.add(dir, name, modeRegular, n, func(in *inode) error {
		in.set32(offLinks, 1)
		return fs.fill(in, data)
	})
}

// add makes an inode, has it filled, and gives it its name.
func (fs *FS) add(dir image.Ino, name []byte, kind uint16, n image.NewFile, fill func(*inode) error) (image.Ino, error) {
	parent, up, list, err := fs.plainDir(dir)
	if err != nil {
		return 0, err
	}
	if err := checkNewName(parent, list, name); err != nil {
		return 0, err
	}
	in, err := fs.newInode(parent, name, kind, n)
	if err != nil {
		return 0, err
	}
	if err := fill(in); err != nil {
		return 0, err
	}
	fs.put(parent)
	d := image.Dirent{Name: name, Ino: in.ino, Type: in.fileType(), Hash: parent.hashOf(name)}
	if err := fs.layDir(parent, up, append(list, d)); err != nil {
		return 0, err
	}
	if kind == modeDir {
		parent.set32(offLinks, parent.u32(offLinks)+1)
	}
	parent.touch(n.Time)
	return in.ino, nil
}

// touch sets the times that a change of contents changes.
func (in *inode) touch(t time.Time) {
	in.setTime(offMtime, offMtimeNsec, t)
	in.setTime(offCtime, offCtimeNsec, t)
}

// newInode makes an inode as a kernel with its default options would, with no
// contents yet.
func (fs *FS) newInode(parent *inode, name []byte, kind uint16, n image.NewFile) (*inode, error) {
	log := logWarmNode
	if kind == modeDir {
		log = logHotNode
	}
	nid, raw, err := fs.newNode(0, 0, log, kind != modeDir)
	if err != nil {
		return nil, err
	}
	in := &inode{ino: image.Ino(nid), raw: raw}
	in.set16(offMode, kind|uint16(n.Perm&modePerm))
	in.set32(offUID, n.UID)
	in.set32(offGID, n.GID)
	in.set64(offBlocks, 1)
	inherit := uint32(inheritAll)
	if kind == modeDir {
		inherit = inheritDir
		in.set32(offFlags, flIndex)
	}
	in.set32(offFlags, in.u32(offFlags)|parent.u32(offFlags)&inherit)
	in.touch(n.Time)
	in.setTime(offAtime, offAtimeNsec, n.Time)
	rand.Read(raw[offGen:][:4])
	in.set32(offPino, uint32(parent.ino))
	in.set32(offNameLen, uint32(len(name)))
	copy(raw[offName:], name)
	in.setInline(inXattr, true)
	if fs.sb.has(featExtraAttr) {
		fs.addExtra(in, parent, n.Time)
	}
	if err := fs.measure(in); err != nil {
		return nil, err
	}
	return in, fs.charge(in, 0, 1)
}

// addExtra gives a new inode its extra attributes.
func (fs *FS) addExtra(in, parent *inode, t time.Time) {
	in.setInline(inExtra, true)
	in.extra = maxExtraSize / 4
	in.set16(offExtraSize, maxExtraSize)
	if fs.sb.has(featFlexInline) {
		in.set16(offXattrWords, inlineXattrs)
	}
	if fs.sb.has(featPrjquota) && parent.flag(flProjInherit) && parent.has(offProjid, 4) {
		in.set32(offProjid, parent.u32(offProjid))
	}
	if fs.sb.has(featInodeCrtime) {
		in.setTime(offCrtime, offCrtimeNsec, t)
	}
}

// fill stores the contents of a file that has none: in the inode where they fit.
func (fs *FS) fill(in *inode, data []byte) error {
	in.set64(offSize, uint64(len(data)))
	if len(data) <= len(in.inlineArea()) {
		in.setInline(inData, true)
		fs.fillInline(in, data)
		return nil
	}
	for l := uint64(0); len(data) > 0; l++ {
		b := make([]byte, blockSize)
		data = data[copy(b, data):]
		if err := fs.place(in, l, b, logWarmData); err != nil {
			return err
		}
	}
	return nil
}

// SetFile replaces the contents of an unencrypted regular file.
func (fs *FS) SetFile(ino image.Ino, data []byte) error {
	in, err := fs.inode(ino)
	if err != nil {
		return err
	}
	if in.fileType() != image.TypeRegular || fs.reserved(ino) || in.advise(advEncrypt|advVerity) || in.compressed(fs) || in.inline(inPin) {
		return fmt.Errorf("%w: new contents for inode %d", image.ErrUnsupported, ino)
	}
	fs.put(in)
	if in.inline(inData) {
		fs.clearInline(in)
	} else if err := fs.unmap(in); err != nil {
		return err
	}
	in.touch(time.Now())
	return fs.fill(in, data)
}

// Remove takes a name out of an unencrypted directory, and frees the inode if
// that was its last name. A directory must be empty.
func (fs *FS) Remove(dir image.Ino, name []byte) error {
	parent, up, list, err := fs.plainDir(dir)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(d image.Dirent) bool { return bytes.Equal(d.Name, name) })
	if i < 0 {
		return noName(dir, name)
	}
	in, err := fs.inode(list[i].Ino)
	if err != nil {
		return asCorrupt(dir, uint32(list[i].Ino), err)
	}
	isDir := in.fileType() == image.TypeDirectory
	if err := fs.checkRemovable(in); err != nil {
		return err
	}
	fs.put(parent)
	if err := fs.layDir(parent, up, slices.Delete(list, i, i+1)); err != nil {
		return err
	}
	now := time.Now()
	parent.touch(now)
	if isDir {
		parent.set32(offLinks, parent.u32(offLinks)-1)
	} else if n := in.u32(offLinks); n > 1 {
		fs.put(in)
		in.set32(offLinks, n-1)
		in.setTime(offCtime, offCtimeNsec, now)
		return nil
	}
	return fs.release(in)
}

func (fs *FS) checkRemovable(in *inode) error {
	if fs.reserved(in.ino) || in.ino == rootIno || in.flag(flDeviceAlias) {
		return fmt.Errorf("%w: removing inode %d", image.ErrUnsupported, in.ino)
	}
	if in.fileType() != image.TypeDirectory {
		return nil
	}
	return fs.ReadDir(in.ino, func(image.Dirent) error {
		return fmt.Errorf("directory inode %d: %w", in.ino, image.ErrNotEmpty)
	})
}

// release frees all that an inode without names has, and itself.
func (fs *FS) release(in *inode) error {
	fs.put(in)
	if in.mapped() {
		if err := fs.unmap(in); err != nil {
			return err
		}
	}
	if nid := in.u32(offXattrNid); nid != 0 {
		if err := errors.Join(fs.dropNode(nid), fs.addBlocks(in, -1)); err != nil {
			return err
		}
	}
	if err := fs.charge(in, 0, -1); err != nil {
		return err
	}
	return fs.dropNode(uint32(in.ino))
}
