package btrfs

import (
	"fmt"
	"slices"
	"sort"

	"fsenc/internal/image"
)

// Fields of struct btrfs_block_group_item.
const (
	offGroupUsed   = 0  // le64
	offGroupChunk  = 8  // le64, 256
	offGroupFlags  = 16 // le64
	groupItemSize  = 24
	firstMegabyte  = 1 << 20
	superShadowLen = 64 << 10
)

// span is a range of logical space.
type span struct{ start, len uint64 }

func (s span) end() uint64 { return s.start + s.len }

// group is a block group with its free space: free may be taken; freed was given
// back in this transaction, whose predecessor still needs it.
type group struct {
	span
	kind    uint64
	used    uint64
	free    []span // ascending, apart
	freed   []span
	avail   uint64 // bytes of free
	full    int    // in no span of free before this one a tree block has room
	changed bool
}

// groupTree is where block group items are.
func (fs *FS) groupTree() (*tree, error) {
	if fs.sb.hasRO(roBlockGroupTree) {
		return fs.treeOf(treeBlockGroup)
	}
	return fs.treeOf(treeExtent)
}

// loadSpace builds the free space of all groups from the extent tree.
func (fs *FS) loadSpace() error {
	if fs.groups != nil {
		return nil
	}
	var groups []*group
	t, err := fs.groupTree()
	if err != nil {
		return err
	}
	add := func(k key, b []byte) error {
		c := fs.chunkAt(k.obj)
		if len(b) != groupItemSize || c == nil || c.start != k.obj || c.len != k.off {
			return fs.itemError(t, k, "%d bytes; no chunk is like it", len(b))
		}
		groups = append(groups, &group{span: span{k.obj, k.off}, kind: le.Uint64(b[offGroupFlags:]), used: le.Uint64(b)})
		return nil
	}
	if t.id == treeBlockGroup {
		err = fs.each(t, key{}, func(k key, b []byte) (bool, error) { return true, add(k, b) })
		if err != nil {
			return err
		}
	}
	used, err := fs.usedExtents(add, t.id != treeBlockGroup)
	if err != nil {
		return err
	}
	slices.SortFunc(groups, func(a, b *group) int { return int(min(max(int64(a.start)-int64(b.start), -1), 1)) })
	if err := fs.fillGroups(groups, used); err != nil {
		return err
	}
	if fs.write {
		if err := fs.checkFreeTree(groups); err != nil {
			return err
		}
	}
	for _, g := range groups {
		fs.countFree(g)
	}
	fs.groups = groups
	return nil
}

// countFree sets the group's free space to what its blocks can be taken from:
// all but copies of the superblock.
func (fs *FS) countFree(g *group) {
	for _, s := range fs.shadows(g.start) {
		g.free = cutSpan(g.free, s)
	}
	g.avail, g.full = 0, 0
	for _, s := range g.free {
		g.avail += s.len
	}
}

// usedExtents lists the extents in use, ascending, and passes block groups on.
func (fs *FS) usedExtents(add func(key, []byte) error, groups bool) ([]span, error) {
	t, err := fs.treeOf(treeExtent)
	if err != nil {
		return nil, err
	}
	var used []span
	err = fs.each(t, key{}, func(k key, b []byte) (bool, error) {
		s := span{k.obj, k.off}
		switch k.kind {
		case keyBlockGroup:
			if groups {
				return true, add(k, b)
			}
			return true, nil
		case keyMetadata:
			s.len = uint64(fs.ns)
		case keyExtent:
		default:
			return true, nil
		}
		if n := len(used); n > 0 && used[n-1].end() > s.start {
			return false, fs.itemError(t, k, "overlaps the extent before")
		}
		if n := len(used); n > 0 && used[n-1].end() == s.start {
			used[n-1].len += s.len
		} else {
			used = append(used, s)
		}
		return true, nil
	})
	return used, err
}

// fillGroups gives each group what is free in it: all that no extent has.
func (fs *FS) fillGroups(groups []*group, used []span) error {
	for _, g := range groups {
		at, sum := g.start, uint64(0)
		i := sort.Search(len(used), func(i int) bool { return used[i].end() > g.start })
		for ; i < len(used) && used[i].start < g.end(); i++ {
			start, end := max(used[i].start, g.start), min(used[i].end(), g.end())
			if start > at {
				g.free = append(g.free, span{at, start - at})
			}
			sum += end - start
			at = end
		}
		if at < g.end() {
			g.free = append(g.free, span{at, g.end() - at})
		}
		if sum != g.used {
			return &image.CorruptError{What: "block group", Pblk: fs.pblk(g.start), Why: fmt.Sprintf("says %d bytes in use, its extents have %d", g.used, sum)}
		}
	}
	return nil
}

// shadows are the parts of a chunk where a superblock lies: 64 KiB each.
func (fs *FS) shadows(start uint64) []span {
	c := fs.chunkAt(start)
	if c == nil {
		return nil
	}
	var out []span
	per := c.len / uint64(c.dataStripes(len(c.stripes)))
	for _, super := range superAddrs {
		for i, s := range c.stripes {
			if uint64(super) < s || uint64(super) >= s+per {
				continue
			}
			in := (uint64(super) - s) / stripeLen * stripeLen
			at := c.start + in
			switch {
			case c.kind&profRAID0 != 0:
				at = c.start + in*uint64(len(c.stripes)) + uint64(i)*stripeLen
			case c.kind&profRAID10 != 0:
				groups := len(c.stripes) / c.sub
				at = c.start + in*uint64(groups) + uint64(i/c.sub)*stripeLen
			}
			out = append(out, span{at, superShadowLen})
		}
	}
	return out
}

// cutSpan takes a range out of a list of spans.
func cutSpan(list []span, s span) []span {
	var out []span
	for _, f := range list {
		if f.end() <= s.start || f.start >= s.end() {
			out = append(out, f)
			continue
		}
		if f.start < s.start {
			out = append(out, span{f.start, s.start - f.start})
		}
		if f.end() > s.end() {
			out = append(out, span{s.end(), f.end() - s.end()})
		}
	}
	return out
}
