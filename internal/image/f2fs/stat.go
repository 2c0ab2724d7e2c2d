package f2fs

import (
	"fmt"

	"fsenc/internal/image"
)

// maxLinkRoom is what the length of an encrypted symlink's target is bounded by,
// in bytes: three more than the longest target.
const maxLinkRoom = 4096

// Stat returns the attributes of a used inode.
func (fs *FS) Stat(ino image.Ino) (a image.Attr, err error) {
	err = fs.glance(ino, func(in *inode) error {
		a = fs.attr(in)
		return nil
	})
	return a, err
}

// attr takes the attributes from an inode; it accepts a damaged one.
func (fs *FS) attr(in *inode) image.Attr {
	a := image.Attr{
		Ino:        in.ino,
		Type:       in.fileType(),
		Mode:       uint32(in.u16(offMode)),
		UID:        in.u32(offUID),
		GID:        in.u32(offGID),
		Links:      in.u32(offLinks),
		Size:       int64(in.size()),
		AllocBytes: int64(in.u64(offBlocks)-1) * blockSize,
		Atime:      in.time(offAtime, offAtimeNsec),
		Mtime:      in.time(offMtime, offMtimeNsec),
		Ctime:      in.time(offCtime, offCtimeNsec),
		Generation: in.u32(offGen),
		Flags:      fs.visibleFlags(in),
		Encrypted:  in.advise(advEncrypt),
		Casefold:   in.fileType() == image.TypeDirectory && in.flag(flCasefold),
		Verity:     in.advise(advVerity),
		Inline:     in.fileType() == image.TypeRegular && in.inline(inData),
		Reserved:   fs.reserved(in.ino),
	}
	if in.has(offProjid, 4) {
		a.ProjectID = in.u32(offProjid)
	}
	if fs.sb.has(featInodeCrtime) && in.has(offCrtimeNsec, 4) {
		a.Crtime = in.time(offCrtime, offCrtimeNsec)
	}
	if a.Type == image.TypeChar || a.Type == image.TypeBlock {
		a.RdevMajor, a.RdevMinor = in.rdev()
	}
	return a
}

// visibleFlags are those of FS_IOC_GETFLAGS, which shows some that are not kept
// in i_flags.
func (fs *FS) visibleFlags(in *inode) uint32 {
	f := in.u32(offFlags) &^ flDeviceAlias
	for _, v := range []struct {
		set bool
		bit uint32
	}{
		{in.advise(advEncrypt), flagEncrypt}, {in.advise(advVerity), flagVerity},
		{in.inline(inData | inDentry), flagInline}, {in.inline(inPin), flagNoCow},
	} {
		if v.set {
			f |= v.bit
		}
	}
	return f
}

// Inodes calls f for each used inode in ascending order.
func (fs *FS) Inodes(f func(image.Attr, error) error) error {
	return fs.InodesIn(0, image.Ino(fs.geo.nids), f)
}

// InodesIn implements image.Ranged.
func (fs *FS) InodesIn(first, end image.Ino, f func(image.Attr, error) error) error {
	return fs.nats(uint64(first), uint64(end), func(nid uint32, e natEntry) error {
		if e.ino != nid {
			return nil
		}
		a, err := fs.Stat(image.Ino(nid))
		if err == nil {
			return f(a, nil)
		}
		in, err := fs.inode(image.Ino(nid))
		if in == nil {
			return f(image.Attr{Ino: image.Ino(nid)}, err)
		}
		return f(fs.attr(in), err)
	})
}

// Super returns what the superblock and the checkpoint say.
func (fs *FS) Super() image.Super {
	sb, c := fs.sb, fs.ckpt
	s := image.Super{
		Kind:          "f2fs",
		UUID:          sb.uuid(),
		Label:         sb.label(),
		BlockSize:     blockSize,
		AllocUnit:     blockSize,
		SizeBytes:     int64(fs.geo.end) * blockSize,
		FreeBytes:     fs.room() * blockSize,
		Inodes:        fs.geo.nids,
		FreeInodes:    fs.geo.nids - uint64(c.u32(offValidNodes)),
		InodeSize:     blockSize,
		Features:      sb.features(),
		Encrypt:       sb.has(featEncrypt),
		StableInodes:  true,
		NamedInodes:   true,
		Casefold:      sb.has(featCasefold),
		LowHash:       true,
		RootPolicy:    !sb.has(featLostFound),
		MaxFileBits:   41,
		SubBlockUnits: true,
		MaxLinkRoom:   maxLinkRoom,
		JournalState:  c.text(),
	}
	if sb.has(featInlineEncrypt) {
		s.Inline = InlineLayout
	}
	return s
}

// InlineLayout names the format of encrypted inline data.
const InlineLayout = "f2fs encrypted_inline_data v3 (proposed)"

// ReadLink returns the i_size bytes that a symlink stores.
func (fs *FS) ReadLink(ino image.Ino) ([]byte, error) {
	in, err := fs.inode(ino)
	if err != nil {
		return nil, err
	}
	if in.fileType() != image.TypeSymlink {
		return nil, fmt.Errorf("inode %d: not a symlink", ino)
	}
	size := in.size()
	if size == 0 || size > blockSize {
		return nil, fs.corrupt("symlink", ino, in.at, "target of %d bytes", size)
	}
	if in.inline(inData) {
		return clone(in.inlineArea()[:size]), nil
	}
	var block []byte
	err = fs.data(in, func(s slot) error {
		if s.lblk != 0 || block != nil {
			return fs.corrupt("symlink", ino, image.Pblk(s.addr), "a block for lblk %d", s.lblk)
		}
		block = make([]byte, blockSize)
		return fs.readBlock(block, image.Pblk(s.addr))
	})
	if err != nil {
		return nil, err
	}
	if block == nil {
		return nil, fs.corrupt("symlink", ino, in.at, "has no block")
	}
	return block[:size], nil
}

// Inline returns the contents of a file that keeps them in its inode. Those of
// an encrypted one are what is stored, whole cipher blocks.
func (fs *FS) Inline(ino image.Ino) ([]byte, error) {
	in, err := fs.inode(ino)
	if err != nil {
		return nil, err
	}
	if in.fileType() != image.TypeRegular || !in.inline(inData) {
		return nil, fmt.Errorf("inode %d: no inline data", ino)
	}
	size := in.size()
	if in.advise(advEncrypt) && fs.sb.has(featInlineEncrypt) {
		size = image.StoredInline(size)
	}
	area := in.inlineArea()
	if size > uint64(len(area)) {
		return nil, fs.corrupt("inline data", ino, in.at, "%d bytes, there is room for %d", size, len(area))
	}
	return append([]byte{}, area[:size]...), nil
}
