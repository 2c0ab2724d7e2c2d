package ext4

import (
	"encoding/binary"
	"fmt"

	"fsenc/internal/image"
)

// Offsets in the journal superblock, journal_superblock_t; big-endian.
const (
	offJMagic     = 0x00 // be32 h_magic
	offJType      = 0x04 // be32 h_blocktype
	offJBlockSize = 0x0C // be32 s_blocksize
	offJMaxLen    = 0x10 // be32 s_maxlen, blocks
	offJFirst     = 0x14 // be32 s_first
	offJStart     = 0x1C // be32 s_start, 0 when the log is empty
	offJErrno     = 0x20 // be32 s_errno
	offJIncompat  = 0x28 // be32 s_feature_incompat
	offJRO        = 0x2C // be32 s_feature_ro_compat
	offJCsumType  = 0x50 // u8 s_checksum_type
	offJChecksum  = 0xFC // be32 s_checksum

	journalMagic     = 0xC03B3998
	journalSuperV1   = 3
	journalSuperV2   = 4
	journalSuperSize = 1024

	jIncompatCsumV2  = 0x8
	jIncompatCsumV3  = 0x10
	jIncompatKnown   = 0x3F // revoke, 64bit, async commit, checksums, fast commit
	journalCsumCRC32 = 4
)

// journalState is what is known of the journal after opening.
type journalState struct {
	ino    image.Ino // 0 without a journal
	empty  bool      // the log holds nothing to replay
	failed bool      // the kernel has given it up after an error
}

// checkState decides by everything that tells whether the image is in use or
// has to be recovered, and reads the journal's superblock for that.
func (fs *FS) checkState(o Options) error {
	dirty := o.AllowDirty && !o.Write
	if err := fs.checkJournal(); err != nil {
		return err
	}
	if dirty {
		return nil
	}
	if err := fs.checkMMP(); err != nil {
		return err
	}
	switch {
	case fs.sb.hasIncompat(incompatRecover):
		return fmt.Errorf("%w: the journal has to be replayed, or the image is mounted", image.ErrNeedsRecovery)
	case fs.journal.ino != 0 && !fs.journal.empty:
		return fmt.Errorf("%w: the journal is not empty", image.ErrNeedsRecovery)
	case fs.sb.u32(offLastOrphan) != 0 || fs.sb.hasRO(roOrphanPresent):
		return fmt.Errorf("%w: there are orphan inodes", image.ErrNeedsRecovery)
	}
	if !o.Write {
		return nil
	}
	switch state := fs.sb.state(); {
	case state&stateErrors != 0 || fs.journal.failed:
		return fmt.Errorf("%w: the kernel has found errors in it", image.ErrNeedsRecovery)
	case state&stateValid == 0 || state&stateOrphans != 0:
		return fmt.Errorf("%w: not cleanly unmounted, or mounted", image.ErrNeedsRecovery)
	}
	return nil
}

// checkJournal finds the journal and whether its log is empty.
func (fs *FS) checkJournal() error {
	if !fs.sb.hasCompat(compatHasJournal) {
		return nil
	}
	ino := image.Ino(fs.sb.u32(offJournalInum))
	if ino == 0 {
		return fmt.Errorf("%w: external journal", image.ErrUnsupported)
	}
	in, err := fs.inode(ino)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	p, mapped, err := fs.blockAt(in, 0)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if !mapped || in.raw.fileType() != image.TypeRegular || in.raw.hasFlag(flEncrypt) {
		return fs.corrupt("journal inode", ino, 0, "mode %#o, flags %#x, first block %d",
			in.raw.mode(), in.raw.flags(), p)
	}
	block := make([]byte, fs.bs)
	if err := fs.readBlock(p, block); err != nil {
		return err
	}
	if err := fs.checkJournalSuper(block[:journalSuperSize], ino, p); err != nil {
		return err
	}
	fs.journal = journalState{
		ino:    ino,
		empty:  binary.BigEndian.Uint32(block[offJStart:]) == 0,
		failed: binary.BigEndian.Uint32(block[offJErrno:]) != 0,
	}
	return nil
}

// checkJournalSuper verifies the journal superblock jsb, read from block p.
func (fs *FS) checkJournalSuper(jsb []byte, ino image.Ino, p image.Pblk) error {
	be := func(off int) uint32 { return binary.BigEndian.Uint32(jsb[off:]) }
	if be(offJMagic) != journalMagic || be(offJType) != journalSuperV1 && be(offJType) != journalSuperV2 {
		return fs.corrupt("journal superblock", ino, p, "magic %#x, type %d", be(offJMagic), be(offJType))
	}
	if be(offJBlockSize) != uint32(fs.bs) || be(offJFirst) == 0 || be(offJFirst) >= be(offJMaxLen) {
		return fs.corrupt("journal superblock", ino, p, "blocks of %d bytes, log from %d to %d",
			be(offJBlockSize), be(offJFirst), be(offJMaxLen))
	}
	if be(offJType) == journalSuperV1 {
		return nil // has no features and no checksum
	}
	if bad := be(offJIncompat)&^jIncompatKnown | be(offJRO); bad != 0 {
		return fmt.Errorf("%w: journal features %#x, %#x", image.ErrUnsupported, be(offJIncompat), be(offJRO))
	}
	if be(offJIncompat)&(jIncompatCsumV2|jIncompatCsumV3) == 0 {
		return nil
	}
	got, want := be(offJChecksum), crcWithout(0xFFFFFFFF, jsb, offJChecksum, 4)
	if jsb[offJCsumType] != journalCsumCRC32 || got != want {
		return fs.corrupt("journal superblock", ino, p, "checksum %#x of type %d, want %#x",
			got, jsb[offJCsumType], want)
	}
	return nil
}

// journalText says in a word or two what the journal is like.
func (fs *FS) journalText() string {
	switch {
	case fs.journal.ino == 0:
		return "none"
	case fs.sb.hasIncompat(incompatRecover) || !fs.journal.empty:
		return "needs replay"
	}
	return "clean"
}
