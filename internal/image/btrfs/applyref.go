package btrfs

import (
	"cmp"
	"maps"
	"slices"

	"fsenc/internal/image"
)

// blockRefs tells how many references a block has, what is pending included, and
// whether its children's are by parent.
func (fs *FS) blockRefs(b *block) (refs uint64, full bool, err error) {
	id := fs.blockID(b)
	rec, err := fs.extentOf(id)
	if err != nil {
		return 0, false, err
	}
	n := int64(rec.refs)
	full = rec.flags&extentFull != 0
	if c := fs.refs[id]; c != nil {
		full = full || c.full
		for _, d := range c.delta {
			n += int64(d)
		}
	}
	if n <= 0 {
		return 0, false, &image.CorruptError{What: "extent tree", Pblk: fs.pblk(b.addr), Why: "a block in use has no references"}
	}
	return uint64(n), full, nil
}

// applyRefs enters the pending references into the extent tree.
func (fs *FS) applyRefs() error {
	all := fs.refs
	fs.refs = make(map[extentID]*refChange)
	ids := make([]extentID, 0, len(all))
	for id := range all {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b extentID) int { return cmp.Or(cmp.Compare(a.addr, b.addr), cmp.Compare(a.level, b.level)) })
	for _, id := range ids {
		if err := fs.applyRef(id, all[id]); err != nil {
			return err
		}
	}
	return nil
}

func (fs *FS) applyRef(id extentID, c *refChange) error {
	if len(c.delta) == 0 && !c.full {
		if b := fs.dirty[id.addr]; id.level >= 0 && b != nil {
			return nil
		}
	}
	t, err := fs.treeOf(treeExtent)
	if err != nil {
		return err
	}
	rec, err := fs.extentOf(id)
	if err != nil {
		return err
	}
	gone := make(map[ref]bool)
	for r, d := range c.delta {
		where := rec.inline
		if _, ok := rec.keyed[r]; ok {
			where = rec.keyed
		}
		n := where[r] + d
		if n < 0 {
			return &image.CorruptError{What: "extent tree", Pblk: fs.pblk(id.addr), Why: "lacks a reference that a tree has"}
		}
		if where[r] = n; n == 0 {
			delete(where, r)
			gone[r] = true
		}
		rec.refs = uint64(int64(rec.refs) + int64(d))
	}
	if rec.refs == 0 {
		return fs.dropExtent(t, id, rec, gone)
	}
	return fs.storeExtent(t, id, rec, c, gone)
}

// dropExtent frees an extent that nothing refers to any more.
func (fs *FS) dropExtent(t *tree, id extentID, rec *extentRec, gone map[ref]bool) error {
	if rec.k.kind != 0 {
		if err := fs.removeKeyed(t, rec, gone); err != nil {
			return err
		}
		if err := fs.remove(t, rec.k); err != nil {
			return err
		}
	}
	if id.level < 0 {
		for at := id.addr; at < id.addr+id.len && len(fs.data) > 0; at += uint64(fs.ss) {
			delete(fs.data, at)
		}
		if err := fs.dropSums(id.addr, id.len); err != nil {
			return err
		}
	}
	return fs.free(id.addr, id.len)
}

// removeKeyed takes the items of references away that are no more.
func (fs *FS) removeKeyed(t *tree, rec *extentRec, gone map[ref]bool) error {
	for _, r := range slices.SortedFunc(maps.Keys(gone), ref.order) {
		k, ok := rec.at[r]
		if !ok {
			continue
		}
		if err := fs.remove(t, k); err != nil {
			return err
		}
		delete(rec.at, r)
		delete(rec.taken, k)
	}
	return nil
}

// storeExtent writes the item of an extent with as many references inside as the
// kernel puts there, and the others behind it.
func (fs *FS) storeExtent(t *tree, id extentID, rec *extentRec, c *refChange, gone map[ref]bool) error {
	if rec.k.kind == 0 {
		rec.gen, rec.flags = fs.gen, extentData
		rec.k = key{id.addr, keyExtent, id.len}
		if id.level >= 0 {
			rec.flags = extentTree
			if fs.sb.has(incompatSkinny) {
				rec.k = key{id.addr, keyMetadata, uint64(id.level)}
			} else {
				rec.info = make([]byte, treeInfoLen)
				rec.info[keySize] = byte(id.level)
			}
		}
	} else if err := fs.removeKeyed(t, rec, gone); err != nil {
		return err
	}
	if c.full {
		rec.flags |= extentFull
	}
	if b := fs.dirty[id.addr]; b != nil && rec.info != nil && b.items() > 0 {
		b.key(0).put(rec.info)
	}
	list := slices.SortedFunc(maps.Keys(rec.inline), ref.order)
	b := make([]byte, extentItemLen, 64)
	le.PutUint64(b, rec.refs)
	le.PutUint64(b[offRefGen:], rec.gen)
	le.PutUint64(b[offRefFlags:], rec.flags)
	b = append(b, rec.info...)
	limit := (fs.ns-headerSize)/16 - itemSize
	for _, r := range list {
		if len(b)+r.inlineSize() > limit {
			rec.keyed[r] = rec.inline[r]
			continue
		}
		b = r.appendInline(b, rec.inline[r])
	}
	if err := fs.set(t, rec.k, b); err != nil {
		return err
	}
	for _, r := range slices.SortedFunc(maps.Keys(rec.keyed), ref.order) {
		if _, changed := c.delta[r]; !changed && rec.inline[r] == 0 {
			continue
		}
		_, body := r.keyed(id.addr, rec.keyed[r])
		if err := fs.set(t, rec.keyFor(r, id.addr), body); err != nil {
			return err
		}
	}
	return nil
}
