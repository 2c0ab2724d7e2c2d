package ext4

import (
	"bytes"
	"encoding/binary"
	"time"

	"fsenc/internal/crc"
)

var le = binary.LittleEndian

const (
	superOffset = 1024 // bytes from the start of the image, whatever the block size
	superSize   = 1024
	superMagic  = 0xEF53
)

// Offsets in struct ext4_super_block.
const (
	offInodesCount     = 0x00 // le32 s_inodes_count
	offBlocksCountLo   = 0x04 // le32 s_blocks_count_lo
	offFreeBlocksLo    = 0x0C // le32 s_free_blocks_count_lo, in blocks also with bigalloc
	offFreeInodes      = 0x10 // le32 s_free_inodes_count
	offFirstDataBlock  = 0x14 // le32 s_first_data_block
	offLogBlockSize    = 0x18 // le32 s_log_block_size
	offLogClusterSize  = 0x1C // le32 s_log_cluster_size
	offBlocksPerGroup  = 0x20 // le32 s_blocks_per_group
	offClustersPerGrp  = 0x24 // le32 s_clusters_per_group
	offInodesPerGroup  = 0x28 // le32 s_inodes_per_group
	offWtime           = 0x30 // le32 s_wtime
	offMagic           = 0x38 // le16 s_magic
	offState           = 0x3A // le16 s_state
	offCreatorOS       = 0x48 // le32 s_creator_os
	offRevLevel        = 0x4C // le32 s_rev_level
	offFirstIno        = 0x54 // le32 s_first_ino
	offInodeSize       = 0x58 // le16 s_inode_size
	offCompat          = 0x5C // le32 s_feature_compat
	offIncompat        = 0x60 // le32 s_feature_incompat
	offROCompat        = 0x64 // le32 s_feature_ro_compat
	offUUID            = 0x68 // 16 bytes s_uuid
	offVolumeName      = 0x78 // 16 bytes s_volume_name
	offLastMounted     = 0x88 // 64 bytes s_last_mounted
	offReservedGdt     = 0xCE // le16 s_reserved_gdt_blocks
	offJournalUUID     = 0xD0 // 16 bytes s_journal_uuid
	offJournalInum     = 0xE0 // le32 s_journal_inum
	offJournalDev      = 0xE4 // le32 s_journal_dev
	offLastOrphan      = 0xE8 // le32 s_last_orphan
	offHashSeed        = 0xEC // 4 le32 s_hash_seed
	offDefHashVersion  = 0xFC // u8 s_def_hash_version
	offDescSize        = 0xFE // le16 s_desc_size
	offFirstMetaBg     = 0x104
	offBlocksCountHi   = 0x150 // le32 s_blocks_count_hi
	offFreeBlocksHi    = 0x158 // le32 s_free_blocks_count_hi
	offWantExtraIsize  = 0x15E // le16 s_want_extra_isize
	offFlags           = 0x160 // le32 s_flags
	offMMPBlock        = 0x168 // le64 s_mmp_block
	offChecksumType    = 0x175 // u8 s_checksum_type
	offEncryptionLevel = 0x176 // u8 s_encryption_level
	offUsrQuotaInum    = 0x240 // le32 s_usr_quota_inum
	offGrpQuotaInum    = 0x244 // le32 s_grp_quota_inum
	offBackupBgs       = 0x24C // 2 le32 s_backup_bgs
	offEncryptAlgos    = 0x254 // 4 bytes s_encrypt_algos
	offPrjQuotaInum    = 0x26C // le32 s_prj_quota_inum
	offChecksumSeed    = 0x270 // le32 s_checksum_seed
	offWtimeHi         = 0x274 // u8 s_wtime_hi
	offEncoding        = 0x27C // le16 s_encoding
	offEncodingFlags   = 0x27E // le16 s_encoding_flags
	offOrphanFileInum  = 0x280 // le32 s_orphan_file_inum

	// offUnfinishedID is where the id of an unfinished conversion is kept: the
	// last 16 bytes of s_reserved. New fields grow from the other end of it
	// (0x284), so this is the part that a later kernel claims last.
	offUnfinishedID = 0x3EC

	offSuperChecksum = 0x3FC // le32 s_checksum
)

// s_state, s_flags and s_creator_os.
const (
	stateValid   = 1
	stateErrors  = 2
	stateOrphans = 4

	flagSignedHash   = 1
	flagUnsignedHash = 2

	creatorHurd = 1
)

// super is the primary superblock as it lies on disk, superSize bytes.
// Accessors join high and low halves; setters write through and mark it dirty.
type super struct {
	raw   []byte
	dirty bool // differs from the store
}

func (sb *super) u16(off int) uint16 { return le.Uint16(sb.raw[off:]) }
func (sb *super) u32(off int) uint32 { return le.Uint32(sb.raw[off:]) }

