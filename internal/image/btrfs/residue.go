package btrfs

import (
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

// WipeSlack clears the gaps of the leaves that hold a directory or a symlink, by
// copying them: what items leave when they move stays there.
func (fs *FS) WipeSlack(ino image.Ino) error {
	t, obj, r, err := fs.look(ino)
	if err != nil {
		return err
	}
	if k := r.fileType(); k != image.TypeDirectory && k != image.TypeSymlink || t.readonly {
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
		last := leaf.key(leaf.items() - 1)
		if !leaf.dirty && fs.gapUsed(leaf) {
			if _, _, err := fs.cowPath(t, p.key()); err != nil {
				return err
			}
		}
		if last.obj != obj {
			return nil
		}
		k = last.next()
	}
}

// gapUsed reports whether a leaf has something between its items and their data.
func (fs *FS) gapUsed(b *block) bool {
	return !allZero(b.raw[headerSize+b.items()*itemSize : fs.leafLow(b)])
}
