package ext4

import (
	"fmt"
	"time"

	"fsenc/internal/image"
)

func notExist(ino image.Ino) error {
	return fmt.Errorf("inode %d: %w", ino, image.ErrNotExist)
}

// Stat returns the attributes of a used inode.
func (fs *FS) Stat(ino image.Ino) (image.Attr, error) {
	in, err := fs.look(ino)
	if err != nil {
		return image.Attr{}, err
	}
	return fs.attr(in), nil
}

// attr takes the attributes from an inode; it accepts a damaged one.
func (fs *FS) attr(in *inode) image.Attr {
	r := in.raw
	a := image.Attr{
		Ino:        in.ino,
		Type:       r.fileType(),
		Mode:       uint32(r.mode()),
		UID:        r.uid(),
		GID:        r.gid(),
		ProjectID:  r.projid(),
		Links:      uint32(r.links()),
		Size:       int64(r.size()),
		AllocBytes: fs.allocBytes(r),
		Atime:      r.time(offIAtime, offIAtimeExtra),
		Mtime:      r.time(offIMtime, offIMtimeExtra),
		Ctime:      r.time(offICtime, offICtimeExtra),
		Generation: r.generation(),
		Flags:      r.flags() & flUserVisible,
		Encrypted:  r.hasFlag(flEncrypt),
		Casefold:   r.hasFlag(flCasefold),
		Verity:     r.hasFlag(flVerity),
		Inline:     r.hasFlag(flInlineData),
		Reserved:   fs.reserved(in),
	}
	if r.has(offICrtime) {
		a.Crtime = r.time(offICrtime, offICrtimeExt)
	}
	if a.Type == image.TypeChar || a.Type == image.TypeBlock {
		a.RdevMajor, a.RdevMinor = r.rdev()
	}
	return a
}

// time joins a signed 32-bit time with its extra word, if the inode has that:
// two bits that extend the seconds, and the nanoseconds above them.
func (r rawInode) time(off, extra int) time.Time {
	s := int64(int32(le.Uint32(r[off:])))
	if !r.has(extra) {
		return time.Unix(s, 0)
	}
	x := le.Uint32(r[extra:])
	return time.Unix(s+int64(x&3)<<32, int64(x>>2))
}

// setTime is the reverse of time; without room for the extra word seconds
// beyond 2038 are cut off, as the kernel does.
func (r rawInode) setTime(off, extra int, t time.Time) {
	s := t.Unix()
	le.PutUint32(r[off:], uint32(s))
	if r.has(extra) {
		epoch := uint32((s-int64(int32(s)))>>32) & 3
		le.PutUint32(r[extra:], epoch|uint32(t.Nanosecond())<<2)
	}
}

// rdev is the device number: the old form with 8 bits each in the first word
// of i_block, or else the new one in the second.
func (r rawInode) rdev() (major, minor uint32) {
	if d := le.Uint32(r.iblock()); d != 0 {
		return d >> 8 & 0xFF, d & 0xFF
	}
	d := le.Uint32(r.iblock()[4:])
	return d >> 8 & 0xFFF, d&0xFF | d>>12&0xFFF00
}

// InlineLayout names this project's format of encrypted inline data, which no
// kernel knows.
const InlineLayout = "ext4 encrypted_inline_data 1 (fsenc's own)"

// Super returns what the superblock says.
func (fs *FS) Super() image.Super {
	sb := fs.sb
	s := image.Super{
		Kind:          "ext4",
		UUID:          sb.uuid(),
		Label:         sb.text(offVolumeName, 16),
		BlockSize:     fs.bs,
		AllocUnit:     fs.bs * int(fs.geo.ratio),
		SizeBytes:     int64(fs.geo.blocks) * int64(fs.bs),
		FreeBytes:     int64(sb.freeBlocks()) * int64(fs.bs),
		Inodes:        uint64(fs.geo.inodes),
		FreeInodes:    uint64(sb.freeInodes()),
		InodeSize:     fs.geo.inodeSize,
		Features:      sb.features(),
		Encrypt:       sb.hasIncompat(incompatEncrypt),
		Preallocates:  true,
		StableInodes:  sb.hasCompat(compatStableInodes),
		Casefold:      sb.hasIncompat(incompatCasefold),
		MaxFileBits:   42 + int(sb.u32(offLogBlockSize)),
		SubBlockUnits: true,
		MaxLinkRoom:   fs.bs,
		JournalState:  fs.journalText(),
		LastMounted:   sb.text(offLastMounted, 64),
		LastWrite:     sb.wtime(),

		BootLoaderHint: fs.boot(),
	}
	if sb.hasIncompat(incompatEncInline) {
		s.Inline = InlineLayout
	}
	if !sb.hasRO(roHugeFile) {
		s.MaxFileBits = min(s.MaxFileBits, 41) // i_blocks has 32 bits of 512 bytes
	}
	return s
}
