package btrfs

import (
	"bytes"

	"fsenc/internal/image"
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

// WipeSlack clears the gaps of the leaves that have something of an inode: what
// items leave when they shrink or move stays there, names and contents of others
// too. The leaves are written where they are, with a new checksum, so that
// subvolumes go on sharing them; what guards the transaction guards them.
func (fs *FS) WipeSlack(ino image.Ino) error {
	t, obj, err := fs.fileTree(ino)
	if err != nil {
		return err
	}
	if b := t.spans(key{obj, 0, 0}, key{obj + 1, 0, 0}); b != nil && b == fs.wiped {
		return nil
	}
	for k := (key{obj, 0, 0}); ; {
		p, _, err := fs.search(t, k)
		if err == nil {
			err = fs.settle(p)
		}
		if err != nil || !p.valid() || p.key().obj != obj {
			return err
		}
		leaf := p.leaf()
		if !leaf.dirty && leaf != fs.wiped {
			if err := fs.wipeGap(leaf); err != nil {
				return err
			}
			t.recent.Store(nil)
		}
		next := leaf.key(leaf.items() - 1).next()
		if next.obj != obj {
			return nil
		}
		if next.compare(k) <= 0 {
			return fs.blockError(expect{tree: t.id}, leaf.addr, "ends before %v", k)
		}
		k = next
	}
}

// wipeGap clears what a leaf has between its items and their data.
func (fs *FS) wipeGap(b *block) error {
	low, high := headerSize+b.items()*itemSize, fs.leafLow(b)
	if !image.IsZero(b.raw[low:high]) {
		b = &block{addr: b.addr, raw: bytes.Clone(b.raw)}
		clear(b.raw[low:high])
		fs.sum.seal(b.raw)
		fs.cache.put(b)
		if err := fs.writeLogical(b.raw, b.addr); err != nil {
			return err
		}
	}
	fs.wiped = b
	return nil
}
