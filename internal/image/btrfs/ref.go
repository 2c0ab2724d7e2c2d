package btrfs

import (
	"cmp"
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
