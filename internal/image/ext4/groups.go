package ext4

import (
	"fsenc/internal/image"
)

// Offsets in struct ext4_group_desc; the high halves exist in descriptors of
// 64 bytes and more.
const (
	offBgBlockBitmap  = 0x00 // le32 bg_block_bitmap_lo
	offBgInodeBitmap  = 0x04 // le32 bg_inode_bitmap_lo
	offBgInodeTable   = 0x08 // le32 bg_inode_table_lo
	offBgFreeClusters = 0x0C // le16 bg_free_blocks_count_lo
	offBgFreeInodes   = 0x0E // le16 bg_free_inodes_count_lo
	offBgUsedDirs     = 0x10 // le16 bg_used_dirs_count_lo
	offBgFlags        = 0x12 // le16 bg_flags
	offBgBlockCsum    = 0x18 // le16 bg_block_bitmap_csum_lo
	offBgInodeCsum    = 0x1A // le16 bg_inode_bitmap_csum_lo
	offBgItableUnused = 0x1C // le16 bg_itable_unused_lo
	offBgChecksum     = 0x1E // le16 bg_checksum

	bgHigh           = 0x20 // from a block number to its high half, le32
	offBgFreeCluHi   = 0x2C // le16
	offBgFreeInoHi   = 0x2E // le16
	offBgUsedDirsHi  = 0x30 // le16
	offBgUnusedHi    = 0x32 // le16
	offBgBlockCsumHi = 0x38 // le16
	offBgInodeCsumHi = 0x3A // le16
)

// bg_flags; they mean something only with metadata_csum or uninit_bg.
const (
	bgInodeUninit  = 1
	bgBlockUninit  = 2
	bgItableZeroed = 4
)

// groupDesc is struct ext4_group_desc as it lies in its block, 32 bytes or
// more. It is a view: setters write through.
type groupDesc []byte

func (d groupDesc) blockBitmap() image.Pblk { return d.pblk(offBgBlockBitmap) }
func (d groupDesc) inodeBitmap() image.Pblk { return d.pblk(offBgInodeBitmap) }
func (d groupDesc) inodeTable() image.Pblk  { return d.pblk(offBgInodeTable) }

func (d groupDesc) freeClusters() uint32 { return d.count(offBgFreeClusters, offBgFreeCluHi) }
func (d groupDesc) freeInodes() uint32   { return d.count(offBgFreeInodes, offBgFreeInoHi) }
func (d groupDesc) usedDirs() uint32     { return d.count(offBgUsedDirs, offBgUsedDirsHi) }
func (d groupDesc) itableUnused() uint32 { return d.count(offBgItableUnused, offBgUnusedHi) }
func (d groupDesc) blockCsum() uint32    { return d.count(offBgBlockCsum, offBgBlockCsumHi) }
func (d groupDesc) inodeCsum() uint32    { return d.count(offBgInodeCsum, offBgInodeCsumHi) }
func (d groupDesc) flags() uint16        { return le.Uint16(d[offBgFlags:]) }
func (d groupDesc) checksum() uint16     { return le.Uint16(d[offBgChecksum:]) }

func (d groupDesc) setFreeClusters(v uint32) { d.setCount(offBgFreeClusters, offBgFreeCluHi, v) }
func (d groupDesc) setFreeInodes(v uint32)   { d.setCount(offBgFreeInodes, offBgFreeInoHi, v) }
func (d groupDesc) setUsedDirs(v uint32)     { d.setCount(offBgUsedDirs, offBgUsedDirsHi, v) }
func (d groupDesc) setItableUnused(v uint32) { d.setCount(offBgItableUnused, offBgUnusedHi, v) }
func (d groupDesc) setBlockCsum(v uint32)    { d.setCount(offBgBlockCsum, offBgBlockCsumHi, v) }
func (d groupDesc) setInodeCsum(v uint32)    { d.setCount(offBgInodeCsum, offBgInodeCsumHi, v) }
func (d groupDesc) setFlags(v uint16)        { le.PutUint16(d[offBgFlags:], v) }
func (d groupDesc) setChecksum(v uint16)     { le.PutUint16(d[offBgChecksum:], v) }

func (d groupDesc) pblk(off int) image.Pblk {
	p := image.Pblk(le.Uint32(d[off:]))
	if len(d) >= 64 {
		p |= image.Pblk(le.Uint32(d[off+bgHigh:])) << 32
	}
	return p
}

func (d groupDesc) count(lo, hi int) uint32 {
	v := uint32(le.Uint16(d[lo:]))
	if len(d) >= 64 {
		v |= uint32(le.Uint16(d[hi:])) << 16
	}
	return v
}

func (d groupDesc) setCount(lo, hi int, v uint32) {
	le.PutUint16(d[lo:], uint16(v))
	if len(d) >= 64 {
		le.PutUint16(d[hi:], uint16(v>>16))
	}
}

// groupsInMemory bounds how many groups are kept that do not have to be
// written, so that their bitmaps take no more than 4 MiB.
func groupsInMemory(blockSize int) int { return 4 << 20 / (2 * blockSize) }

// group is a block group whose descriptor has been read. The bitmaps are nil
// until they are needed.
type group struct {
	num    uint32
	desc   groupDesc
	blocks *bitmap
	inodes *bitmap
	dirty  bool // desc or a bitmap differs from the store
}

