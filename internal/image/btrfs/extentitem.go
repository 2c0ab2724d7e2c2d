package btrfs

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
