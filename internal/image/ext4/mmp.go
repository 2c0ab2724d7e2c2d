package ext4

import (
	"bytes"
	"fmt"

	"fsenc/internal/image"
)

// Offsets in struct mmp_struct.
const (
	offMMPMagic    = 0    // le32 mmp_magic
	offMMPSeq      = 4    // le32 mmp_seq
	offMMPNode     = 16   // 64 bytes mmp_nodename
	offMMPChecksum = 1020 // le32 mmp_checksum

	mmpMagic    = 0x004D4D50
	mmpSeqClean = 0xFF4D4D50
	mmpSeqFsck  = 0xE24D4D50
)

// checkMMP refuses an image whose multiple mount protection says that it is
// in use, here or on another machine.
func (fs *FS) checkMMP() error {
	if !fs.sb.hasIncompat(incompatMMP) {
		return nil
	}
	p := image.Pblk(fs.sb.mmpBlock())
	block := make([]byte, fs.bs)
	if err := fs.readBlock(p, block); err != nil {
		return fmt.Errorf("multiple mount protection: %w", err)
	}
	if magic := le.Uint32(block[offMMPMagic:]); magic != mmpMagic {
		return fs.corrupt("MMP block", 0, p, "magic %#x, want %#x", magic, mmpMagic)
	}
	if got, want := le.Uint32(block[offMMPChecksum:]), fs.mmpChecksum(block); fs.hasCsum && got != want {
		return fs.corrupt("MMP block", 0, p, "checksum %#x, want %#x", got, want)
	}
	switch seq := le.Uint32(block[offMMPSeq:]); seq {
	case mmpSeqClean:
		return nil
	case mmpSeqFsck:
		return fmt.Errorf("%w: e2fsck is running on it", image.ErrInUse)
	default:
		node, _, _ := bytes.Cut(block[offMMPNode:offMMPNode+64], []byte{0})
		return fmt.Errorf("%w: mounted on %q", image.ErrInUse, node)
	}
}
