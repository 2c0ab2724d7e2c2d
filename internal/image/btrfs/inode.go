package btrfs

import (
	"fmt"
	"time"

	"fsenc/internal/image"
)

// Fields of struct btrfs_inode_item.
const (
	offInoGen    = 0   // le64 generation
	offInoTrans  = 8   // le64 transid
	offInoSize   = 16  // le64
	offInoBytes  = 24  // le64 nbytes
	offInoLinks  = 40  // le32
	offInoUID    = 44  // le32
	offInoGID    = 48  // le32
	offInoMode   = 52  // le32
	offInoRdev   = 56  // le64
	offInoFlags  = 64  // le64
	offInoAtime  = 112 // le64 seconds, le32 nanoseconds
	offInoCtime  = 124
	offInoMtime  = 136
	offInoOtime  = 148
	inodeSize    = 160
	timespecSize = 12
)

// Flags of inodes.
const (
	inoNoSum      = 1 << 0
	inoNoCow      = 1 << 1
	inoSync       = 1 << 5
	inoImmutable  = 1 << 6
	inoAppend     = 1 << 7
	inoNoDump     = 1 << 8
	inoNoAtime    = 1 << 9
	inoDirSync    = 1 << 10
	inoCompress   = 1 << 11
	inoEncrypt    = 1 << 12 // proposed
	inoNoCompress = 1 << 3
	inoVerity     = 1 << 32
)

// generalFlags are the flags as FS_IOC_GETFLAGS shows them.
var generalFlags = []struct {
	ino uint64
	fs  uint32
}{
	{inoSync, 0x8}, {inoImmutable, 0x10}, {inoAppend, 0x20}, {inoNoDump, 0x40}, {inoNoAtime, 0x80}, {inoDirSync, 0x10000},
	{inoNoCow, 0x800000}, {inoCompress, 0x4}, {inoNoCompress, 0x400}, {inoEncrypt, 0x800}, {inoVerity, 0x100000},
}

// rawInode is an inode item as it lies in its leaf, a view.
type rawInode []byte

func (r rawInode) u32(off int) uint32      { return le.Uint32(r[off:]) }
func (r rawInode) u64(off int) uint64      { return le.Uint64(r[off:]) }
func (r rawInode) set32(off int, v uint32) { le.PutUint32(r[off:], v) }
func (r rawInode) set64(off int, v uint64) { le.PutUint64(r[off:], v) }
func (r rawInode) flag(bit uint64) bool    { return r.u64(offInoFlags)&bit != 0 }

func (r rawInode) time(off int) time.Time {
	return time.Unix(int64(r.u64(off)), int64(r.u32(off+8)))
}

func (r rawInode) setTime(off int, t time.Time) {
	r.set64(off, uint64(t.Unix()))
	r.set32(off+8, uint32(t.Nanosecond()))
}

func (r rawInode) fileType() image.FileType {
	switch r.u32(offInoMode) >> 12 & 0xf {
	case 1:
		return image.TypeFifo
	case 2:
		return image.TypeChar
	case 4:
		return image.TypeDirectory
	case 6:
		return image.TypeBlock
	case 8:
		return image.TypeRegular
	case 10:
		return image.TypeSymlink
	case 12:
		return image.TypeSocket
	}
	return image.TypeUnknown
}

// inode reads an inode item.
func (fs *FS) inode(t *tree, obj uint64) (rawInode, error) {
	if isVacant(obj) {
		return fs.vacant(t)
	}
	k := key{obj, keyInode, 0}
	b, err := fs.item(t, k)
	if err != nil {
		return nil, err
	}
	if b == nil || obj < firstFree {
		return nil, fmt.Errorf("inode %d: %w", inoOf(t.id, obj), image.ErrNotExist)
	}
	return b, fs.checkInode(t, k, b)
}

func (fs *FS) checkInode(t *tree, k key, b []byte) error {
	if len(b) != inodeSize {
		return fs.itemError(t, k, "%d bytes", len(b))
	}
	if r := rawInode(b); r.fileType() == image.TypeUnknown {
		return fs.itemError(t, k, "mode %#o", r.u32(offInoMode))
	}
	return nil
}

// look reads an inode by its number.
func (fs *FS) look(ino image.Ino) (*tree, uint64, rawInode, error) {
	t, obj, err := fs.fileTree(ino)
	if err != nil {
		return nil, 0, nil, err
	}
	r, err := fs.inode(t, obj)
	return t, obj, r, err
}

// Stat returns the attributes of a used inode.
func (fs *FS) Stat(ino image.Ino) (image.Attr, error) {
	t, obj, r, err := fs.look(ino)
	if err != nil {
		return image.Attr{}, err
	}
	a := fs.attr(t, obj, r)
	if a.Type == image.TypeRegular {
		a.Inline, err = fs.isInline(t, obj)
	}
	return a, err
}