func (sb *super) set16(off int, v uint16) { le.PutUint16(sb.raw[off:], v); sb.dirty = true }
func (sb *super) set32(off int, v uint32) { le.PutUint32(sb.raw[off:], v); sb.dirty = true }

func (sb *super) hasCompat(bit uint32) bool   { return sb.u32(offCompat)&bit != 0 }
func (sb *super) hasIncompat(bit uint32) bool { return sb.u32(offIncompat)&bit != 0 }
func (sb *super) hasRO(bit uint32) bool       { return sb.u32(offROCompat)&bit != 0 }

func (sb *super) blockSize() int { return 1024 << sb.u32(offLogBlockSize) }
func (sb *super) inodeSize() int { return int(sb.u16(offInodeSize)) }

// clusterRatio is the number of blocks in an allocation unit, 1 without bigalloc.
func (sb *super) clusterRatio() uint64 {
	if !sb.hasRO(roBigalloc) {
		return 1
	}
	return 1 << (sb.u32(offLogClusterSize) - sb.u32(offLogBlockSize))
}

func (sb *super) blocksCount() uint64 { return sb.wide(offBlocksCountLo, offBlocksCountHi) }
func (sb *super) freeBlocks() uint64  { return sb.wide(offFreeBlocksLo, offFreeBlocksHi) }

func (sb *super) setFreeBlocks(v uint64) {
	sb.set32(offFreeBlocksLo, uint32(v))
	if sb.hasIncompat(incompat64bit) {
		sb.set32(offFreeBlocksHi, uint32(v>>32))
	}
}

// wide joins a count whose high half exists with 64bit only.
func (sb *super) wide(lo, hi int) uint64 {
	v := uint64(sb.u32(lo))
	if sb.hasIncompat(incompat64bit) {
		v |= uint64(sb.u32(hi)) << 32
	}
	return v
}

func (sb *super) inodesCount() uint32 { return sb.u32(offInodesCount) }
func (sb *super) freeInodes() uint32  { return sb.u32(offFreeInodes) }
func (sb *super) firstIno() uint32    { return sb.u32(offFirstIno) }
func (sb *super) state() uint16       { return sb.u16(offState) }
func (sb *super) mmpBlock() uint64    { return le.Uint64(sb.raw[offMMPBlock:]) }
func (sb *super) wantExtraIsize() int { return int(sb.u16(offWantExtraIsize)) }

func (sb *super) uuid() (u [16]byte) { copy(u[:], sb.raw[offUUID:]); return u }

// descSize is the size of a group descriptor in bytes.
func (sb *super) descSize() int {
	if sb.hasIncompat(incompat64bit) {
		return int(sb.u16(offDescSize))
	}
	return 32
}

// hashSeed is s_hash_seed, four words as the directory hashes take them.
func (sb *super) hashSeed() (seed [4]uint32) {
	for i := range seed {
		seed[i] = sb.u32(offHashSeed + 4*i)
	}
	return seed
}

func (sb *super) defHashVersion() uint8 { return sb.raw[offDefHashVersion] }
func (sb *super) flags() uint32         { return sb.u32(offFlags) }
func (sb *super) setFlags(v uint32)     { sb.set32(offFlags, v) }

// text is a NUL-terminated field of n bytes.
func (sb *super) text(off, n int) string {
	b, _, _ := bytes.Cut(sb.raw[off:off+n], []byte{0})
	return string(b)
}

// wtime is s_wtime with its high byte; the zero time if none is recorded.
func (sb *super) wtime() time.Time {
	s := int64(sb.u32(offWtime)) | int64(sb.raw[offWtimeHi])<<32
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0)
}

func (sb *super) setWtime(t time.Time) {
	sb.set32(offWtime, uint32(t.Unix()))
	sb.raw[offWtimeHi] = byte(t.Unix() >> 32)
}

func (sb *super) unfinishedID() (id [16]byte) { copy(id[:], sb.raw[offUnfinishedID:]); return id }

func (sb *super) setUnfinishedID(id [16]byte) {
	copy(sb.raw[offUnfinishedID:], id[:])
	sb.dirty = true
}

// superChecksum is the s_checksum that raw, a superblock or a backup of it,
// should have with metadata_csum. It does not depend on the filesystem's seed.
func superChecksum(raw []byte) uint32 {
	return crc.CRC32C(0xFFFFFFFF, raw[:offSuperChecksum])
}

// checksumSeed is what every other checksum starts from.
func (sb *super) checksumSeed() uint32 {
	if sb.hasIncompat(incompatCsumSeed) {
		return sb.u32(offChecksumSeed)
	}
	return crc.CRC32C(0xFFFFFFFF, sb.raw[offUUID:offUUID+16])
}
