package f2fs

import (
	"errors"
	"fmt"
	"time"

	"fsenc/internal/image"
)

// Fields of struct f2fs_inode.
const (
	offMode      = 0   // le16 i_mode
	offAdvise    = 2   // u8 i_advise
	offInline    = 3   // u8 i_inline
	offUID       = 4   // le32
	offGID       = 8   // le32
	offLinks     = 12  // le32
	offSize      = 16  // le64 i_size
	offBlocks    = 24  // le64 i_blocks, this block included
	offAtime     = 32  // le64
	offCtime     = 40  // le64
	offMtime     = 48  // le64
	offAtimeNsec = 56  // le32
	offCtimeNsec = 60  // le32
	offMtimeNsec = 64  // le32
	offGen       = 68  // le32 i_generation
	offDepth     = 72  // le32 i_current_depth
	offXattrNid  = 76  // le32
	offFlags     = 80  // le32
	offPino      = 84  // le32
	offNameLen   = 88  // le32
	offName      = 92  // u8[255]
	offDirLevel  = 347 // u8
	offExtCache  = 348 // 12 bytes
	offAddrs     = 360 // extra attributes, then 923 words in all
	offNids      = 4052

	addrWords = 923
	nidCount  = 5

	// Extra attributes, of which an inode has the first i_extra_isize bytes.
	offExtraSize   = 360 // le16
	offXattrWords  = 362 // le16 i_inline_xattr_size
	offProjid      = 364 // le32
	offInodeChksum = 368 // le32
	offCrtime      = 372 // le64
	offCrtimeNsec  = 380 // le32
	offComprBlocks = 384 // le64
	offComprAlgo   = 392 // u8
	offLogCluster  = 393 // u8
	offComprFlag   = 394 // le16

	maxExtraSize = 36
)

// i_advise.
const (
	advLostPino = 0x02
	advEncrypt  = 0x04
	advEncName  = 0x08
	advKeepSize = 0x10
	advVerity   = 0x40
)

// i_inline.
const (
	inXattr     = 0x01
	inData      = 0x02
	inDentry    = 0x04
	inDataExist = 0x08
	inDots      = 0x10 // obsolete: the dots are not stored
	inExtra     = 0x20
	inPin       = 0x40
	inReleased  = 0x80
)

// i_flags.
const (
	flCompressed  = 0x4
	flIndex       = 0x1000
	flProjInherit = 0x20000000
	flCasefold    = 0x40000000
	flDeviceAlias = 0x80000000

	flagEncrypt = 0x800    // as FS_IOC_GETFLAGS shows it
	flagVerity  = 0x100000 // likewise
	flagInline  = 0x10000000
	flagNoCow   = 0x00800000
)

const rootIno = 3

// inode is an inode's block with its geometry.
type inode struct {
	ino image.Ino
	raw rawNode
	at  image.Pblk // 0 if it has no place yet

	extra int // words of extra attributes
	words int // words of the inline xattr area
}

func (in *inode) u16(off int) uint16      { return le.Uint16(in.raw[off:]) }
func (in *inode) u32(off int) uint32      { return le.Uint32(in.raw[off:]) }
func (in *inode) u64(off int) uint64      { return le.Uint64(in.raw[off:]) }
func (in *inode) set16(off int, v uint16) { le.PutUint16(in.raw[off:], v) }
func (in *inode) set32(off int, v uint32) { le.PutUint32(in.raw[off:], v) }
func (in *inode) set64(off int, v uint64) { le.PutUint64(in.raw[off:], v) }

func (in *inode) advise(bit byte) bool { return in.raw[offAdvise]&bit != 0 }
func (in *inode) inline(bit byte) bool { return in.raw[offInline]&bit != 0 }
func (in *inode) flag(bit uint32) bool { return in.u32(offFlags)&bit != 0 }
func (in *inode) size() uint64         { return in.u64(offSize) }

func (in *inode) setAdvise(bit byte, on bool) { setBit(&in.raw[offAdvise], bit, on) }
func (in *inode) setInline(bit byte, on bool) { setBit(&in.raw[offInline], bit, on) }

func setBit(b *byte, bit byte, on bool) {
	if *b &^= bit; on {
		*b |= bit
	}
}

