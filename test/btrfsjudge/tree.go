package btrfsjudge

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
)

// item is an item of a leaf with its key.
type item struct {
	obj  uint64
	kind byte
	off  uint64
	data []byte
}

func compareKeys(a, b item) int {
	return cmp.Or(cmp.Compare(a.obj, b.obj), cmp.Compare(a.kind, b.kind), cmp.Compare(a.off, b.off))
}

// block is what a parent says of a tree block.
type block struct {
	at         uint64
	level      int
	generation uint64
}

// Ids of trees.
const (
	rootTree  = 1
	sumTree   = 7
	topLevel  = 5
	firstFree = 256 // the first id of subvolumes and of inodes
)

func isFileTree(id uint64) bool {
	return id == topLevel || id >= firstFree && id <= math.MaxUint64-firstFree+1
}

// root reads a root item.
func root(b []byte) block { return block{u64(b, 176), int(b[238]), u64(b, 160)} }

// walk visits all items of a tree in order, and each block before its items. It
// fails where a block is not what its parent says.
func (m *image) walk(at block, tree uint64, visit func(at uint64, copies [][]byte), f func(item) error) error {
	if at.level > 7 {
		return fmt.Errorf("tree %d, block %d: level %d", tree, at.at, at.level)
	}
	var last *item
	return m.below(at, tree, nil, visit, func(i item) error {
		if last != nil && compareKeys(*last, i) >= 0 {
			return fmt.Errorf("tree %d: key %d %d %d after %d %d %d", tree, i.obj, i.kind, i.off, last.obj, last.kind, last.off)
		}
		last = &i
		return f(i)
	})
}

// below visits a block; lead is the key that its parent has for it.
func (m *image) below(at block, tree uint64, lead *item, visit func(at uint64, copies [][]byte), f func(item) error) error {
	all, err := m.copies(at.at, m.ns)
	if err != nil {
		return fmt.Errorf("tree %d: %w", tree, err)
	}
	for _, b := range all {
		if err := m.header(b, at); err != nil {
			return fmt.Errorf("tree %d, block %d: %w", tree, at.at, err)
		}
		if !bytes.Equal(b, all[0]) {
			return fmt.Errorf("tree %d, block %d: copies differ", tree, at.at)
		}
	}
	if visit != nil {
		visit(at.at, all)
	}
	b := all[0]
	if !isFileTree(tree) && u64(b, 88) != tree {
		return fmt.Errorf("tree %d, block %d: is of tree %d", tree, at.at, u64(b, 88))
	}
	size := 25
	if at.level > 0 {
		size = 33
	}
	for i := range int(u32(b, 96)) {
		e := b[101+size*i:]
		k := item{obj: u64(e, 0), kind: e[8], off: u64(e, 9)}
		if i == 0 && lead != nil && compareKeys(k, *lead) != 0 {
			return fmt.Errorf("tree %d, block %d: first key is not its parent's", tree, at.at)
		}
		if at.level > 0 {
			err = m.below(block{u64(e, 17), at.level - 1, u64(e, 25)}, tree, &k, visit, f)
		} else {
			k.data = b[101+u32(e, 17):][:u32(e, 21):u32(e, 21)]
			err = f(k)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// header looks at the head of a block and at how a leaf is packed.
func (m *image) header(b []byte, at block) error {
	n := u32(b, 96)
	switch {
	case !m.sumFits(b):
		return fmt.Errorf("checksum")
	case u64(b, 48) != at.at || !bytes.Equal(b[32:48], m.uuid):
		return fmt.Errorf("is block %d of %x", u64(b, 48), b[32:48])
	case int(b[100]) != at.level || u64(b, 80) != at.generation || at.generation > m.generation:
		return fmt.Errorf("level %d, generation %d, want %d and %d", b[100], u64(b, 80), at.level, at.generation)
	case u64(b, 56)&1 == 0:
		return fmt.Errorf("never written")
	case at.level > 0:
		if n == 0 || n > (m.ns-101)/33 {
			return fmt.Errorf("%d children", n)
		}
		return nil
	}
	end := m.ns - 101
	for i := range n {
		if 25*(i+1) > end {
			return fmt.Errorf("%d items", n)
		}
		e := b[101+25*i:]
		if off, size := u32(e, 17), u32(e, 21); off+size != end || off < 25*n {
			return fmt.Errorf("item %d has bytes %d to %d, want up to %d", i, off, off+size, end)
		}
		end = u32(e, 17)
	}
	return nil
}
