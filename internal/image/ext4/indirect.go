package ext4

import (
	"fmt"
	"slices"

	"fsenc/internal/image"
)

// Slots of i_block in a block map.
const (
	directSlots = 12
	mapSlots    = 15 // direct, then single, double and triple indirect
)

// blockMap walks the block map of m.in, as far as the window reaches.
func (m *mapWalk) blockMap() error {
	slots := m.in.raw.iblock()
	lblk := uint64(0)
	for i := range mapSlots {
		level := max(0, i-directSlots+1)
		at := image.Pblk(le.Uint32(slots[4*i:]))
		if err := m.mapSlot(at, level, lblk); err != nil {
			return err
		}
		lblk += m.fs.mapSpan(level)
	}
	return nil
}

// mapSpan is the number of blocks of the file that a slot with that many
// levels of indirection below it stands for.
func (fs *FS) mapSpan(level int) uint64 {
	span := uint64(1)
	for range level {
		span *= uint64(fs.bs / 4)
	}
	return span
}

// mapSlot walks one slot, which stands for the file's blocks from lblk on.
func (m *mapWalk) mapSlot(at image.Pblk, level int, lblk uint64) error {
	span := m.fs.mapSpan(level)
	if at == 0 || lblk > uint64(m.to) || lblk+span <= uint64(m.from) {
		return nil
	}
	if lblk >= maxLblk {
		return m.fs.corrupt("block map", m.in.ino, at, "maps block %d of the file", lblk)
	}
	if level == 0 {
		return m.add(image.Extent{Lblk: image.Lblk(lblk), Pblk: at, Len: 1})
	}
	if !m.fs.validBlock(at) {
		return m.fs.corrupt("block map", m.in.ino, at, "outside the filesystem")
	}
	// A block map has no checksums and no levels written in it: only the
	// blocks seen so far tell that it runs in circles.
	if m.seen[at] {
		return m.fs.corrupt("block map", m.in.ino, at, "an indirect block is used twice")
	}
	if m.seen == nil {
		m.seen = make(map[image.Pblk]bool)
	}
	m.seen[at] = true
	m.tree = append(m.tree, at)
	block := make([]byte, m.fs.bs)
	if err := m.fs.readBlock(at, block); err != nil {
		return err
	}
	for i := 0; i < m.fs.bs; i += 4 {
		if err := m.mapSlot(image.Pblk(le.Uint32(block[i:])), level-1, lblk); err != nil {
			return err
		}
		lblk += span / uint64(m.fs.bs/4)
	}
	return nil
}

// setBlockMap writes exts, sorted and without unwritten ones, as the block
// map of in. Indirect blocks come from pool.
func (fs *FS) setBlockMap(in *inode, exts []image.Extent, pool *treePool) error {
	for _, x := range exts {
		if (uint64(x.Pblk)+x.Len)>>32 != 0 {
			return fmt.Errorf("%w: a block map to block %d", image.ErrUnsupported, x.Pblk)
		}
	}
	w := &mapWriter{fs: fs, pool: pool, exts: slices.Clone(exts)} // it is consumed
	var slots [iblockSize]byte
	lblk := uint64(0)
	for i := range mapSlots {
		level := max(0, i-directSlots+1)
		at, err := w.slot(level, lblk)
		if err != nil {
			return err
		}
		le.PutUint32(slots[4*i:], uint32(at))
		lblk += fs.mapSpan(level)
	}
	if len(w.exts) > 0 {
		return fs.corrupt("block map", in.ino, 0, "no room for block %d of the file", w.exts[0].Lblk)
	}
	copy(in.raw.iblock(), slots[:])
	return nil
}

// mapWriter builds a block map from extents, which it consumes in order.
type mapWriter struct {
	fs   *FS
	pool *treePool
	exts []image.Extent // what is not written yet; the first may be a rest
}

// slot returns what a slot for the blocks from lblk on holds, 0 for a hole.
func (w *mapWriter) slot(level int, lblk uint64) (image.Pblk, error) {
	if len(w.exts) == 0 || uint64(w.exts[0].Lblk) >= lblk+w.fs.mapSpan(level) {
		return 0, nil
	}
	if level == 0 {
		return w.take(), nil
	}
	at, err := w.pool.take()
	if err != nil {
		return 0, err
	}
	block := make([]byte, w.fs.bs)
	step := w.fs.mapSpan(level - 1)
	for i := 0; i < w.fs.bs; i += 4 {
		child, err := w.slot(level-1, lblk)
		if err != nil {
			return 0, err
		}
		le.PutUint32(block[i:], uint32(child))
		lblk += step
	}
	return at, w.fs.writeBlock(at, block)
}

// take returns the next block of the file's contents.
func (w *mapWriter) take() image.Pblk {
	x := &w.exts[0]
	p := x.Pblk
	x.Lblk, x.Pblk, x.Len = x.Lblk+1, x.Pblk+1, x.Len-1
	if x.Len == 0 {
		w.exts = w.exts[1:]
	}
	return p
}
