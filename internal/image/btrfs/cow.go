package btrfs

import (
	"fmt"

	"fsenc/internal/image"
)

// cowPath is search with every block on the way made one of the transaction.
func (fs *FS) cowPath(t *tree, k key) (p *path, found bool, err error) {
	if err := fs.reserve(); err != nil {
		return nil, false, err
	}
	b, err := fs.readBlock(t.addr, expect{tree: t.id, level: t.level, gen: t.gen})
	if err != nil {
		return nil, false, err
	}
	if !b.dirty {
		if b, err = fs.cow(t, b, true); err != nil {
			return nil, false, err
		}
		t.addr, t.gen, t.changed = b.addr, fs.gen, true
	}
	t.recent.Store(nil)
	p = &path{t: t, top: t.level}
	end := lastKey
	for {
		p.node[b.level()] = b
		i, hit := b.find(k)
		if b.level() == 0 {
			p.slot[0] = i
			t.visited(b, end)
			return p, hit, nil
		}
		if !hit && i > 0 {
			i--
		}
		p.slot[b.level()], end = i, b.end(i, end)
		child, err := fs.descend(t, b, i)
		if err != nil {
			return nil, false, err
		}
		if !child.dirty {
			if child, err = fs.cow(t, child, false); err != nil {
				return nil, false, err
			}
			b.setChild(i, child.addr, fs.gen)
		}
		b = child
	}
}

// cow copies a block and moves references from the old one to the new one. Copying
// goes from the root down: what refers to the block has been copied before.
func (fs *FS) cow(t *tree, b *block, isRoot bool) (*block, error) {
	n, err := fs.copyBlock(t, b)
	if err != nil {
		return nil, err
	}
	refs, full := uint64(1), false
	if t.isFile() && !isRoot && (b.generation() <= t.lastSnapshot || b.flags()&hdrReloc != 0) {
		if refs, full, err = fs.blockRefs(b); err != nil {
			return nil, err
		}
	}
	id := fs.blockID(b)
	normal, shared := ref{root: t.id}, ref{parent: b.addr}
	switch {
	case refs > 1 && b.owner() == t.id && !full:
		// The implicit references of this tree to the children go over to the copy.
		if err = fs.refChildren(t, b, shared, 1); err == nil {
			fs.change(id).full = true
		}
	case refs > 1:
		err = fs.refChildren(t, b, normal, 1)
	case full:
		if err = fs.refChildren(t, b, normal, 1); err == nil {
			err = fs.refChildren(t, b, shared, -1)
		}
	}
	fs.addRef(id, ref{kind: keyTreeRef, root: t.id}, -1)
	if refs == 1 {
		fs.cache.drop(b.addr) // nobody reads it any more
	}
	return n, err
}

// refChildren adds references to all that a block refers to, by tree or by
// parent, or takes them away.
func (fs *FS) refChildren(t *tree, b *block, by ref, n int) error {
	for i := range b.items() {
		if b.level() > 0 {
			addr, _ := b.child(i)
			r := by
			if r.kind = keyTreeRef; by.parent != 0 {
				r.kind = keySharedBlock
			}
			fs.addRef(extentID{addr, uint64(fs.ns), b.level() - 1}, r, n)
			continue
		}
		k := b.key(i)
		if k.kind != keyExtentData {
			continue
		}
		e, err := fs.parseExtent(t, k, b.data(i))
		if err != nil {
			return err
		}
		if e.kind == extInline || e.disk == 0 {
			continue
		}
		r := by
		if r.kind = keySharedData; by.parent == 0 {
			r = dataRef(by.root, k.obj, &e)
		}
		fs.addRef(dataID(&e), r, n)
	}
	return nil
}

// insert adds an item.
func (fs *FS) insert(t *tree, k key, data []byte) error {
	if b, i, found := t.own(k); b != nil && !found && fs.leafRoom(b) >= itemSize+len(data) {
		fs.putItem(b, i, k, data) // not before the first
		return nil
	}
	p, found, err := fs.cowPath(t, k)
	if err != nil {
		return err
	}
	if found {
		return fs.itemError(t, k, "is there already")
	}
	if len(data) > fs.maxItem() {
		return fmt.Errorf("%w: an item of %d bytes in tree %d", image.ErrUnsupported, len(data), int64(t.id))
	}
	for fs.leafRoom(p.leaf()) < itemSize+len(data) {
		if err := fs.splitLeaf(p, k); err != nil {
			return err
		}
	}
	fs.putItem(p.leaf(), p.slot[0], k, data)
	fs.fixKeys(p)
	return nil
}

