package f2fs

import (
	"fmt"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// Where new blocks go. Nothing that the last checkpoint has in use is
// overwritten, so a block must be free in it as well as now. The current
// segments of the six logs are left as they are: the kernel continues them.
//
// Each log has a section of its own that was wholly free, which further
// transactions fill up. Where only as many free segments are left as the kernel
// wants to find, single free blocks of segments of the same kind are taken.
type allocator struct {
	open [logs]openSection
	from uint32 // where the search for a free section goes on
	fill [2]spot
}

// openSection is a section that a log fills; end is 0 if it has none.
type openSection struct{ seg, off, end uint32 }

// spot is where a search for single blocks goes on, for data and for nodes.
type spot struct{ seg, off uint32 }

// restart lets the search see what the last checkpoint has freed.
func (a *allocator) restart() { a.fill = [2]spot{} }

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
	if b := fs.sums[seg]; b != nil {
		return b, nil
	}
	b := make([]byte, blockSize)
	if fs.old(seg).valid() > 0 || fs.segment(seg).valid() > 1 {
		if err := store.ReadFull(fs.s, b, (int64(fs.geo.ssa)+int64(seg))*blockSize); err != nil {
			return nil, err
		}
		clear(sumJournal(b)) // it is only looked at in a current segment's
	}
	if b[offSumFooter] = sumTypeData; isNodeLog(kind) {
		b[offSumFooter] = sumTypeNode
	}
	fs.sums[seg] = b
	return b, nil
}

func (fs *FS) findBlock(log int) (seg, off uint32, err error) {
	o := &fs.alloc.open[log]
	for {
		for o.seg < o.end {
			if o.off == segBlocks {
				o.seg, o.off = o.seg+1, 0
				continue
			}
			seg, off = o.seg, o.off
			o.off++
			if !fs.segment(seg).used(off) && !fs.old(seg).used(off) {
				return seg, off, nil
			}
		}
		if fs.freeSegments() <= fs.keepFree() {
			if seg, off, ok := fs.fillIn(isNodeLog(log)); ok {
				return seg, off, nil
			}
		}
		if !fs.openNext(o) {
			break
		}
	}
	if seg, off, ok := fs.fillIn(isNodeLog(log)); ok {
		return seg, off, nil
	}
	return 0, 0, fmt.Errorf("%w: no free segment", image.ErrNoSpace)
}

// keepFree is how many free segments a kernel needs not to start with cleaning.
func (fs *FS) keepFree() uint32 { return fs.ckpt.u32(offReservedSegs) + 1 }

// freeSegments counts the segments without a block in use, now and in the last
// checkpoint, that no log has.
func (fs *FS) freeSegments() (n uint32) {
	for seg := range fs.geo.segs {
		if fs.segFree(seg) {
			n++
		}
	}
	return n
}

// segFree reports whether a segment can be taken as a whole.
func (fs *FS) segFree(seg uint32) bool {
	return fs.segment(seg).valid() == 0 && fs.old(seg).valid() == 0 && !fs.taken(seg)
}

// taken reports whether a log of the kernel or of ours writes to the segment.
func (fs *FS) taken(seg uint32) bool {
	for log := range logs {
		if cur, _ := fs.ckpt.curSeg(log); cur == seg {
			return true
		}
		if o := &fs.alloc.open[log]; seg < o.end && seg >= o.end-fs.geo.perSec {
			return true
		}
	}
	return false
}

// openNext gives a log the next free section.
func (fs *FS) openNext(o *openSection) bool {
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
			*o = openSection{seg: first, end: first + fs.geo.perSec}
			return true
		}
	}
	return false
}

// fillIn finds a single free block in a segment of nodes or of data.
func (fs *FS) fillIn(nodes bool) (seg, off uint32, ok bool) {
	at := &fs.alloc.fill[0]
	if nodes {
		at = &fs.alloc.fill[1]
	}
	for ; at.seg < fs.geo.segs; at.seg, at.off = at.seg+1, 0 {
		e, old := fs.segment(at.seg), fs.old(at.seg)
		if e.valid() == 0 || old.valid() == 0 || isNodeLog(e.kind()) != nodes || fs.taken(at.seg) {
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

// room is how many blocks can be added to the filesystem: to whole segments, and
// to those of data that have free blocks. Below keepFree a kernel starts with
// cleaning, which is slow but no harm: it is taken when there is nothing else.
func (fs *FS) room() int64 {
	quota := int64(fs.ckpt.u64(offUserBlocks)) - int64(fs.validBlocks)
	if fs.sitOld == nil {
		return max(0, quota)
	}
	free := -int64(moveSegments)
	var single int64
	for seg := range fs.geo.segs {
		e := fs.segment(seg)
		switch {
		case fs.segFree(seg):
			free++
		case e.valid() > 0 && !isNodeLog(e.kind()) && !fs.taken(seg):
			single += segBlocks - int64(e.valid())
		}
	}
	return max(0, min(quota, free*segBlocks+single))
}

// moveSegments are kept for blocks that only move: the old ones are free not
// before the next checkpoint.
const moveSegments = 2
