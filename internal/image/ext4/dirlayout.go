package ext4

import (
	"cmp"
	"slices"

	"fsenc/internal/image"
)

// dxName is a name's place in the order of an index.
type dxName struct {
	hash, minor uint32
	at          uint32 // in dirLayout.entries
}

// leafStart is the first entry of a leaf, by its place in the order.
type leafStart struct {
	slot uint32 // hash for the index, with the continuation bit
	at   int
}

// dirLayout is a directory as it is going to lie in its blocks.
type dirLayout struct {
	form     dirForm
	self     image.Ino
	parent   image.Ino
	entries  []image.Dirent
	order    []dxName // nil without an index: entries lie as they come
	starts   []leafStart
	shape    dxShape
	version  uint8 // of the hash, as the root stores it
	largeDir bool
}

// indexHash is the hash that orders d in an index: of the stored name, of the
// folded one where names fold, or where that needs the key what the entry brings.
func indexHash(f dirForm, h dirHash, folds bool, d image.Dirent) (hash, minor uint32) {
	switch {
	case f.hashed:
		return d.Hash, d.MinorHash
	case folds:
		return h.sum(foldOrRaw(d.Name))
	}
	return h.sum(d.Name)
}

// sortEntries puts the entries into the order of an index. Ties of both hashes
// keep their order, so that equal input gives equal blocks.
func (l *dirLayout) sortEntries(h dirHash, folds bool) {
	l.order = make([]dxName, len(l.entries))
	for i, d := range l.entries {
		hash, minor := indexHash(l.form, h, folds, d)
		l.order[i] = dxName{hash, minor, uint32(i)}
	}
	slices.SortFunc(l.order, func(a, b dxName) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.minor, b.minor), cmp.Compare(a.at, b.at))
	})
}

// entry returns the i-th entry in the order in which they are laid out.
func (l *dirLayout) entry(i int) *image.Dirent {
	if l.order != nil {
		i = int(l.order[i].at)
	}
	return &l.entries[i]
}

// split fills leaves greedily, the dots first if there is no index, and notes
// where each begins. A leaf that begins with the hash that the one before
// ends with continues it.
func (l *dirLayout) split() {
	l.starts = append(l.starts[:0], leafStart{})
	used := 0
	if l.order == nil {
		used = dirOverhead
	}
	for i := range l.entries {
		size := l.form.entrySize(len(l.entry(i).Name))
		if used+size > l.form.usable() {
			s := leafStart{at: i}
			if l.order != nil {
				s.slot = l.order[i].hash
				if l.order[i-1].hash == s.slot {
					s.slot |= 1
				}
			}
			l.starts = append(l.starts, s)
			used = 0
		}
		used += size
	}
}

// layOutLinear and layOutIndex plan the blocks. An index that would hold more
// leaves than its levels allow is not made.
func (l *dirLayout) layOutLinear() {
	l.order = nil
	l.split()
	l.shape = dxShape{leaves: len(l.starts)}
}

func (l *dirLayout) layOutIndex(h dirHash, folds bool) bool {
	l.sortEntries(h, folds)
	l.split()
	var ok bool
	l.shape, ok = l.form.dxShapeFor(len(l.starts), l.largeDir)
	return ok
}

func (l *dirLayout) indexed() bool { return l.order != nil }

func (l *dirLayout) blocks() int {
	if l.indexed() {
		return l.shape.blocks()
	}
	return len(l.starts)
}

// write stages all blocks of the directory d, which has as many.
func (l *dirLayout) write(d *directory) error {
	first := 0
	if l.indexed() {
		if err := l.writeIndex(d); err != nil {
			return err
		}
		first = l.blocks() - l.shape.leaves
	}
	w := newLeafWriter(l.form)
	for i, s := range l.starts {
		w.reset()
		if !l.indexed() && i == 0 {
			w.addDot(".", l.self)
			w.addDot("..", l.parent)
		}
		end := len(l.entries)
		if i+1 < len(l.starts) {
			end = l.starts[i+1].at
		}
		for j := s.at; j < end; j++ {
			w.add(*l.entry(j))
		}
		if err := d.writeLeaf(uint32(first+i), w); err != nil {
			return err
		}
	}
	return nil
}

// writeIndex stages the root and the nodes. Each level is filled densely: slot
// i of a table stands for the i-th table or leaf below.
func (l *dirLayout) writeIndex(d *directory) error {
	first := l.blocks() - l.shape.leaves
	slots := make([]dxSlot, len(l.starts))
	for i, s := range l.starts {
		slots[i] = dxSlot{s.slot, uint32(first + i)}
	}
	block := make([]byte, l.form.blockSize)
	room := l.form.dxRoom(offDxNodeSlots)
	for _, nodes := range []int{l.shape.lower, l.shape.upper} {
		if nodes == 0 {
			break
		}
		first -= nodes
		var above []dxSlot
		for i := range nodes {
			part := slots[i*room : min((i+1)*room, len(slots))]
			above = append(above, dxSlot{part[0].hash, uint32(first + i)})
			l.form.putDxNode(block, part, d.seed)
			if err := d.fs.writeBlock(d.pblk(uint32(first+i)), block); err != nil {
				return err
			}
		}
		slots = above
	}
	dots := [2]image.Ino{l.self, l.parent}
	l.form.putDxRoot(block, dots, l.version, l.shape.levels(), slots, d.seed)
	return d.fs.writeBlock(d.pblk(0), block)
}
