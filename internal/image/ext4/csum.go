package ext4

import (
	"fmt"

	"fsenc/internal/crc"
	"fsenc/internal/image"
)

// crcWord continues a checksum over v as four little-endian bytes.
func crcWord(seed, v uint32) uint32 {
	var b [4]byte
	le.PutUint32(b[:], v)
	return crc.CRC32C(seed, b[:])
}

// crcWithout continues a checksum over p, taking the n bytes at off as zeros.
// off is inside p, n at most 4.
func crcWithout(seed uint32, p []byte, off, n int) uint32 {
	var zero [4]byte
	seed = crc.CRC32C(seed, p[:off])
	seed = crc.CRC32C(seed, zero[:n])
	return crc.CRC32C(seed, p[off+n:])
}

// inodeSeed is what the checksums of an inode and of its extent and
// directory blocks start from.
func (fs *FS) inodeSeed(in *inode) uint32 {
	return crcWord(crcWord(fs.seed, uint32(in.ino)), in.raw.generation())
}

// inodeChecksum is the checksum that in should carry, with both fields that
// hold it taken as zeros.
func (fs *FS) inodeChecksum(in *inode) uint32 {
	c := crcWithout(fs.inodeSeed(in), in.raw[:128], offIChecksumLo, 2)
	rest := in.raw[128:]
	if len(rest) == 0 {
		return c
	}
	if in.raw.extraIsize() < 4 {
		return crc.CRC32C(c, rest)
	}
	return crcWithout(c, rest, offIChecksumHi-128, 2)
}

// checkInode compares the checksum of in with the stored one.
func (fs *FS) checkInode(in *inode) error {
	if !fs.hasCsum {
		return nil
	}
	want, got := fs.inodeChecksum(in), uint32(le.Uint16(in.raw[offIChecksumLo:]))
	if len(in.raw) > 128 && in.raw.extraIsize() >= 4 {
		got |= uint32(le.Uint16(in.raw[offIChecksumHi:])) << 16
	} else {
		want &= 0xFFFF
	}
	if got != want {
		return fs.corrupt("inode", in.ino, 0, "checksum %#x, want %#x", got, want)
	}
	return nil
}

// sealInode stores the checksum of in.
func (fs *FS) sealInode(in *inode) {
	if !fs.hasCsum {
		return
	}
	c := fs.inodeChecksum(in)
	le.PutUint16(in.raw[offIChecksumLo:], uint16(c))
	if len(in.raw) > 128 && in.raw.extraIsize() >= 4 {
		le.PutUint16(in.raw[offIChecksumHi:], uint16(c>>16))
	}
}

// descChecksum is the checksum that the descriptor of group n should carry,
// by whichever of the two methods the filesystem uses; 0 if by none.
func (fs *FS) descChecksum(n uint32, desc groupDesc) uint16 {
	if fs.hasCsum {
		return uint16(crcWithout(crcWord(fs.seed, n), desc, offBgChecksum, 2))
	}
	if !fs.sb.hasRO(roGdtCsum) {
		return 0
	}
	var num [4]byte
	le.PutUint32(num[:], n)
	c := crc.CRC16(0xFFFF, fs.sb.raw[offUUID:offUUID+16]) // also with metadata_csum_seed
	c = crc.CRC16(c, num[:])
	c = crc.CRC16(c, desc[:offBgChecksum])
	if len(desc) > 32 {
		c = crc.CRC16(c, desc[offBgChecksum+2:])
	}
	return c
}

// bitmapChecksum covers the bits that stand for something, n of them, and not
// the padding behind.
func (fs *FS) bitmapChecksum(bitmap []byte, n uint32) uint32 {
	return crc.CRC32C(fs.seed, bitmap[:n/8])
}

// extentChecksum is the checksum of an extent block, whose header has been
// verified, and the offset where it is stored.
func (fs *FS) extentChecksum(seed uint32, block []byte) (c uint32, off int) {
	off = extentHeaderSize + extentEntrySize*int(extentNode(block).max())
	return crc.CRC32C(seed, block[:off]), off
}

// mmpChecksum covers the MMP block up to the checksum itself.
func (fs *FS) mmpChecksum(block []byte) uint32 {
	return crc.CRC32C(fs.seed, block[:offMMPChecksum])
}

// corrupt makes the error for a damaged structure; ino or p are 0 where there
// is none.
func (fs *FS) corrupt(what string, ino image.Ino, p image.Pblk, format string, a ...any) error {
	return &image.CorruptError{What: what, Ino: ino, Pblk: p, Why: fmt.Sprintf(format, a...)}
}
