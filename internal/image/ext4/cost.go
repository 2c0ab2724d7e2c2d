package ext4

import (
	"fmt"

	"fsenc/internal/image"
)

// clusterBytes is the allocation unit.
func (fs *FS) clusterBytes() int64 { return int64(fs.geo.ratio) * int64(fs.bs) }

// costBlocks is an upper bound of the bytes that it takes to grow the mapping
// of in, with extents exts and tree blocks, from old to n blocks: each new
// cluster may be an extent of its own.
func (fs *FS) costBlocks(in *inode, exts []image.Extent, tree int, old, n uint64) int64 {
	if n <= old {
		return 0
	}
	clusters := func(blocks uint64) uint64 { return (blocks + fs.geo.ratio - 1) / fs.geo.ratio }
	grow := clusters(n) - clusters(old)
	var nodes uint64
	if fs.mapsExtents(in) {
		nodes = fs.extentNodes(uint64(len(splitExtents(exts))) + grow)
	} else {
		nodes = fs.indirectBlocks(n)
	}
	if nodes > uint64(tree) {
		grow += nodes - uint64(tree)
	}
	return int64(grow) * fs.clusterBytes()
}

// mapsExtents reports whether blocks added to in go into an extent tree. What
// is inline gets the kind that new files have.
func (fs *FS) mapsExtents(in *inode) bool {
	if in.raw.hasFlag(flInlineData) || in.raw.fileType() == image.TypeSymlink {
		return fs.sb.hasIncompat(incompatExtents)
	}
	return in.raw.hasFlag(flExtents)
}

// extentNodes is the number of blocks that a dense tree of n extents takes.
func (fs *FS) extentNodes(n uint64) (nodes uint64) {
	limit := uint64(fs.extentBlockMax())
	for n > extentRootMax {
		n = (n + limit - 1) / limit
		nodes += n
	}
	return nodes
}

// indirectBlocks is the number of blocks that map n blocks without holes.
func (fs *FS) indirectBlocks(n uint64) (nodes uint64) {
	const direct = 12
	if n <= direct {
		return 0
	}
	n -= direct
	perBlock := uint64(fs.bs / 4)
	for level, span := 1, perBlock; level <= 3 && n > 0; level, span = level+1, span*perBlock {
		part := min(n, span)
		n -= part
		for range level {
			part = (part + perBlock - 1) / perBlock
			nodes += part
		}
	}
	return nodes
}

// CostDir returns an upper bound of the bytes that SetDir allocates for names
// of the given lengths, in any order. Impossible is a directory whose size
// needs large_dir, or a name that no entry can hold.
func (fs *FS) CostDir(dir image.Ino, nameLens []int, encrypted bool) (int64, error) {
	in, err := fs.dirInode(dir)
	if err != nil {
		return 0, err
	}
	s, err := fs.dirState(in)
	if err != nil {
		return 0, err
	}
	form := fs.dirForm(in, encrypted)
	total, largest, err := sumEntries(form, dir, nameLens)
	if err != nil {
		return 0, err
	}
	n := form.leafBound(total, largest)
	if n > 1 && fs.wantsIndex(s) {
		n += form.nodeBound(n)
	}
	if err := fs.checkDirSize(dir, n); err != nil {
		return 0, err
	}
	var exts []image.Extent
	var tree int
	if !in.raw.hasFlag(flInlineData) {
		m, err := fs.walkMap(in, 0, maxLblk)
		if err != nil {
			return 0, err
		}
		exts, tree = m.exts, len(m.tree)
	}
	return fs.costBlocks(in, exts, tree, uint64(s.blocks), n), nil
}

// sumEntries adds up the room of entries and finds the largest.
func sumEntries(form dirForm, dir image.Ino, nameLens []int) (total uint64, largest int, err error) {
	for _, n := range nameLens {
		if n < 1 || n > maxNameLen {
			return 0, 0, fmt.Errorf("%w: name of %d bytes in directory inode %d", image.ErrUnsupported, n, dir)
		}
		size := form.entrySize(n)
		total += uint64(size)
		largest = max(largest, size)
	}
	return total, largest, nil
}

// leafBound is the largest number of leaves that entries take when leaves are
// filled one after another: each but the last lacks less than the room of the
// entry that went into the next, in steps of 4 bytes.
func (f dirForm) leafBound(total uint64, largest int) uint64 {
	if total+dirOverhead <= uint64(f.usable()) {
		return 1
	}
	return (total+dirOverhead)/uint64(f.usable()-largest+4) + 1
}

// nodeBound is the largest number of index blocks over n leaves.
func (f dirForm) nodeBound(n uint64) uint64 {
	room := uint64(f.dxRoom(offDxNodeSlots))
	lower := (n + room - 1) / room
	return 1 + lower + (lower+room-1)/room
}

// checkDirSize refuses a directory of n blocks that is too large.
func (fs *FS) checkDirSize(dir image.Ino, n uint64) error {
	limit := uint64(1<<32 - 1) // the high half of i_size counts with large_dir only
	if fs.sb.hasIncompat(incompatLargeDir) {
		limit = dxBlockMask * uint64(fs.bs)
	}
	if n*uint64(fs.bs) > limit {
		return fmt.Errorf("%w: directory inode %d of %d blocks", image.ErrUnsupported, dir, n)
	}
	return nil
}
