package btrfs

import (
	"cmp"
	"maps"
	"slices"

	"fsenc/internal/image"
)

// Fields of struct btrfs_extent_item; references follow.
const (
	offRefs       = 0  // le64: sum of all counts
	offRefGen     = 8  // le64
	offRefFlags   = 16 // le64
	extentItemLen = 24
	treeInfoLen   = 18 // key and level of a tree block without skinny metadata

	extentData = 1
	extentTree = 2
	extentFull = 0x100 // FULL_BACKREF: references of children are by parent
)

// extentID names an extent: a tree block of a level, or data (level -1).
type extentID struct {
	addr, len uint64
	level     int
}

func (fs *FS) blockID(b *block) extentID { return extentID{b.addr, uint64(fs.ns), b.level()} }

func dataID(e *fileExtent) extentID { return extentID{e.disk, e.diskLen, -1} }

// ref is a reference to an extent: from a tree, from a block by its address, or
// of data from a file in a tree.
type ref struct {
	kind     uint8
	root     uint64
	parent   uint64
	obj, off uint64 // of a file, with the place where the extent would begin in it
}

func dataRef(root, obj uint64, e *fileExtent) ref {
	return ref{kind: keyDataRef, root: root, obj: obj, off: e.off - e.skip}
}

// hash is the offset of the item of a data reference, and its order.
func (r ref) hash() uint64 {
	var b [16]byte
	le.PutUint64(b[:], r.root)
	high := rawCRC(^uint32(0), b[:8])
	le.PutUint64(b[:], r.obj)
	le.PutUint64(b[8:], r.off)
	return uint64(high)<<31 ^ uint64(rawCRC(^uint32(0), b[:]))
}

// order is how inline references are sorted: by type, then descending.
func (r ref) order(o ref) int {
	rank := func(r ref) uint64 {
		switch r.kind {
		case keyDataRef:
			return r.hash()
		case keyTreeRef:
			return r.root
		}
		return r.parent
	}
	return cmp.Or(cmp.Compare(r.kind, o.kind), cmp.Compare(rank(o), rank(r)))
}

// inlineSize is the room of an inline reference.
func (r ref) inlineSize() int {
	switch r.kind {
	case keyDataRef:
		return 29
	case keySharedData:
		return 13
	}
	return 9
}

// keyed is the item of a reference that is not inline, and its body.
func (r ref) keyed(addr uint64, count int) (key, []byte) {
	switch r.kind {
	case keyDataRef:
		b := make([]byte, 28)
		r.putData(b, count)
		return key{addr, r.kind, r.hash()}, b
	case keySharedData:
		return key{addr, r.kind, r.parent}, le.AppendUint32(nil, uint32(count))
	case keyTreeRef:
		return key{addr, r.kind, r.root}, nil
	}
	return key{addr, r.kind, r.parent}, nil
}

func (r ref) putData(b []byte, count int) {
	le.PutUint64(b, r.root)
	le.PutUint64(b[8:], r.obj)
	le.PutUint64(b[16:], r.off)
	le.PutUint32(b[24:], uint32(count))
}

// refChange is what is pending for an extent.
type refChange struct {
	delta map[ref]int
	full  bool // FULL_BACKREF is to be set
}

func (fs *FS) change(id extentID) *refChange {
	c := fs.refs[id]
	if c == nil {
		c = &refChange{delta: make(map[ref]int)}
		fs.refs[id] = c
	}
	return c
}

func (fs *FS) addRef(id extentID, r ref, n int) {
	d := fs.change(id).delta
	if d[r] += n; d[r] == 0 {
		delete(d, r)
	}
}

// extentRec is what the extent tree has of an extent.
type extentRec struct {
	k      key // of its item, kind 0 if there is none
	gen    uint64
	flags  uint64
	info   []byte // of a tree block without skinny metadata
	inline map[ref]int
	keyed  map[ref]int
	at     map[ref]key // the items of those that are keyed
	taken  map[key]bool
	refs   uint64
}

// keyFor is the item that a reference has, or gets: behind others that have its
// hash.
func (rec *extentRec) keyFor(r ref, addr uint64) key {
	if k, ok := rec.at[r]; ok {
		return k
	}
	k, _ := r.keyed(addr, 0)
	for rec.taken[k] {
		k.off++
	}
	rec.at[r], rec.taken[k] = k, true
	return k
}

