package ext4

import (
	"cmp"
	"slices"
	"sort"

	"fsenc/internal/image"
)

// blockRange is the blocks from start up to end-1.
type blockRange struct{ start, end uint64 }

// loadSystem lists the blocks that hold the filesystem's own structures:
// superblocks, descriptors with the blocks kept for more of them, bitmaps, inode
// tables and the block of multiple mount protection, sorted and merged.
func (fs *FS) loadSystem() error {
	fs.mu.Lock()
	loaded := fs.system != nil
	fs.mu.Unlock()
	if loaded {
		return nil
	}
	// With flex_bg the three kinds lie in runs of their own, which merge.
	var supers, blockMaps, inodeMaps, tables []blockRange
	for n := range fs.geo.groups {
		gr, err := fs.group(n)
		if err != nil {
			return err
		}
		supers = fs.baseMeta(supers, n)
		blockMaps = appendRange(blockMaps, uint64(gr.desc.blockBitmap()), 1)
		inodeMaps = appendRange(inodeMaps, uint64(gr.desc.inodeBitmap()), 1)
		tables = appendRange(tables, uint64(gr.desc.inodeTable()), fs.geo.itableBlocks)
	}
	all := slices.Concat(supers, blockMaps, inodeMaps, tables)
	if fs.sb.hasIncompat(incompatMMP) {
		all = appendRange(all, fs.sb.mmpBlock(), 1)
	}
	slices.SortFunc(all, func(a, b blockRange) int { return cmp.Compare(a.start, b.start) })
	var merged []blockRange
	for _, r := range all {
		merged = appendRange(merged, r.start, r.end-r.start)
	}
	fs.mu.Lock()
	fs.system = merged
	fs.mu.Unlock()
	return nil
}

// appendRange adds n blocks from start on, to the last range if they touch it.
func appendRange(list []blockRange, start, n uint64) []blockRange {
	if k := len(list); k > 0 && start >= list[k-1].start && start <= list[k-1].end {
		list[k-1].end = max(list[k-1].end, start+n)
		return list
	}
	return append(list, blockRange{start, start + n})
}

// baseMeta adds what group n starts with: a superblock and descriptor blocks.
func (fs *FS) baseMeta(list []blockRange, n uint32) []blockRange {
	first := fs.geo.firstBlock(n)
	if n == 0 && fs.geo.superBlock > first {
		list = appendRange(list, first, 1) // block 0 with 1 KiB blocks and bigalloc
		first++
	}
	if fs.hasSuper(n) {
		list = appendRange(list, first, 1)
		first++
	}
	per := fs.geo.descsPerBlock
	if !fs.inMetaBg(n / per) {
		if !fs.hasSuper(n) {
			return list
		}
		blocks := (fs.geo.groups + per - 1) / per
		if fs.sb.hasIncompat(incompatMetaBg) {
			blocks = min(blocks, fs.sb.u32(offFirstMetaBg))
		}
		return appendRange(list, first, uint64(blocks)+uint64(fs.sb.u16(offReservedGdt)))
	}
	if k := n % per; k == 0 || k == 1 || k == per-1 {
		list = appendRange(list, first, 1)
	}
	return list
}

// inSystem reports whether one of n blocks from p on belongs to the
// filesystem itself. The list has been loaded.
func (fs *FS) inSystem(p image.Pblk, n uint64) bool {
	i := sort.Search(len(fs.system), func(i int) bool { return fs.system[i].end > uint64(p) })
	return i < len(fs.system) && fs.system[i].start < uint64(p)+n
}

// checkUsed verifies that n blocks from p on, which ino maps, are marked used
// and are none of the filesystem's own.
func (fs *FS) checkUsed(ino image.Ino, p image.Pblk, n uint64) error {
	if err := fs.loadSystem(); err != nil {
		return err
	}
	if fs.inSystem(p, n) {
		return fs.corrupt("mapping", ino, p, "%d blocks, over metadata of the filesystem", n)
	}
	for end := uint64(p) + n; uint64(p) < end; {
		num, bit := fs.geo.groupOf(p)
		gr, err := fs.group(num)
		if err != nil {
			return err
		}
		b, err := fs.blockBitmap(gr)
		if err != nil {
			return err
		}
		stop := min(end, fs.geo.endBlock(num))
		_, last := fs.geo.groupOf(image.Pblk(stop - 1))
		if free := b.next(bit, last+1, false); free <= last {
			at := image.Pblk(fs.geo.firstBlock(num) + uint64(free)*fs.geo.ratio)
			return fs.corrupt("block bitmap", ino, at, "a block in use is marked free")
		}
		p = image.Pblk(stop)
	}
	return nil
}
