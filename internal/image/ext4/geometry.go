package ext4

import (
	"fmt"

	"fsenc/internal/image"
)

const (
	maxLogBlockSize = 6       // 64 KiB
	maxClusterSize  = 1 << 29 // bytes
)

// geometry is what the superblock says about sizes and counts, checked
// against the limits of the format and the size of the image.
type geometry struct {
	ratio            uint64 // blocks in a cluster
	blocks           uint64
	firstData        uint64 // first block of group 0
	blocksPerGroup   uint64
	clustersPerGroup uint32
	inodesPerGroup   uint32
	inodes           uint32
	groups           uint32
	inodeSize        int
	itableBlocks     uint64 // blocks of one group's inode table
	descSize         int
	descsPerBlock    uint32
	superBlock       uint64 // the block that byte 1024 is in
}

// check tells of a field that no valid superblock has.
func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return &image.CorruptError{What: "superblock", Why: fmt.Sprintf(format, args...)}
}

// firstOf returns the first error of a list of checks.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkSizes verifies the fields that the accessors of sb rely on. It comes
// before everything else that looks at sizes.
func (sb *super) checkSizes() error {
	bs := uint64(1024) << min(sb.u32(offLogBlockSize), maxLogBlockSize)
	logCluster := sb.u32(offLogClusterSize)
	isize, dsize := uint64(sb.u16(offInodeSize)), uint64(sb.u16(offDescSize))
	return firstOf(
		check(sb.u32(offLogBlockSize) <= maxLogBlockSize, "log block size %d", sb.u32(offLogBlockSize)),
		check(isize >= 128 && isize <= bs && isize&(isize-1) == 0, "inode size %d", isize),
		check(!sb.hasIncompat(incompat64bit) || dsize >= 64 && dsize <= bs && dsize&(dsize-1) == 0,
			"group descriptor size %d", dsize),
		check(!sb.hasRO(roBigalloc) || logCluster >= sb.u32(offLogBlockSize) && logCluster <= 19,
			"log cluster size %d with log block size %d", logCluster, sb.u32(offLogBlockSize)),
		check(!sb.hasRO(roMetadataCsum) || sb.raw[offChecksumType] == 1,
			"checksum type %d, want 1", sb.raw[offChecksumType]),
	)
}

// newGeometry computes the geometry for an image of imageBytes bytes.
func newGeometry(sb *super, imageBytes int64) (geometry, error) {
	bs := uint64(sb.blockSize())
	g := geometry{
		ratio:          sb.clusterRatio(),
		blocks:         sb.blocksCount(),
		firstData:      uint64(sb.u32(offFirstDataBlock)),
		blocksPerGroup: uint64(sb.u32(offBlocksPerGroup)),
		inodesPerGroup: sb.u32(offInodesPerGroup),
		inodes:         sb.inodesCount(),
		inodeSize:      sb.inodeSize(),
		descSize:       sb.descSize(),
	}
	g.descsPerBlock = uint32(bs) / uint32(g.descSize)
	if bs == 1024 {
		g.superBlock = 1
	}
	wantFirst := uint64(0)
	if bs == 1024 && g.ratio == 1 {
		wantFirst = 1
	}
	err := firstOf(
		check(g.blocks <= uint64(imageBytes)/bs, "%d blocks of %d bytes, but the image has %d bytes",
			g.blocks, bs, imageBytes),
		check(g.firstData == wantFirst, "first data block %d, want %d", g.firstData, wantFirst),
		check(g.blocks > g.firstData+3, "%d blocks", g.blocks),
		check(g.blocksPerGroup >= 8 && g.blocksPerGroup%(8*g.ratio) == 0 &&
			g.blocksPerGroup/g.ratio <= 8*bs, "%d blocks per group", g.blocksPerGroup),
		check(g.ratio == 1 || uint64(sb.u32(offClustersPerGrp))*g.ratio == g.blocksPerGroup,
			"%d clusters per group with %d blocks", sb.u32(offClustersPerGrp), g.blocksPerGroup),
		check(g.inodesPerGroup >= 8 && g.inodesPerGroup%8 == 0 && uint64(g.inodesPerGroup) <= 8*bs,
			"%d inodes per group", g.inodesPerGroup),
		check(uint64(sb.u16(offReservedGdt)) <= bs/4, "%d reserved descriptor blocks", sb.u16(offReservedGdt)),
	)
	if err != nil {
		return g, err
	}
	g.clustersPerGroup = uint32(g.blocksPerGroup / g.ratio)
	g.itableBlocks = (uint64(g.inodesPerGroup)*uint64(g.inodeSize) + bs - 1) / bs
	groups := (g.blocks - g.firstData + g.blocksPerGroup - 1) / g.blocksPerGroup
	err = firstOf(
		// Each group has two bitmaps and a table, wherever they are.
		check(groups*(2+g.itableBlocks) <= g.blocks, "%d groups do not fit in %d blocks", groups, g.blocks),
		check(groups*uint64(g.inodesPerGroup) == uint64(g.inodes), "%d inodes in %d groups of %d",
			g.inodes, groups, g.inodesPerGroup),
		check(sb.u32(offFirstIno) >= 11 && sb.u32(offFirstIno) <= g.inodes, "first inode %d", sb.u32(offFirstIno)),
		check(sb.freeBlocks() <= g.blocks, "%d of %d blocks free", sb.freeBlocks(), g.blocks),
		check(sb.freeInodes() <= g.inodes, "%d of %d inodes free", sb.freeInodes(), g.inodes),
	)
	g.groups = uint32(groups)
	return g, err
}

// firstBlock is the first block of group n.
func (g *geometry) firstBlock(n uint32) uint64 {
	return g.firstData + uint64(n)*g.blocksPerGroup
}

// endBlock is the block after the last one of group n.
func (g *geometry) endBlock(n uint32) uint64 {
	return min(g.firstBlock(n)+g.blocksPerGroup, g.blocks)
}

// clusters is the number of clusters of group n; the last group may be short.
func (g *geometry) clusters(n uint32) uint32 {
	return uint32((g.endBlock(n) - g.firstBlock(n) + g.ratio - 1) / g.ratio)
}

// groupOf returns the group that block p is in, and its cluster's bit there.
// p is at least firstData.
func (g *geometry) groupOf(p image.Pblk) (group, bit uint32) {
	rel := uint64(p) - g.firstData
	return uint32(rel / g.blocksPerGroup), uint32(rel % g.blocksPerGroup / g.ratio)
}
