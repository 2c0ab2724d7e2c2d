package btrfs

import (
	"fmt"

	"fsenc/internal/image"
)

// The free space tree has for each block group an item with the number of free
// extents and their form: an empty item for each, or bitmaps of a sector a bit.
// A group keeps the form it has.
const (
	offFreeCount = 0 // le32
	offFreeFlags = 4 // le32
	freeInfoSize = 8
	freeBitmaps  = 1
)

// checkFreeTree compares the tree with what groups have free, before copies of
// the superblock are left out.
func (fs *FS) checkFreeTree(groups []*group) error {
	if !fs.sb.hasRO(roFreeSpace) {
		return nil
	}
	t, err := fs.treeOf(treeFreeSpace)
	if err != nil {
		return err
	}
	for _, g := range groups {
		runs, free, err := fs.enteredSpace(t, g)
		if err != nil {
			return err
		}
		info, err := fs.item(t, key{g.start, keyFreeInfo, g.len})
		if err != nil {
			return err
		}
		if len(info) != freeInfoSize || int(le.Uint32(info)) != runs || runs != len(g.free) || free != g.len-g.used {
			return &image.CorruptError{What: "free space tree", Pblk: fs.pblk(g.start),
				Why: fmt.Sprintf("has %d bytes in %d runs of a group, by the extents %d in %d are free", free, runs, g.len-g.used, len(g.free))}
		}
	}
	return nil
}

// enteredSpace counts the runs and bytes that the free space tree has of a group.
func (fs *FS) enteredSpace(t *tree, g *group) (runs int, free uint64, err error) {
	ss := uint64(fs.ss)
	end := uint64(0) // of the last run
	err = fs.each(t, key{g.start, keyFreeExtent, 0}, func(k key, b []byte) (bool, error) {
		if k.obj >= g.end() {
			return false, nil
		}
		switch k.kind {
		case keyFreeExtent:
			runs, free = runs+1, free+k.off
		case keyFreeBitmap:
			for i := range min(k.off/ss, uint64(len(b))*8) {
				if b[i/8]>>(i%8)&1 == 0 {
					continue
				}
				if at := k.obj + i*ss; at != end {
					runs++
				}
				end = k.obj + (i+1)*ss
				free += ss
			}
		}
		return true, nil
	})
	return runs, free, err
}

// applySpace enters what was taken and given back.
func (fs *FS) applySpace() error {
	changes := fs.space
	fs.space = nil
	if !fs.sb.hasRO(roFreeSpace) {
		return nil // the mount finds the old cache to be of another generation
	}
	t, err := fs.treeOf(treeFreeSpace)
	if err != nil {
		return err
	}
	for _, c := range changes {
		g := fs.groupAt(c.start)
		info, err := fs.item(t, key{g.start, keyFreeInfo, g.len})
		if err != nil {
			return err
		}
		if len(info) != freeInfoSize {
			return fs.itemError(t, key{g.start, keyFreeInfo, g.len}, "%d bytes", len(info))
		}
		by := 0
		if le.Uint32(info[offFreeFlags:])&freeBitmaps != 0 {
			by, err = fs.flipBits(t, g, c)
		} else if c.free {
			by, err = fs.giveSpace(t, g, c.span)
		} else {
			by, err = fs.takeSpace(t, g, c.span)
		}
		if err != nil {
			return err
		}
		if by == 0 {
			continue
		}
		err = fs.modify(t, key{g.start, keyFreeInfo, g.len}, func(b []byte) {
			le.PutUint32(b[offFreeCount:], uint32(int(le.Uint32(b[offFreeCount:]))+by))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// takeSpace takes a range out of the free extent that has it, and returns by how
// many extents there are more.
func (fs *FS) takeSpace(t *tree, g *group, s span) (int, error) {
	k, _, ok, err := fs.last(t, key{s.start, keyFreeExtent, ^uint64(0)})
	if err != nil {
		return 0, err
	}
	if !ok || k.kind != keyFreeExtent || k.obj > s.start || k.obj+k.off < s.end() {
		return 0, &image.CorruptError{What: "free space tree", Pblk: fs.pblk(s.start), Why: "space that no extent has is not in it"}
	}
	if err := fs.remove(t, k); err != nil {
		return 0, err
	}
	n := -1
	for _, rest := range []span{{k.obj, s.start - k.obj}, {s.end(), k.obj + k.off - s.end()}} {
		if rest.len > 0 {
			n++
			if err := fs.insert(t, key{rest.start, keyFreeExtent, rest.len}, nil); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// giveSpace adds a range, joined with its neighbours in the group.
func (fs *FS) giveSpace(t *tree, g *group, s span) (int, error) {
	n := 1
	join := func(k key) error {
		n--
		return fs.remove(t, k)
	}
	if k, _, ok, err := fs.last(t, key{s.start, keyFreeExtent, ^uint64(0)}); err != nil {
		return 0, err
	} else if ok && k.kind == keyFreeExtent && k.obj >= g.start && k.obj+k.off >= s.start {
		if k.obj+k.off > s.start {
			return 0, &image.CorruptError{What: "free space tree", Pblk: fs.pblk(s.start), Why: "space in use is in it"}
		}
		if err := join(k); err != nil {
			return 0, err
		}
		s = span{k.obj, s.len + k.off}
	}
	next, _, ok, err := fs.last(t, key{s.end(), keyFreeExtent, ^uint64(0)})
	if err != nil {
		return 0, err
	}
	if ok && next.kind == keyFreeExtent && next.obj == s.end() && next.obj < g.end() {
		if err := join(next); err != nil {
			return 0, err
		}
		s.len += next.off
	}
	return n, fs.insert(t, key{s.start, keyFreeExtent, s.len}, nil)
}

// flipBits turns the bits of a range, and returns by how many runs of free
// sectors there are more.
func (fs *FS) flipBits(t *tree, g *group, c spaceChange) (int, error) {
	ss := uint64(fs.ss)
	near := 0
	for _, at := range []uint64{c.start - ss, c.end()} {
		if at < g.start || at >= g.end() {
			continue
		}
		k, b, ok, err := fs.last(t, key{at, keyFreeBitmap, ^uint64(0)})
		if err != nil {
			return 0, err
		}
		if ok && k.kind == keyFreeBitmap && at < k.obj+k.off {
			if i := (at - k.obj) / ss; i/8 < uint64(len(b)) && b[i/8]>>(i%8)&1 == 1 {
				near++
			}
		}
	}
	for at := c.start; at < c.end(); {
		k, b, ok, err := fs.last(t, key{at, keyFreeBitmap, ^uint64(0)})
		if err != nil {
			return 0, err
		}
		if !ok || k.kind != keyFreeBitmap || at >= k.obj+k.off || uint64(len(b)) < k.off/ss/8 {
			return 0, &image.CorruptError{What: "free space tree", Pblk: fs.pblk(at), Why: "no bitmap for it"}
		}
		end := min(c.end(), k.obj+k.off)
		wrong := false
		err = fs.modify(t, k, func(b []byte) {
			for ; at < end; at += ss {
				i := (at - k.obj) / ss
				wrong = wrong || (b[i/8]>>(i%8)&1 == 1) == c.free
				b[i/8] ^= 1 << (i % 8)
			}
		})
		if err == nil && wrong {
			err = &image.CorruptError{What: "free space tree", Pblk: fs.pblk(c.start), Why: "does not fit the extents"}
		}
		if err != nil {
			return 0, err
		}
	}
	if c.free {
		return 1 - near, nil
	}
	return near - 1, nil
}
