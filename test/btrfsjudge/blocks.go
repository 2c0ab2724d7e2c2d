package btrfsjudge

import "slices"

// Block is a tree block in all its copies, which are parts of the image.
type Block struct {
	Tree, At uint64
	Level    int
	Copies   [][]byte
}

// Blocks lists the blocks of all trees of an image that is in order, for tests
// that damage it; those of the chunk tree come first.
func Blocks(b []byte) ([]Block, error) {
	m, err := open(b)
	if err != nil {
		return nil, err
	}
	var all []Block
	seen := make(map[uint64]bool)
	in := func(tree uint64) func(uint64, [][]byte) {
		return func(at uint64, copies [][]byte) {
			if !seen[at] {
				all = append(all, Block{tree, at, int(copies[0][100]), copies})
			}
			seen[at] = true
		}
	}
	nothing := func(item) error { return nil }
	if err := m.walk(block{u64(m.first, 88), int(m.first[199]), u64(m.first, 164)}, 3, in(3), nothing); err != nil {
		return nil, err
	}
	roots := make(map[uint64]block)
	err = m.walk(block{u64(m.first, 80), int(m.first[198]), m.generation}, rootTree, in(rootTree), func(i item) error {
		if i.kind == 132 {
			roots[i.obj] = root(i.data)
		}
		return nil
	})
	var ids []uint64
	for id := range roots {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if err == nil {
			err = m.walk(roots[id], id, in(id), nothing)
		}
	}
	return all, err
}

// Edit changes a block in all copies, and puts its checksums right.
func (b Block) Edit(all []byte, edit func(b []byte)) {
	m := &image{kind: u16(all[superAt:], 196)}
	for _, c := range b.Copies {
		edit(c)
		m.seal(c)
	}
}

// EditSupers changes all superblocks, and puts their checksums right.
func EditSupers(all []byte, edit func(sb []byte)) {
	m := &image{kind: u16(all[superAt:], 196)}
	for _, sb := range supers(all) {
		edit(sb)
		m.seal(sb)
	}
}
