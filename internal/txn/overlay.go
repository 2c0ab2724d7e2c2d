package txn

import (
	"io"
	"slices"
)

const (
	pageSize  = 4096
	unitSize  = 32 // granularity of staged writes; an inode is at least 128
	pageUnits = pageSize / unitSize
)

// overlay holds staged writes over what is below them.
type overlay struct {
	base  base
	pages map[int64]*page
	fresh map[int64][]byte // pages of WriteFresh, which belong to others
	early map[int64][]byte // those of them that are on their way to the store
}

// page is one page of staged bytes; only units marked dirty are meaningful.
type page struct {
	dirty [pageUnits / 64]uint64
	data  [pageSize]byte
}

// base is a store, or the overlay of a commit that is on its way to it.
type base interface {
	io.ReaderAt
	Size() int64
}

func newOverlay(b base) *overlay {
	return &overlay{base: b, pages: make(map[int64]*page), fresh: make(map[int64][]byte)}
}

// Size is that of the store.
func (o *overlay) Size() int64 { return o.base.Size() }

func (p *page) isDirty(unit int) bool { return p.dirty[unit/64]>>(unit%64)&1 != 0 }
func (p *page) setDirty(unit int)     { p.dirty[unit/64] |= 1 << (unit % 64) }

// stagedBytes is the memory that the staged pages take, roughly.
func (o *overlay) stagedBytes() int64 { return int64(len(o.pages)+len(o.fresh)) * pageSize }

// covers reports whether some of n bytes at off may be staged.
func (o *overlay) covers(off, n int64) bool {
	for no := off / pageSize; no*pageSize < off+n; no++ {
		if o.pages[no] != nil {
			return true
		}
	}
	return false
}

// freshPage returns a page of WriteFresh that may not have reached the store.
func (o *overlay) freshPage(no int64) []byte {
	if b := o.fresh[no]; b != nil {
		return b
	}
	return o.early[no]
}

// ReadAt reads what is staged over what is below.
func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.base.ReadAt(p, off)
	if len(o.pages)+len(o.fresh)+len(o.early) == 0 {
		return n, err
	}
	for done := 0; done < n; {
		at := off + int64(done)
		in := int(at % pageSize)
		chunk := min(pageSize-in, n-done)
		if b := o.freshPage(at / pageSize); b != nil {
			copy(p[done:done+chunk], b[in:])
		} else if pg := o.pages[at/pageSize]; pg != nil {
			pg.copyDirty(p[done:done+chunk], in)
		}
		done += chunk
	}
	return n, err
}

// copyDirty copies the staged bytes of [in, in+len(dst)) over dst.
func (p *page) copyDirty(dst []byte, in int) {
	for i := 0; i < len(dst); {
		unit := (in + i) / unitSize
		end := min((unit+1)*unitSize-in, len(dst))
		if p.isDirty(unit) {
			copy(dst[i:end], p.data[in+i:])
		}
		i = end
	}
}

func (o *overlay) writeAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > o.base.Size() {
		return 0, io.ErrShortWrite
	}
	for done := 0; done < len(p); {
		at := off + int64(done)
		in := int(at % pageSize)
		chunk := min(pageSize-in, len(p)-done)
		if err := o.stage(p[done:done+chunk], at/pageSize, in); err != nil {
			return done, err
		}
		done += chunk
	}
	return len(p), nil
}

// stage puts src at byte in of page no. A unit that src covers in part takes
// the rest of its bytes from below.
func (o *overlay) stage(src []byte, no int64, in int) error {
	if b := o.freshPage(no); b != nil {
		b = slices.Clone(b)
		copy(b[in:], src)
		o.fresh[no] = b
		return nil
	}
	pg := o.pages[no]
	if pg == nil {
		pg = new(page)
		o.pages[no] = pg
	}
	first, last := in/unitSize, (in+len(src)-1)/unitSize
	if in%unitSize != 0 {
		if err := o.fill(pg, no, first); err != nil {
			return err
		}
	}
	if (in+len(src))%unitSize != 0 {
		if err := o.fill(pg, no, last); err != nil {
			return err
		}
	}
	copy(pg.data[in:], src)
	for u := first; u <= last; u++ {
		pg.setDirty(u)
	}
	return nil
}

func (o *overlay) fill(pg *page, no int64, unit int) error {
	if pg.isDirty(unit) {
		return nil
	}
	at := no*pageSize + int64(unit)*unitSize
	n := min(unitSize, o.base.Size()-at)
	b := pg.data[unit*unitSize:][:n]
	if _, err := o.base.ReadAt(b, at); err != nil {
		return err
	}
	pg.setDirty(unit)
	return nil
}

// span is a run of staged bytes.
type span struct {
	off  int64
	data []byte
}

// spans returns the staged bytes in ascending order, runs of units joined
// within a page and cut at the end of the store.
func (o *overlay) spans() []span {
	nos := make([]int64, 0, len(o.pages))
	for no := range o.pages {
		nos = append(nos, no)
	}
	slices.Sort(nos)
	out := make([]span, 0, len(nos))
	for _, no := range nos {
		pg := o.pages[no]
		for u := 0; u < pageUnits; u++ {
			if !pg.isDirty(u) {
				continue
			}
			first := u
			for u < pageUnits && pg.isDirty(u) {
				u++
			}
			off := no*pageSize + int64(first)*unitSize
			end := min(no*pageSize+int64(u)*unitSize, o.base.Size())
			out = append(out, span{off, pg.data[first*unitSize:][:end-off]})
		}
	}
	return out
}