// isInline reports whether the first extent of a file lies in its item.
func (fs *FS) isInline(t *tree, obj uint64) (bool, error) {
	b, err := fs.item(t, key{obj, keyExtentData, 0})
	return len(b) > extInlineData && b[offExtKind] == extInline, err
}

func (fs *FS) attr(t *tree, obj uint64, r rawInode) image.Attr {
	a := image.Attr{
		Ino:        inoOf(t.id, obj),
		Type:       r.fileType(),
		Mode:       r.u32(offInoMode),
		UID:        r.u32(offInoUID),
		GID:        r.u32(offInoGID),
		Links:      r.u32(offInoLinks),
		Size:       int64(r.u64(offInoSize)),
		AllocBytes: int64(r.u64(offInoBytes)),
		Atime:      r.time(offInoAtime),
		Mtime:      r.time(offInoMtime),
		Ctime:      r.time(offInoCtime),
		Crtime:     r.time(offInoOtime),
		Generation: uint32(r.u64(offInoGen)),
		Encrypted:  r.flag(inoEncrypt),
		Verity:     r.flag(inoVerity),
	}
	for _, f := range generalFlags {
		if r.flag(f.ino) {
			a.Flags |= f.fs
		}
	}
	if a.Type == image.TypeChar || a.Type == image.TypeBlock {
		d := r.u64(offInoRdev)
		a.RdevMajor, a.RdevMinor = uint32(d>>20), uint32(d&0xfffff)
	}
	return a
}

// Inodes calls f for each inode of each subvolume, in ascending order.
func (fs *FS) Inodes(f func(image.Attr, error) error) error {
	ids, err := fs.subvolumes()
	if err != nil {
		return err
	}
	for _, id := range ids {
		t, err := fs.treeOf(id)
		if err != nil {
			return err
		}
		if err := fs.inodesOf(t, f); err != nil {
			return err
		}
	}
	return nil
}

func (fs *FS) inodesOf(t *tree, f func(image.Attr, error) error) error {
	return fs.each(t, key{firstFree, 0, 0}, func(k key, b []byte) (bool, error) {
		if k.obj > lastFree {
			return false, nil
		}
		if k.kind != keyInode {
			return true, nil
		}
		if k.obj > maxObject {
			return false, fmt.Errorf("%w: inode %d in tree %d", image.ErrUnsupported, k.obj, t.id)
		}
		if err := fs.checkInode(t, k, b); err != nil {
			return true, f(image.Attr{Ino: inoOf(t.id, k.obj)}, err)
		}
		a := fs.attr(t, k.obj, b)
		var err error
		if a.Type == image.TypeRegular {
			a.Inline, err = fs.isInline(t, k.obj)
		}
		return true, f(a, err)
	})
}

// Context returns the encryption context that is stored with an inode.
func (fs *FS) Context(ino image.Ino) ([]byte, error) {
	t, obj, err := fs.fileTree(ino)
	if err != nil {
		return nil, err
	}
	b, err := fs.item(t, key{obj, keyInodeContext, 0})
	if err != nil || b == nil {
		return nil, err
	}
	return append([]byte{}, b...), nil
}

// Super returns what the superblock says.
func (fs *FS) Super() image.Super {
	sb := fs.sb
	label, _, _ := cutZero(sb.raw[offLabel:][:256])
	s := image.Super{
		Kind:         "btrfs",
		UUID:         sb.uuid(),
		Label:        label,
		BlockSize:    fs.ss,
		AllocUnit:    fs.ss,
		SizeBytes:    int64(sb.u64(offTotalBytes)),
		FreeBytes:    fs.room(),
		InodeSize:    inodeSize,
		Features:     sb.features(),
		Encrypt:      sb.has(incompatEncrypt),
		StableInodes: true,
		Preallocates: true,
		RootPolicy:   true,
		MaxFileBits:  62,
		MaxLinkRoom:  min(fs.ns-headerSize-itemSize-extInlineData, fs.ss) + 1,
		JournalState: "none",
	}
	if s.Encrypt {
		s.Layout = layoutV6
		if v5, err := fs.layout(); err == nil && v5 { // damage is told by who reads files
			s.Layout = layoutV5
		}
	}
	if sb.has(incompatInline) {
		s.Inline = InlineLayout
	}
	if sb.u64(offLogRoot) != 0 {
		s.JournalState = "log tree to be replayed"
	}
	return s
}

func cutZero(b []byte) (string, []byte, bool) {
	for i, c := range b {
		if c == 0 {
			return string(b[:i]), b[i+1:], true
		}
	}
	return string(b), nil, false
}
