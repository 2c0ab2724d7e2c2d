package btrfs

import (
	"errors"
	"fmt"
	"slices"
	"sort"

	"fsenc/internal/image"
)

// spaceChange is a range that was taken or given back.
type spaceChange struct {
	span
	free bool
}

// allocBlock takes the room of a tree block. It adds no chunk, which would change
// trees in the middle of a change: reserve did where that was needed.
func (fs *FS) allocBlock(kind uint64) (uint64, error) {
	fs.writable()
	if err := fs.loadSpace(); err != nil {
		return 0, err
	}
	for _, g := range fs.groups {
		if g.kind&kind == 0 {
			continue
		}
		for ; g.full < len(g.free); g.full++ {
			if at, ok := fs.take(g, g.full, uint64(fs.ns), uint64(fs.ns)); ok {
				return at, nil
			}
		}
	}
	return 0, fmt.Errorf("%w: no room for a tree block", image.ErrNoSpace)
}

// allocData takes n bytes; a chunk is added where no group has as much in one
// piece.
func (fs *FS) allocData(n uint64) (uint64, error) {
	fs.writable()
	if err := fs.loadSpace(); err != nil {
		return 0, err
	}
	for again := false; ; again = true {
		for _, g := range fs.groups {
			if g.kind&groupData == 0 || g.avail < n {
				continue
			}
			for i := range g.free {
				if at, ok := fs.take(g, i, n, uint64(fs.ss)); ok {
					g.full = min(g.full, i)
					return at, nil
				}
			}
		}
		if again {
			return 0, fmt.Errorf("%w: %d bytes in one piece", image.ErrNoSpace, n)
		}
		if err := fs.addGroup(groupData, n); err != nil {
			return 0, err
		}
	}
}

// take takes n bytes, aligned, from a free span of a group that has as many.
func (fs *FS) take(g *group, i int, n, align uint64) (uint64, bool) {
	f := g.free[i]
	at := (f.start + align - 1) / align * align
	if at+n > f.end() {
		return 0, false
	}
	rest := make([]span, 0, 2)
	if at > f.start {
		rest = append(rest, span{f.start, at - f.start})
	}
	if at+n < f.end() {
		rest = append(rest, span{at + n, f.end() - at - n})
	}
	if len(rest) == 1 {
		g.free[i] = rest[0]
	} else {
		g.free = slices.Replace(g.free, i, i+1, rest...)
	}
	g.used += n
	g.avail -= n
	g.changed = true
	fs.space = append(fs.space, spaceChange{span{at, n}, false})
	return at, true
}

// opBlocks is more than one change of a tree takes: on each level a copy, and a
// block more where that has to be divided.
const opBlocks = 2*maxLevel + 2

// reserve makes sure that a change of a tree does not run out of blocks half way:
// it adds a chunk while there still is room for all that describes it. Where none
// can be added the change may yet succeed.
func (fs *FS) reserve() error {
	if fs.adding || fs.noChunks {
		return nil
	}
	if err := fs.loadSpace(); err != nil {
		return err
	}
	need := uint64(4 * opBlocks * fs.ns)
	if fs.blockRoom() >= need {
		return nil
	}
	err := fs.addGroup(groupMetadata, need)
	if errors.Is(err, image.ErrNoSpace) {
		fs.noChunks, err = true, nil
	}
	return err
}

func (fs *FS) groupAt(logical uint64) *group {
	i := sort.Search(len(fs.groups), func(i int) bool { return fs.groups[i].end() > logical })
	if i == len(fs.groups) || fs.groups[i].start > logical {
		return nil
	}
	return fs.groups[i]
}

// free gives a range back. It can be taken again when the transaction has ended.
func (fs *FS) free(start, n uint64) error {
	if err := fs.loadSpace(); err != nil {
		return err
	}
	g := fs.groupAt(start)
	if g == nil || start+n > g.end() || g.used < n {
		return &image.CorruptError{What: "extent", Pblk: fs.pblk(start), Why: "in no block group"}
	}
	g.freed = append(g.freed, span{start, n})
	g.used -= n
	g.changed = true
	fs.space = append(fs.space, spaceChange{span{start, n}, true})
	return nil
}

// reuse lets what was freed be taken: the transaction has ended.
func (fs *FS) reuse() {
	for _, g := range fs.groups {
		if len(g.freed) == 0 {
			continue
		}
		all := append(g.free, g.freed...)
		slices.SortFunc(all, func(a, b span) int { return int(min(max(int64(a.start)-int64(b.start), -1), 1)) })
		g.free = all[:1]
		for _, s := range all[1:] {
			if last := &g.free[len(g.free)-1]; last.end() == s.start {
				last.len += s.len
			} else {
				g.free = append(g.free, s)
			}
		}
		g.free = slices.Clone(g.free)
		fs.countFree(g)
		g.freed = nil
	}
}