// group returns group n, with its descriptor verified.
func (fs *FS) group(n uint32) (*group, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if gr, ok := fs.groups[n]; ok {
		return gr, nil
	}
	desc := make(groupDesc, fs.geo.descSize)
	if err := fs.cache.Read(desc, fs.descOffset(n)); err != nil {
		return nil, err
	}
	if err := fs.checkDesc(n, desc); err != nil {
		return nil, err
	}
	gr := &group{num: n, desc: desc}
	fs.keep(gr)
	return gr, nil
}

// keep puts gr among the groups in memory, with fs.mu held, and makes room by
// forgetting others that equal the store.
func (fs *FS) keep(gr *group) {
	if len(fs.groups) >= fs.groupRoom {
		for n, old := range fs.groups {
			if !old.dirty {
				delete(fs.groups, n)
			}
		}
		// Dirty groups stay until Flush, so the bound grows with them.
		fs.groupRoom = max(groupsInMemory(fs.bs), 2*len(fs.groups))
	}
	fs.groups[gr.num] = gr
}

// touch marks gr as changed, so that Flush writes it.
func (fs *FS) touch(gr *group) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	gr.dirty = true
	fs.groups[gr.num] = gr
}

// descOffset is the byte where the descriptor of group n starts.
func (fs *FS) descOffset(n uint32) int64 {
	index := n / fs.geo.descsPerBlock
	return int64(fs.descBlock(index))*int64(fs.bs) +
		int64(n%fs.geo.descsPerBlock)*int64(fs.geo.descSize)
}

// descBlock is where descriptor block index lies: behind the superblock, or
// with meta_bg from s_first_meta_bg on in the groups that it describes.
func (fs *FS) descBlock(index uint32) uint64 {
	if !fs.inMetaBg(index) {
		return fs.geo.superBlock + 1 + uint64(index)
	}
	first := index * fs.geo.descsPerBlock
	p := fs.geo.firstBlock(first)
	if fs.hasSuper(first) {
		p++
	}
	if first == 0 && fs.bs == 1024 && fs.geo.firstData == 0 {
		p++ // block 0 comes before the superblock
	}
	return p
}

// inMetaBg reports whether descriptor block index lies in its own meta group.
func (fs *FS) inMetaBg(index uint32) bool {
	return fs.sb.hasIncompat(incompatMetaBg) && index >= fs.sb.u32(offFirstMetaBg)
}

// checkDesc verifies the checksum of a descriptor and that what it points to
// lies in the filesystem.
func (fs *FS) checkDesc(n uint32, d groupDesc) error {
	at := image.Pblk(fs.descOffset(n) / int64(fs.bs))
	if fs.hasGroupCsum() {
		if got, want := d.checksum(), fs.descChecksum(n, d); got != want {
			return fs.corrupt("group descriptor", 0, at, "group %d: checksum %#x, want %#x", n, got, want)
		}
	}
	table := uint64(d.inodeTable())
	switch {
	case !fs.validBlock(d.blockBitmap()):
		return fs.corrupt("group descriptor", 0, at, "group %d: block bitmap at %d", n, d.blockBitmap())
	case !fs.validBlock(d.inodeBitmap()):
		return fs.corrupt("group descriptor", 0, at, "group %d: inode bitmap at %d", n, d.inodeBitmap())
	case !fs.validBlock(d.inodeTable()) || fs.geo.blocks-table < fs.geo.itableBlocks:
		return fs.corrupt("group descriptor", 0, at, "group %d: inode table at %d", n, table)
	case d.freeClusters() > fs.geo.clusters(n):
		return fs.corrupt("group descriptor", 0, at, "group %d: %d free clusters", n, d.freeClusters())
	case d.freeInodes() > fs.geo.inodesPerGroup || fs.hasGroupCsum() && d.itableUnused() > fs.geo.inodesPerGroup:
		return fs.corrupt("group descriptor", 0, at, "group %d: %d free, %d unused inodes", n,
			d.freeInodes(), d.itableUnused())
	}
	return nil
}

// validBlock reports whether p can hold something other than the primary
// superblock.
func (fs *FS) validBlock(p image.Pblk) bool {
	return uint64(p) > fs.geo.superBlock && uint64(p) < fs.geo.blocks
}

// hasGroupCsum reports whether descriptors carry checksums and flags.
func (fs *FS) hasGroupCsum() bool {
	return fs.hasCsum || fs.sb.hasRO(roGdtCsum)
}

// uninit reports whether flag, one of bg_flags, is set and means something.
func (fs *FS) uninit(gr *group, flag uint16) bool {
	return fs.hasGroupCsum() && gr.desc.flags()&flag != 0
}

// hasSuper reports whether group n starts with a superblock or a backup of it.
func (fs *FS) hasSuper(n uint32) bool {
	switch {
	case n == 0:
		return true
	case fs.sb.hasCompat(compatSparseSuper2):
		return n == fs.sb.u32(offBackupBgs) || n == fs.sb.u32(offBackupBgs+4)
	case !fs.sb.hasRO(roSparseSuper) || n == 1:
		return true
	}
	return isPower(n, 3) || isPower(n, 5) || isPower(n, 7)
}

func isPower(n, base uint32) bool {
	for n%base == 0 {
		n /= base
	}
	return n == 1
}
