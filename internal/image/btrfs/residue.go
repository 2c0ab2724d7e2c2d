package btrfs

import (
	"bytes"
	"errors"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// Residue calls f for each range of the device that holds nothing: what no extent
// has in any chunk, all copies of it, and what no chunk has. Superblocks and the
// first MiB, where boot loaders are, are left out.
func (fs *FS) Residue(f func(off, n int64) error) error {
	if err := fs.loadSpace(); err != nil {
		return err
	}
	for _, g := range fs.groups {
		for _, s := range g.free {
			err := fs.pieces(s.start, s.len, func(p piece) error {
				for _, at := range p.places {
					if err := f(int64(at), int64(p.n)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	holes, err := fs.deviceHoles()
	if err != nil {
		return err
	}
	for _, at := range superAddrs {
		holes = cutSpan(holes, span{uint64(at), superShadowLen})
	}
	for _, h := range holes {
		if err := f(int64(h.start), int64(h.len)); err != nil {
			return err
		}
	}
	return nil
}

// Generation implements image.Gaps.
func (fs *FS) Generation() uint64 { return fs.gen }

// WipeGaps clears the gaps of the leaves of all subvolumes: what items leave when
// they shrink or move stays there, names and contents. The leaves are written where
// they are, with a new checksum, so that subvolumes go on sharing them; what guards
// the transaction guards them. Our own transactions leave no gaps that are not clear.
func (fs *FS) WipeGaps(since uint64, done func() error) error {
	ids, err := fs.subvolumes()
	if err != nil {
		return err
	}
	w := gapWalk{fs: fs, since: since, done: done, seen: make(map[uint64]bool)}
	for _, id := range ids {
		t, err := fs.treeOf(id)
		if err != nil {
			return err
		}
		if err := w.visit(t.addr, expect{tree: id, level: t.level, gen: t.gen}); err != nil {
			return err
		}
	}
	return nil
}

type gapWalk struct {
	fs    *FS
	since uint64
	done  func() error
	seen  map[uint64]bool // nodes above leaves, which subvolumes may share
}

// visit clears gaps in a block and below it.
func (w *gapWalk) visit(addr uint64, e expect) error {
	if e.level == 0 && e.gen >= w.since || w.seen[addr] {
		return nil
	}
	b, err := w.fs.readBlock(addr, e)
	if errors.Is(err, image.ErrCorrupt) {
		return nil
	}
	if err != nil {
		return err
	}
	if b.level() == 0 {
		if err := w.fs.wipeGap(b); err != nil {
			return err
		}
		return w.done()
	}
	w.seen[addr] = true
	for i := range b.items() {
		if err := w.visit(b.below(i, e.tree)); err != nil {
			return err
		}
	}
	return nil
}

// wipeGap clears what a leaf has between its items and their data.
func (fs *FS) wipeGap(b *block) error {
	low, high := headerSize+b.items()*itemSize, fs.leafLow(b)
	if b.dirty || store.IsZero(b.raw[low:high]) {
		return nil
	}
	b = &block{addr: b.addr, raw: bytes.Clone(b.raw)}
	clear(b.raw[low:high])
	fs.sum.seal(b.raw)
	fs.cache.put(b)
	return fs.writeLogical(b.raw, b.addr)
}