// extent reads what the extent tree has of an extent, references that are items
// of their own included.
func (fs *FS) extentOf(id extentID) (*extentRec, error) {
	t, err := fs.treeOf(treeExtent)
	if err != nil {
		return nil, err
	}
	rec := &extentRec{inline: make(map[ref]int), keyed: make(map[ref]int), at: make(map[ref]key), taken: make(map[key]bool)}
	keys := []key{{id.addr, keyExtent, id.len}}
	if id.level >= 0 {
		keys = []key{{id.addr, keyMetadata, uint64(id.level)}, {id.addr, keyExtent, id.len}}
	}
	for _, k := range keys {
		b, err := fs.item(t, k)
		if err != nil {
			return nil, err
		}
		if b != nil {
			rec.k = k
			if err := fs.parseRefs(t, rec, id, b); err != nil {
				return nil, err
			}
			break
		}
	}
	if rec.k.kind == 0 {
		return rec, nil
	}
	err = fs.each(t, rec.k.next(), func(k key, b []byte) (bool, error) {
		if k.obj != id.addr {
			return false, nil
		}
		r, n, err := fs.parseKeyed(t, k, b)
		if err == nil && n > 0 {
			rec.keyed[r], rec.at[r], rec.taken[k] = n, k, true
		}
		return true, err
	})
	sum := uint64(0)
	for _, refs := range []map[ref]int{rec.inline, rec.keyed} {
		for _, n := range refs {
			sum += uint64(n)
		}
	}
	if err == nil && sum != rec.refs {
		err = fs.itemError(t, rec.k, "counts %d references, has %d", rec.refs, sum)
	}
	return rec, err
}

// parseRefs reads an extent item with its inline references.
func (fs *FS) parseRefs(t *tree, rec *extentRec, id extentID, b []byte) error {
	bad := func(format string, a ...any) error { return fs.itemError(t, rec.k, format, a...) }
	if len(b) < extentItemLen {
		return bad("%d bytes", len(b))
	}
	rec.refs, rec.gen, rec.flags = le.Uint64(b), le.Uint64(b[offRefGen:]), le.Uint64(b[offRefFlags:])
	if isTree := rec.flags&extentTree != 0; isTree != (id.level >= 0) {
		return bad("flags %#x", rec.flags)
	}
	b = b[extentItemLen:]
	if id.level >= 0 && rec.k.kind == keyExtent {
		if len(b) < treeInfoLen {
			return bad("no key of a tree block")
		}
		rec.info, b = append([]byte{}, b[:treeInfoLen]...), b[treeInfoLen:]
	}
	for len(b) > 0 {
		r, n := ref{kind: b[0]}, 1
		size := r.inlineSize()
		if len(b) < size {
			return bad("reference of type %d in %d bytes", r.kind, len(b))
		}
		switch r.kind {
		case keyTreeRef:
			r.root = le.Uint64(b[1:])
		case keySharedBlock:
			r.parent = le.Uint64(b[1:])
		case keySharedData:
			r.parent, n = le.Uint64(b[1:]), int(le.Uint32(b[9:]))
		case keyDataRef:
			r.root, r.obj, r.off, n = le.Uint64(b[1:]), le.Uint64(b[9:]), le.Uint64(b[17:]), int(le.Uint32(b[25:]))
		default:
			return bad("reference of type %d", r.kind)
		}
		rec.inline[r] += n
		b = b[size:]
	}
	return nil
}

// parseKeyed reads a reference that is an item; n is 0 for other items.
func (fs *FS) parseKeyed(t *tree, k key, b []byte) (r ref, n int, err error) {
	r = ref{kind: k.kind}
	switch {
	case k.kind == keyTreeRef:
		r.root, n = k.off, 1
	case k.kind == keySharedBlock:
		r.parent, n = k.off, 1
	case k.kind == keySharedData && len(b) == 4:
		r.parent, n = k.off, int(le.Uint32(b))
	case k.kind == keyDataRef && len(b) == 28:
		r.root, r.obj, r.off, n = le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:]), int(le.Uint32(b[24:]))
	case k.kind == keySharedData || k.kind == keyDataRef:
		return r, 0, fs.itemError(t, k, "%d bytes", len(b))
	}
	return r, n, nil
}

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

func (r ref) appendInline(b []byte, count int) []byte {
	b = append(b, r.kind)
	switch r.kind {
	case keyTreeRef:
		return le.AppendUint64(b, r.root)
	case keySharedBlock:
		return le.AppendUint64(b, r.parent)
	case keySharedData:
		return le.AppendUint32(le.AppendUint64(b, r.parent), uint32(count))
	}
	var d [28]byte
	r.putData(d[:], count)
	return append(b, d[:]...)
}
