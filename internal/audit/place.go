package audit

import (
	"context"
	"errors"
	"sort"

	"fsenc/internal/image"
	"fsenc/internal/tree"
)

// placed are hits with what the filesystem says of their places.
type placed struct {
	fs     image.FS
	src    *Source
	bs     int64
	hits   []hit
	spots  []spot // one for each hit
	owners map[image.Ino]*owner
}

// spot is what is known of one place.
type spot struct {
	unused bool      // the filesystem does not use it
	slot   image.Ino // whose slot it lies in, 0 if none
	ino    image.Ino // whose block it lies in, 0 if not known
	lblk   image.Lblk
	extent bool // unwritten
}

// owner is an inode that has a hit.
type owner struct {
	attr image.Attr
	path string
}

// place finds out what each hit lies in. Hits are sorted by offset.
func place(ctx context.Context, t *tree.Tree, src *Source, hits []hit) (*placed, error) {
	p := &placed{fs: t.FS(), src: src, bs: int64(t.FS().Super().BlockSize),
		hits: hits, spots: make([]spot, len(hits)), owners: map[image.Ino]*owner{}}
	if len(hits) == 0 {
		return p, nil
	}
	for _, find := range []func(context.Context) error{p.findSlots, p.findUnused, p.findOwners} {
		if err := find(ctx); err != nil {
			return nil, err
		}
	}
	return p, p.findPaths(ctx, t)
}

func (p *placed) findSlots(context.Context) error {
	tables, ok := p.fs.(image.Slots)
	if !ok {
		return nil
	}
	at, err := tables.Slots()
	if err != nil {
		return err
	}
	for i, h := range p.hits {
		p.spots[i].slot = at(h.off)
	}
	return nil
}

// in returns the numbers of the hits that begin in n bytes from off on.
func (p *placed) in(off, n int64) (lo, hi int) {
	lo = sort.Search(len(p.hits), func(i int) bool { return p.hits[i].off >= off })
	hi = lo + sort.Search(len(p.hits)-lo, func(i int) bool { return p.hits[lo+i].off >= off+n })
	return lo, hi
}

func (p *placed) findUnused(ctx context.Context) error {
	return p.fs.Residue(func(off, n int64) error {
		for lo, hi := p.in(off, n); lo < hi; lo++ {
			p.spots[lo].unused = true
		}
		return ctx.Err()
	})
}

// findOwners looks at all inodes for those that have hits in their blocks or
// in their slot.
func (p *placed) findOwners(ctx context.Context) error {
	slots := map[image.Ino]bool{}
	for _, s := range p.spots {
		if s.slot != 0 && !s.unused {
			slots[s.slot] = true
		}
	}
	return p.fs.Inodes(func(a image.Attr, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if slots[a.Ino] {
			p.owners[a.Ino] = &owner{attr: a}
		}
		if err != nil || a.Inline || a.Type != image.TypeRegular && a.Type != image.TypeDirectory {
			return nil
		}
		all, err := p.fs.Extents(a.Ino)
		if err != nil && !errors.Is(err, image.ErrCorrupt) {
			return err
		}
		for _, x := range all {
			if err := p.own(a, x); err != nil {
				return err
			}
		}
		return nil
	})
}

// own notes the hits in an extent of an inode.
func (p *placed) own(a image.Attr, x image.Extent) error {
	for _, part := range x.Stored() {
		err := p.fs.Places(part.Pblk, part.Len, func(skip uint64, off, n int64) error {
			for lo, hi := p.in(off, n); lo < hi; lo++ {
				s := &p.spots[lo]
				s.ino, s.extent = a.Ino, x.Unwritten
				s.lblk = part.Lblk + image.Lblk(skip) + image.Lblk((p.hits[lo].off-off)/p.bs)
				if p.owners[a.Ino] == nil {
					p.owners[a.Ino] = &owner{attr: a}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// findPaths finds a name of each inode that has hits.
func (p *placed) findPaths(ctx context.Context, t *tree.Tree) error {
	missing := 0
	for _, o := range p.owners {
		if !o.attr.Reserved {
			missing++
		}
	}
	if missing == 0 {
		return nil
	}
	enough := errors.New("all found")
	err := t.Walk(t.Root(), func(n tree.Node) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if o := p.owners[n.Ino]; o != nil && o.path == "" && !n.Unread {
			o.path = n.Path
			missing--
		}
		if missing == 0 {
			return enough
		}
		return nil
	})
	if errors.Is(err, enough) {
		return nil
	}
	return err
}

// region tells what hit i lies in, and whose that is: nil for nobody's.
func (p *placed) region(i int) (Region, *owner) {
	s, h := p.spots[i], p.hits[i]
	if s.slot != 0 {
		if s.unused {
			return FreeSlot, nil
		}
		return InodeSlot, p.owners[s.slot]
	}
	o := p.owners[s.ino]
	switch {
	case s.unused && o != nil && o.attr.Reserved:
		return Journal, nil
	case s.unused:
		return FreeBlock, nil
	case o == nil:
		return Metadata, nil
	case o.attr.Reserved:
		return SystemFile, o
	case o.attr.Type == image.TypeDirectory:
		return Directory, o
	case s.extent:
		return Unwritten, o
	case int64(s.lblk)*p.bs+h.off%p.bs >= o.attr.Size && !o.attr.Verity:
		return FileTail, o
	}
	return File, o
}