// maxItem is the largest item, in bytes.
func (fs *FS) maxItem() int { return fs.ns - headerSize - itemSize }

// remove takes an item away; it must be there.
func (fs *FS) remove(t *tree, k key) error {
	if b, i, found := t.own(k); found && i > 0 {
		fs.cutItem(b, i)
		return nil
	}
	p, found, err := fs.cowPath(t, k)
	if err != nil {
		return err
	}
	if !found {
		return fs.itemError(t, k, "is missing")
	}
	return fs.removeAt(p)
}

// removeAt takes the item of a path away, and blocks that have nothing left.
func (fs *FS) removeAt(p *path) error {
	fs.cutItem(p.leaf(), p.slot[0])
	if p.leaf().items() > 0 || p.top == 0 {
		if p.leaf().items() > 0 {
			fs.fixKeys(p)
		}
		return nil
	}
	level := 0
	for ; level < p.top && p.node[level].items() == 0; level++ {
		fs.dropBlock(p.t, p.node[level])
		fs.cutPointer(p.node[level+1], p.slot[level+1])
	}
	if p.node[level].items() == 0 { // the root: an empty leaf takes its place
		root, err := fs.newBlock(p.t, 0)
		if err != nil {
			return err
		}
		copy(root.raw[offHdrUUID:][:16], p.node[level].raw[offHdrUUID:])
		fs.dropBlock(p.t, p.node[level])
		p.t.addr, p.t.level = root.addr, 0
		return nil
	}
	for l := level; l < p.top; l++ {
		p.node[l+1].setKey(p.slot[l+1], p.node[l].key(0))
	}
	return fs.collapse(p.t)
}

// collapse takes a root away that has a single child.
func (fs *FS) collapse(t *tree) error {
	for t.level > 0 {
		root, err := fs.readBlock(t.addr, expect{tree: t.id, level: t.level, gen: t.gen})
		if err != nil || root.items() > 1 {
			return err
		}
		child, err := fs.descend(t, root, 0)
		if err != nil {
			return err
		}
		if !child.dirty {
			if child, err = fs.cow(t, child, false); err != nil {
				return err
			}
		}
		fs.dropBlock(t, root)
		t.addr, t.level, t.gen = child.addr, child.level(), fs.gen
	}
	return nil
}

// replace gives an item other data, of any length.
func (fs *FS) replace(t *tree, k key, data []byte) error {
	if b, i, found := t.own(k); found && len(data)-len(b.data(i)) <= fs.leafRoom(b) {
		fs.setItem(b, i, data)
		return nil
	}
	p, found, err := fs.cowPath(t, k)
	if err != nil {
		return err
	}
	if !found {
		return fs.itemError(t, k, "is missing")
	}
	if len(data)-len(p.data()) <= fs.leafRoom(p.leaf()) {
		fs.setItem(p.leaf(), p.slot[0], data)
		return nil
	}
	fs.cutItem(p.leaf(), p.slot[0])
	if p.leaf().items() == 0 {
		return fmt.Errorf("%w: an item of %d bytes in tree %d", image.ErrUnsupported, len(data), int64(t.id))
	}
	fs.fixKeys(p)
	return fs.insert(t, k, data)
}

// set inserts an item, or replaces the one that is there.
func (fs *FS) set(t *tree, k key, data []byte) error {
	b, err := fs.item(t, k)
	if err != nil {
		return err
	}
	if b == nil {
		return fs.insert(t, k, data)
	}
	return fs.replace(t, k, data)
}

// modify lets f change the bytes of an item where they lie.
func (fs *FS) modify(t *tree, k key, f func(data []byte)) error {
	if b, i, found := t.own(k); found {
		f(b.data(i))
		return nil
	}
	p, found, err := fs.cowPath(t, k)
	if err != nil {
		return err
	}
	if !found {
		return fs.itemError(t, k, "is missing")
	}
	f(p.data())
	return nil
}

// fixKeys gives the nodes above the first key of a block that has changed.
func (fs *FS) fixKeys(p *path) {
	for l := 0; l < p.top && p.slot[l] == 0; l++ {
		p.node[l+1].setKey(p.slot[l+1], p.node[l].key(0))
	}
}

func (b *block) setKey(i int, k key) { k.put(b.slot(i)) }
