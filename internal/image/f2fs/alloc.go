package f2fs

import (
	"fmt"
	"math/bits"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// Where new blocks go. Nothing that the last checkpoint has in use is
// overwritten, so a block must be free in it as well as now. The current
// segments of the six logs are left as they are: the kernel continues them.
//
// Each log fills a section that was wholly free, and further transactions go on
// with it. Segments that moving blocks have left half empty are taken before
// the next free section, so that a long conversion lives on what it frees
// itself. Where only as many free segments are left as the kernel wants to find,
// every free block of the right kind is taken first.
type allocator struct {
	open [logs]openSection
	from uint32     // where the search for a free section goes on
	fill [2][2]spot // by kind of block and by how picky the search is

	free     int // segments that can be taken as a whole, -1 if not counted
	sections int // sections of which every segment can be, -1 if not counted
}

// openSection is a section that a log fills; end is 0 if it has none.
type openSection struct{ seg, off, end uint32 }

// spot is where a search for single free blocks goes on.
type spot struct{ seg, off uint32 }

// worthwhile is how many free blocks make a segment worth filling up while there
// are free ones: each costs the writing of its summary.
const worthwhile = segBlocks / 4

// restart lets the search see what the last checkpoint has freed.
func (a *allocator) restart() {
	a.fill = [2][2]spot{}
	a.free, a.sections = -1, -1
}

// old is the entry of a segment in the last checkpoint.
func (fs *FS) old(seg uint32) sitEntry {
	return fs.sitOld[int(seg)*sitEntrySize:][:sitEntrySize]
}

// allocBlock takes a block of a log for an owner: a node, by itself or by the
// index of an address in it.
func (fs *FS) allocBlock(log int, nid uint32, version byte, ofs uint16) (image.Pblk, error) {
	if !fs.write {
		panic("f2fs: not opened for writing")
	}
	seg, off, err := fs.findBlock(log)
	if err != nil {
		return 0, err
	}
	e := fs.segment(seg)
	kind := e.kind()
	if e.valid() == 0 && fs.old(seg).valid() == 0 {
		kind = log
	}
	bitmapFlip(e.bitmap(), off)
	e.set(kind, e.valid()+1)
	fs.segDirty[seg] = true
	sum, err := fs.summary(seg, kind)
	if err != nil {
		return 0, err
	}
	sumEntryAt(sum, off).set(nid, version, ofs)
	return fs.geo.blockOf(seg, off), nil
}

// clearBlock frees a block.
func (fs *FS) clearBlock(p image.Pblk) {
	if !fs.geo.inMain(p) {
		return
	}
	seg, off := fs.geo.segOf(p)
	if e := fs.segment(seg); e.used(off) {
		bitmapFlip(e.bitmap(), off)
		e.set(e.kind(), e.valid()-1)
		fs.segDirty[seg] = true
	}
}

// summary is the summary block of a segment, for changing.
func (fs *FS) summary(seg uint32, kind int) ([]byte, error) {
	b := fs.sums[seg]
	if b == nil {
		var err error
		if b, err = fs.readSummary(seg); err != nil {
			return nil, err
		}
		fs.sums[seg] = b
	}
	if b[offSumFooter] = sumTypeData; isNodeLog(kind) {
		b[offSumFooter] = sumTypeNode
	}
	return b, nil
}

// readSummary reads the summary block of a segment, zeros if it had no blocks.
func (fs *FS) readSummary(seg uint32) ([]byte, error) {
	b := make([]byte, blockSize)
	if fs.old(seg).valid() > 0 || fs.segment(seg).valid() > 1 {
		if err := store.ReadFull(fs.s, b, (int64(fs.geo.ssa)+int64(seg))*blockSize); err != nil {
			return nil, err
		}
		clear(sumJournal(b)) // it is only looked at in a current segment's
	}
	return b, nil
}

// findBlock looks for a free block of a log.
func (fs *FS) findBlock(log int) (seg, off uint32, err error) {
	nodes := isNodeLog(log)
	if seg, off, ok := fs.nextOpen(log); ok {
		return seg, off, nil
	}
	if seg, off, ok := fs.fillIn(nodes, worthwhile); ok {
		return seg, off, nil
	}
	if fs.freeSegments() > fs.keepFree() && fs.openNext(log) {
		seg, off, _ = fs.nextOpen(log)
		return seg, off, nil
	}
	for other := range logs {
		if isNodeLog(other) == nodes {
			if seg, off, ok := fs.nextOpen(other); ok {
				return seg, off, nil
			}
		}
	}
	if seg, off, ok := fs.fillIn(nodes, 1); ok {
		return seg, off, nil
	}
	if fs.openNext(log) {
		seg, off, _ = fs.nextOpen(log)
		return seg, off, nil
	}
	return 0, 0, fmt.Errorf("%w: no free segment", image.ErrNoSpace)
}

// nextOpen takes the next free block of the section that a log fills.
func (fs *FS) nextOpen(log int) (seg, off uint32, ok bool) {
	o := &fs.alloc.open[log]
	for o.seg < o.end {
		if o.off == segBlocks {
			o.seg, o.off = o.seg+1, 0
			continue
		}
		seg, off = o.seg, o.off
		o.off++
		if !fs.segment(seg).used(off) && !fs.old(seg).used(off) {
			return seg, off, true
		}
	}
	return 0, 0, false
}

// keepFree is how many free segments a kernel needs not to start with cleaning.
func (fs *FS) keepFree() int { return int(fs.ckpt.u32(offReservedSegs)) + 1 }

// freeSegments is how many segments can be taken as a whole. Those that are filled
// and freed again within a transaction are left out.
func (fs *FS) freeSegments() int {
	if fs.alloc.free < 0 {
		fs.alloc.free = 0
		for seg := range fs.geo.segs {
			if fs.segFree(seg) {
				fs.alloc.free++
			}
		}
	}
	return fs.alloc.free
}

// segFree reports whether a segment can be taken as a whole.
func (fs *FS) segFree(seg uint32) bool {
	return fs.segment(seg).valid() == 0 && fs.old(seg).valid() == 0 && !fs.taken(seg)
}

// current reports whether a log of the kernel writes to the segment.
func (fs *FS) current(seg uint32) bool {
	for log := range logs {
		if cur, _ := fs.ckpt.curSeg(log); cur == seg {
			return true
		}
	}
	return false
}

// taken reports whether a log of the kernel or of ours writes to the segment.
func (fs *FS) taken(seg uint32) bool {
	if fs.current(seg) {
		return true
	}
	for log := range logs {
		if o := &fs.alloc.open[log]; seg < o.end && seg >= o.end-fs.geo.perSec {
			return true
		}
	}
	return false
}

// openNext gives a log the next free section.
func (fs *FS) openNext(log int) bool {
	o := &fs.alloc.open[log]
	sections := fs.geo.segs / fs.geo.perSec
	*o = openSection{}
	for range sections {
		first := fs.alloc.from * fs.geo.perSec
		fs.alloc.from = (fs.alloc.from + 1) % sections
		free := true
		for seg := first; seg < first+fs.geo.perSec; seg++ {
			free = free && fs.segFree(seg)
		}
		if free {
			fs.alloc.free = max(fs.alloc.free-int(fs.geo.perSec), -1)
			fs.alloc.sections = max(fs.alloc.sections-1, -1)
			*o = openSection{seg: first, end: first + fs.geo.perSec}
			return true
		}
	}
	return false
}

// fillIn finds a free block in a segment of nodes or of data that has blocks in
// use, and at least so many free ones when the search comes to it.
func (fs *FS) fillIn(nodes bool, least uint32) (seg, off uint32, ok bool) {
	kind, picky := 0, 0
	if nodes {
		kind = 1
	}
	if least > 1 {
		picky = 1
	}
	for at := &fs.alloc.fill[kind][picky]; at.seg < fs.geo.segs; at.seg, at.off = at.seg+1, 0 {
		e, old := fs.segment(at.seg), fs.old(at.seg)
		if at.off == 0 && (isNodeLog(e.kind()) != nodes || e.valid() == 0 || segBlocks-e.valid() < least ||
			fs.taken(at.seg) || freeInBoth(e, old) < least) {
			continue
		}
		for ; at.off < segBlocks; at.off++ {
			if !e.used(at.off) && !old.used(at.off) {
				at.off++
				return at.seg, at.off - 1, true
			}
		}
	}
	return 0, 0, false
}

// freeInBoth counts the blocks that are free now and were before.
func freeInBoth(a, b sitEntry) uint32 {
	n := uint32(segBlocks)
	for i, x := range a.bitmap() {
		n -= uint32(bits.OnesCount8(x | b.bitmap()[i]))
	}
	return n
}

// room is how many blocks can be added.
func (fs *FS) room() int64 {
	left := int64(fs.ckpt.u64(offUserBlocks)) - int64(fs.validBlocks)
	if fs.sitOld != nil {
		left = min(left, fs.wholeBlocks())
	}
	return max(0, left)
}

// wholeBlocks is how many blocks there are in free sections, less what may
// remain of the last section of each kind.
func (fs *FS) wholeBlocks() int64 {
	const kinds = 2
	return max(0, int64(fs.freeSections())-kinds) * int64(fs.geo.perSec) * segBlocks
}

// freeSections is how many sections there are of which every segment is free, counted
// in the same way.
func (fs *FS) freeSections() int {
	if fs.alloc.sections < 0 {
		fs.alloc.sections = fs.countFreeSections()
	}
	return fs.alloc.sections
}

func (fs *FS) countFreeSections() (n int) {
	for first := uint32(0); first < fs.geo.segs; first += fs.geo.perSec {
		free := true
		for seg := first; free && seg < first+fs.geo.perSec; seg++ {
			free = fs.segFree(seg)
		}
		if free {
			n++
		}
	}
	return n
}