// has reports whether the extra attributes reach to the end of a field.
func (in *inode) has(off, size int) bool {
	return in.extra > 0 && off+size <= offAddrs+4*in.extra
}

func (in *inode) fileType() image.FileType {
	switch in.u16(offMode) >> 12 {
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

// measure finds out where addresses and attributes begin.
func (fs *FS) measure(in *inode) error {
	bad := func(format string, a ...any) error { return fs.corrupt("inode", in.ino, in.at, format, a...) }
	in.extra, in.words = 0, 0
	if in.inline(inExtra) {
		n := int(in.u16(offExtraSize))
		if !fs.sb.has(featExtraAttr) || n < 4 || n > maxExtraSize || n%4 != 0 {
			return bad("extra attributes of %d bytes", n)
		}
		in.extra = n / 4
	}
	switch {
	case fs.sb.has(featFlexInline):
		if in.extra == 0 {
			return bad("no extra attributes, which the size of inline attributes needs")
		}
		in.words = int(in.u16(offXattrWords))
		if in.words > addrWords-in.extra-2 {
			return bad("inline attributes of %d words", in.words)
		}
	case in.inline(inXattr | inDentry):
		in.words = inlineXattrs
	}
	if in.inline(inXattr) && in.words*4 < xattrHeader {
		return bad("inline attributes of %d words", in.words)
	}
	if in.has(offLogCluster, 1) && in.compressed(fs) {
		if n := in.raw[offLogCluster]; n < 2 || n > 8 {
			return bad("clusters of 2^%d blocks", n)
		}
	}
	return nil
}

// compressed reports whether the addresses are grouped in clusters.
func (in *inode) compressed(fs *FS) bool {
	return fs.sb.has(featCompression) && in.flag(flCompressed) && in.fileType() == image.TypeRegular && in.has(offComprFlag, 2)
}

// cluster is the number of blocks in a cluster, 1 in a file that has none.
func (in *inode) cluster(fs *FS) int {
	if in.compressed(fs) {
		return 1 << in.raw[offLogCluster]
	}
	return 1
}

// inlineArea is where contents, a target or entries lie in the inode. The word
// before it stays zero.
func (in *inode) inlineArea() []byte {
	return in.raw[offAddrs+4*(in.extra+1) : offAddrs+4*(addrWords-in.words)]
}

// xattrArea is the inline part of the attributes.
func (in *inode) xattrArea() []byte {
	return in.raw[offAddrs+4*(addrWords-in.words) : offNids]
}

// chksum is the checksum of the whole block, which covers its footer too.
func (fs *FS) inodeChksum(r rawNode) uint32 {
	var zero [4]byte
	c := crcF2FS(fs.chksumSeed, r[offFootIno:][:4])
	c = crcF2FS(c, r[offGen:][:4])
	c = crcF2FS(c, r[:offInodeChksum])
	c = crcF2FS(c, zero[:])
	return crcF2FS(c, r[offInodeChksum+4:])
}

func (fs *FS) hasChksum(in *inode) bool {
	return fs.sb.has(featInodeChksum) && in.has(offInodeChksum, 4)
}

// inode reads and verifies an inode. Its block may be shared with other readers:
// who is going to change it calls put first.
func (fs *FS) inode(ino image.Ino) (*inode, error) {
	if in := fs.edited(ino); in != nil {
		return in, nil
	}
	if in := fs.recent.get(ino); in != nil {
		return in, nil
	}
	in, err := fs.readInode(ino, nil)
	if err == nil && fs.dirty[uint32(ino)] == nil {
		in.kept = true
		fs.recent.add(in)
	}
	if in == nil {
		return nil, err
	}
	return &in.inode, err
}

// glance calls f with an inode. When f has returned its block is used again for
// others: nothing of it may be kept.
func (fs *FS) glance(ino image.Ino, f func(*inode) error) error {
	if fs.dirty[uint32(ino)] != nil {
		in, err := fs.inode(ino)
		if err != nil {
			return err
		}
		return f(in)
	}
	in := fs.recent.enter(ino)
	if in == nil {
		var err error
		if in, err = fs.readInode(ino, fs.recent.block()); err != nil {
			return err
		}
		in.users = 1
		fs.recent.add(in)
	}
	defer fs.recent.leave(in)
	return f(&in.inode)
}

// edited returns an inode that was put, nil for any other.
func (fs *FS) edited(ino image.Ino) *inode {
	if d := fs.dirty[uint32(ino)]; d != nil && image.Ino(uint32(ino)) == ino {
		return d.in
	}
	return nil
}

// readInode reads an inode and verifies it, into block if that is not nil and the
// inode not being edited. A damaged one is returned with the error.
func (fs *FS) readInode(ino image.Ino, block rawNode) (*recentInode, error) {
	if ino == 0 || uint64(ino) >= fs.geo.nids {
		return nil, fmt.Errorf("inode %d: %w", ino, image.ErrNotExist)
	}
	r, e, err := fs.readNode(uint32(ino), block)
	if err != nil {
		return nil, err
	}
	if e.ino != uint32(ino) {
		return nil, fmt.Errorf("inode %d: %w", ino, image.ErrNotExist)
	}
	in := &recentInode{inode: inode{ino: ino, raw: r, at: image.Pblk(e.block)}}
	return in, fs.verifyInode(&in.inode)
}

func (fs *FS) verifyInode(in *inode) error {
	bad := func(format string, a ...any) error { return fs.corrupt("inode", in.ino, in.at, format, a...) }
	if in.raw.ofs() != 0 {
		return bad("node offset %#x", in.raw.ofs())
	}
	if err := fs.measure(in); err != nil {
		return err
	}
	if fs.hasChksum(in) && fs.dirty[uint32(in.ino)] == nil {
		if got, want := in.u32(offInodeChksum), fs.inodeChksum(in.raw); got != want {
			return bad("checksum %#08x, want %#08x", got, want)
		}
	}
	kind := in.fileType()
	switch {
	case kind == image.TypeUnknown:
		return bad("mode %#o", in.u16(offMode))
	case in.u64(offBlocks) == 0:
		return bad("no blocks")
	case in.size() > maxFileBlocks*blockSize:
		return bad("size %d", in.size())
	case in.u32(offNameLen) > maxNameLen:
		return bad("name of %d bytes", in.u32(offNameLen))
	case in.inline(inData) && (kind != image.TypeRegular && kind != image.TypeSymlink || in.inline(inDentry)):
		return bad("a %s with inline data", kind)
	case in.inline(inDentry) && kind != image.TypeDirectory:
		return bad("a %s with inline entries", kind)
	case in.inline(inData) && in.size() > uint64(len(in.inlineArea())):
		return bad("inline data of %d bytes, there is room for %d", in.size(), len(in.inlineArea()))
	case kind == image.TypeDirectory && in.inline(inDots):
		return fmt.Errorf("%w: inode %d: directory with implied dots", image.ErrUnsupported, in.ino)
	}
	return nil
}

// reserved are the inodes that the filesystem keeps for itself.
func (fs *FS) reserved(ino image.Ino) bool {
	if fs.sb.has(featQuotaIno) {
		for kind := range 3 {
			if q := fs.sb.quotaIno(kind); q != 0 && image.Ino(q) == ino {
				return true
			}
		}
	}
	return false
}

func (in *inode) time(sec, nsec int) time.Time {
	return time.Unix(int64(in.u64(sec)), int64(in.u32(nsec)))
}

func (in *inode) setTime(sec, nsec int, t time.Time) {
	in.set64(sec, uint64(t.Unix()))
	in.set32(nsec, uint32(t.Nanosecond()))
}

// rdev is the device number in the first words of the addresses: the old form
// with 8 bits each, or the new one in the second word.
func (in *inode) rdev() (major, minor uint32) {
	if d := in.u32(offAddrs + 4*in.extra); d != 0 {
		return d >> 8 & 0xff, d & 0xff
	}
	d := in.u32(offAddrs + 4*in.extra + 4)
	return d >> 8 & 0xfff, d&0xff | d>>12&0xfff00
}

func isNotExist(err error) bool { return errors.Is(err, image.ErrNotExist) }

func (fs *FS) corrupt(what string, ino image.Ino, p image.Pblk, format string, a ...any) error {
	return &image.CorruptError{What: what, Ino: ino, Pblk: p, Why: fmt.Sprintf(format, a...)}
}
