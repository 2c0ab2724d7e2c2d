package ext4

import (
	"crypto/rand"
	"fmt"
	"time"

	"fsenc/internal/image"
)

const (
	modeRegular = 0x8000 // S_IFREG
	modeDir     = 0x4000 // S_IFDIR
	modePerm    = 0x0fff

	// maxLinks is the link count that a directory with one more subdirectory
	// exceeds: with dir_nlink it is 1 from then on, for "not counted".
	maxLinks = 65000
)

// Flags that a new file takes from its directory, as FS_IOC_GETFLAGS counts
// them: SYNC, NODUMP, NOATIME; a directory DIRSYNC, PROJINHERIT, CASEFOLD, too.
const (
	flInheritAll = 0x8 | 0x40 | 0x80
	flInheritDir = flInheritAll | 0x10000 | flProjInherit | flCasefold
)

// defaultExtraIsize is what the kernel has i_extra_isize cover where the
// superblock does not say.
const defaultExtraIsize = 32

// newExtraIsize is i_extra_isize of a new inode.
func (fs *FS) newExtraIsize() int {
	room := fs.geo.inodeSize - oldInodeSize
	want := fs.sb.wantExtraIsize()
	if want < 4 || want%4 != 0 || want > room {
		want = defaultExtraIsize
	}
	return min(want, room)
}

// Mkdir makes an empty directory in an unencrypted one. Default ACLs are not
// inherited.
func (fs *FS) Mkdir(dir image.Ino, name []byte, n image.NewFile) (image.Ino, error) {
	parent, err := fs.plainDir(dir)
	if err != nil {
		return 0, err
	}
	if err := fs.checkNewName(parent, name); err != nil {
		return 0, err
	}
	if parent.raw.links() >= maxLinks && !fs.sb.hasRO(roDirNlink) {
		return 0, fmt.Errorf("%w: directory inode %d has %d links", image.ErrUnsupported, dir, parent.raw.links())
	}
	in, err := fs.newInode(parent, modeDir, n)
	if err != nil {
		return 0, err
	}
	in.raw.setLinks(2)
	if err := fs.layDir(in, dirState{parent: dir}, nil, false); err != nil {
		return 0, err
	}
	addSubdir(parent)
	return in.ino, fs.enter(parent, name, in, n.Time)
}

// addSubdir counts the ".." of a new subdirectory. A count of 1 stays.
func addSubdir(parent *inode) {
	switch n := parent.raw.links(); {
	case n >= maxLinks:
		parent.raw.setLinks(1)
	case n > 1:
		parent.raw.setLinks(n + 1)
	}
}

// Create makes a file with the given contents in an unencrypted directory.
func (fs *FS) Create(dir image.Ino, name []byte, data []byte, n image.NewFile) (image.Ino, error) {
	parent, err := fs.plainDir(dir)
	if err != nil {
		return 0, err
	}
	if err := fs.checkNewName(parent, name); err != nil {
		return 0, err
	}
	in, err := fs.newInode(parent, modeRegular, n)
	if err != nil {
		return 0, err
	}
	in.raw.setLinks(1)
	in.raw.setSize(uint64(len(data)))
	if err := fs.appendData(in, data); err != nil {
		return 0, err
	}
	return in.ino, fs.enter(parent, name, in, n.Time)
}

// enter stores a new inode and its entry, and then the directory.
func (fs *FS) enter(parent *inode, name []byte, in *inode, t time.Time) error {
	if err := fs.putInode(in); err != nil {
		return err
	}
	d := image.Dirent{Name: name, Ino: in.ino, Type: in.raw.fileType()}
	if err := fs.insert(parent, d); err != nil {
		return err
	}
	parent.raw.touchContents(t)
	return fs.putInode(parent)
}

// touchContents sets the times that a change of contents changes.
func (r rawInode) touchContents(t time.Time) {
	r.setTime(offIMtime, offIMtimeExtra, t)
	r.setTime(offICtime, offICtimeExtra, t)
}

// newInode allocates an inode near its directory, with no contents yet.
func (fs *FS) newInode(parent *inode, kind uint16, n image.NewFile) (*inode, error) {
	ino, err := fs.allocInode(parent.ino, kind == modeDir)
	if err != nil {
		return nil, err
	}
	in := &inode{ino: ino, raw: make(rawInode, fs.geo.inodeSize)}
	in.raw.setMode(kind | uint16(n.Perm&modePerm))
	in.raw.setUID(n.UID)
	in.raw.setGID(n.GID)
	if len(in.raw) > oldInodeSize {
		in.raw.setExtraIsize(fs.newExtraIsize())
	}
	inherit := uint32(flInheritAll)
	if kind == modeDir {
		inherit = flInheritDir
	}
	in.raw.setFlags(parent.raw.flags() & inherit)
	if fs.sb.hasRO(roProject) && parent.raw.hasFlag(flProjInherit) {
		in.raw.setProjid(parent.raw.projid())
	}
	in.raw.touchContents(n.Time)
	in.raw.setTime(offIAtime, offIAtimeExtra, n.Time)
	if in.raw.has(offICrtime) {
		in.raw.setTime(offICrtime, offICrtimeExt, n.Time)
	}
	// The generation tells this file from others that had the number before.
	var gen [4]byte
	rand.Read(gen[:])
	copy(in.raw[offIGeneration:], gen[:])
	fs.initMapping(in)
	return in, fs.chargeInode(in, 1)
}

// SetFile replaces the contents of an unencrypted regular file. Its blocks are
// freed and others allocated; inline contents move to blocks.
func (fs *FS) SetFile(ino image.Ino, data []byte) error {
	in, err := fs.inode(ino)
	if err != nil {
		return err
	}
	if in.raw.fileType() != image.TypeRegular || fs.reserved(in) || in.raw.flags()&(flEncrypt|flVerity) != 0 {
		return fmt.Errorf("%w: new contents for inode %d", image.ErrUnsupported, ino)
	}
	if in.raw.hasFlag(flInlineData) {
		if err := fs.dropInline(in); err != nil {
			return err
		}
		fs.initMapping(in)
	} else if err := fs.truncateBlocks(in, 0); err != nil {
		return err
	}
	in.raw.setSize(uint64(len(data)))
	if err := fs.appendData(in, data); err != nil {
		return err
	}
	in.raw.touchContents(fs.now())
	return fs.putInode(in)
}

// Remove takes a name out of an unencrypted directory, and frees the inode if
// that was its last name. A directory must be empty. A file with an attribute
// in an inode of its own is refused: fsenc makes none.
func (fs *FS) Remove(dir image.Ino, name []byte) error {
	parent, err := fs.plainDir(dir)
	if err != nil {
		return err
	}
	d, err := fs.Lookup(dir, name)
	if err != nil {
		return fmt.Errorf("%q in directory inode %d: %w", name, dir, err)
	}
	in, err := fs.inode(d.Ino)
	if err != nil {
		return err
	}
	if err := fs.checkRemovable(in); err != nil {
		return err
	}
	isDir := in.raw.fileType() == image.TypeDirectory
	if err := fs.removeEntry(parent, name); err != nil {
		return err
	}
	if n := parent.raw.links(); isDir && n > 2 {
		parent.raw.setLinks(n - 1)
	}
	now := fs.now()
	parent.raw.touchContents(now)
	if err := fs.putInode(parent); err != nil {
		return err
	}
	if n := in.raw.links(); !isDir && n > 1 {
		in.raw.setLinks(n - 1)
		in.raw.setTime(offICtime, offICtimeExtra, now)
		return fs.putInode(in)
	}
	return fs.release(in)
}

func (fs *FS) checkRemovable(in *inode) error {
	if fs.reserved(in) || in.ino == inoRoot {
		return fmt.Errorf("%w: removing inode %d", image.ErrUnsupported, in.ino)
	}
	list, err := fs.ibodyXattrs(in)
	if err != nil {
		return err
	}
	block, err := fs.xattrBlock(in)
	if err != nil {
		return err
	}
	if block != nil {
		list = append(list, block.list...)
	}
	for i := range list {
		if list[i].ino != 0 {
			return fmt.Errorf("%w: removing inode %d with an attribute in inode %d", image.ErrUnsupported, in.ino, list[i].ino)
		}
	}
	if in.raw.fileType() != image.TypeDirectory {
		return nil
	}
	return fs.ReadDir(in.ino, func(image.Dirent) error {
		return fmt.Errorf("directory inode %d: %w", in.ino, image.ErrNotEmpty)
	})
}

// release frees the blocks of an inode without names, and the inode.
func (fs *FS) release(in *inode) error {
	isDir := in.raw.fileType() == image.TypeDirectory
	mapped := fs.hasMapping(in)
	if in.raw.fileType() == image.TypeSymlink && !in.raw.hasFlag(flInlineData) {
		var err error
		if mapped, err = fs.slowLink(in); err != nil {
			return err
		}
	}
	if mapped {
		if err := fs.truncateBlocks(in, 0); err != nil {
			return err
		}
	}
	block, err := fs.xattrBlock(in)
	if err != nil {
		return err
	}
	if err := fs.dropXattrBlock(in, block); err != nil {
		return err
	}
	if err := fs.chargeInode(in, -1); err != nil {
		return err
	}
	return fs.freeInode(in.ino, isDir)
}
