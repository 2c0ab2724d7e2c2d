package btrfs

import (
	"cmp"
	"fmt"
	"slices"

	"fsenc/internal/image"
)

// The sizes of new chunks: a tenth of the device, within these bounds, and the
// smaller ones where there is no room for that.
const (
	maxChunk = 64 << 20
	minChunk = 8 << 20
)

// devExtentSize is the size of struct btrfs_dev_extent, in bytes.
const devExtentSize = 48

// like is the last group of a kind, nil if there is none.
func (fs *FS) like(kind uint64) *group {
	for _, g := range slices.Backward(fs.groups) {
		if g.kind&kind != 0 {
			return g
		}
	}
	return nil
}

// copiesOf is how many copies a new chunk like that of a group has. RAID0 has one
// here, on the only device.
func (fs *FS) copiesOf(like *group) (int, error) {
	switch {
	case like == nil || like.kind&groupSystem != 0 || like.kind&^(groupKinds|profDup|profRAID0) != 0:
		return 0, fmt.Errorf("%w: no chunk of this profile can be added: add room with a kernel", image.ErrNoSpace)
	case like.kind&profDup != 0:
		return 2, nil
	}
	return 1, nil
}

// addGroup makes a chunk and its block group for a kind that has no room for n
// bytes, with the profile that groups of the kind have.
func (fs *FS) addGroup(kind, n uint64) error {
	if fs.adding {
		return fmt.Errorf("%w: no room for what describes a chunk", image.ErrNoSpace)
	}
	like := fs.like(kind)
	copies, err := fs.copiesOf(like)
	if err != nil {
		return err
	}
	if kind != groupMetadata {
		if err := fs.reserve(); err != nil {
			return err
		}
	}
	fs.adding = true
	defer func() { fs.adding = false }()
	for _, size := range fs.chunkSizes(n) {
		places, err := fs.deviceRoom(size, copies)
		if err != nil {
			return err
		}
		if places != nil {
			return fs.addChunkAt(like, size, places)
		}
	}
	return fmt.Errorf("%w: no room for %d bytes", image.ErrNoSpace, n)
}

// chunkSizes are tried for a new chunk of at least n bytes, largest first.
func (fs *FS) chunkSizes(n uint64) []uint64 {
	var out []uint64
	limit := max(minChunk, fs.sb.u64(offTotalBytes)/10)
	for size := uint64(maxChunk); size >= minChunk; size /= 2 {
		if size <= limit && size >= n {
			out = append(out, size)
		}
	}
	if len(out) == 0 {
		out = append(out, (n+minChunk-1)/minChunk*minChunk)
	}
	return out
}

// deviceRoom finds pieces of the device that no chunk has, nil if there are not
// as many.
func (fs *FS) deviceRoom(size uint64, copies int) ([]uint64, error) {
	holes, err := fs.deviceHoles()
	var places []uint64
	for _, h := range holes {
		at := (h.start + stripeLen - 1) / stripeLen * stripeLen
		for ; at+size <= h.end() && len(places) < copies; at += size {
			places = append(places, at)
		}
	}
	if len(places) < copies {
		return nil, err
	}
	return places, err
}

// deviceHoles lists what of the device no chunk has, the first MiB left out.
func (fs *FS) deviceHoles() ([]span, error) {
	t, err := fs.treeOf(treeDev)
	if err != nil {
		return nil, err
	}
	var used []span
	err = fs.eachOf(t, le.Uint64(fs.sb.devItem()), keyDevExtent, func(off uint64, b []byte) error {
		if len(b) != devExtentSize {
			return fs.itemError(t, key{le.Uint64(fs.sb.devItem()), keyDevExtent, off}, "%d bytes", len(b))
		}
		used = append(used, span{off, le.Uint64(b[24:])})
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(used, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	var holes []span
	at := uint64(firstMegabyte)
	total := min(le.Uint64(fs.sb.devItem()[offDevTotal:]), uint64(fs.s.Size()))
	for _, u := range append(used, span{total, 0}) {
		if u.start > at {
			holes = append(holes, span{at, u.start - at})
		}
		at = max(at, u.end())
	}
	return holes, nil
}

// addChunkAt makes the chunk, all that describes it, and its group.
func (fs *FS) addChunkAt(like *group, size uint64, places []uint64) error {
	last := fs.chunks[len(fs.chunks)-1]
	start := last.start + last.len
	dev := fs.sb.devItem()
	item := make([]byte, chunkHeader+len(places)*stripeSize)
	le.PutUint64(item[offChunkLen:], size)
	le.PutUint64(item[offChunkOwner:], treeExtent)
	le.PutUint64(item[offChunkStripe:], stripeLen)
	le.PutUint64(item[offChunkType:], like.kind)
	le.PutUint32(item[offChunkIOAlign:], stripeLen)
	le.PutUint32(item[offChunkIOAlign+4:], stripeLen)
	le.PutUint32(item[offChunkIOAlign+8:], uint32(fs.ss))
	le.PutUint16(item[offChunkStripes:], uint16(len(places)))
	le.PutUint16(item[offChunkSub:], 1)
	uuid, err := fs.chunkUUID()
	if err != nil {
		return err
	}
	for i, at := range places {
		copy(item[chunkHeader+i*stripeSize:], fs.stripe(at))
	}
	c, err := fs.parseChunk(start, item)
	if err == nil {
		err = fs.addChunk(c)
	}
	if err != nil {
		return err
	}
	// What describes the chunk may lie in it.
	g := &group{span: span{start, size}, kind: like.kind, free: []span{{start, size}}, changed: true}
	fs.countFree(g)
	fs.groups = append(fs.groups, g)
	if err := fs.enterExtents(c, uuid); err != nil {
		return err
	}
	chunkTree := fs.trees[treeChunk]
	if err := fs.insert(chunkTree, key{firstFree, keyChunk, start}, item); err != nil {
		return err
	}
	le.PutUint64(dev[offDevUsed:], le.Uint64(dev[offDevUsed:])+size*uint64(len(places)))
	if err := fs.replace(chunkTree, key{1, keyDev, le.Uint64(dev)}, dev); err != nil {
		return err
	}
	return fs.enterGroup(g)
}

// stripe is the part of a chunk item that tells where a copy lies.
func (fs *FS) stripe(at uint64) []byte {
	s := make([]byte, stripeSize)
	dev := fs.sb.devItem()
	le.PutUint64(s, le.Uint64(dev))
	le.PutUint64(s[8:], at)
	copy(s[16:], dev[offDevUUID:][:16])
	return s
}

// enterExtents adds the items that say which chunk has a part of the device.
func (fs *FS) enterExtents(c *chunk, uuid []byte) error {
	t, err := fs.treeOf(treeDev)
	if err != nil {
		return err
	}
	for _, at := range c.stripes {
		ext := make([]byte, devExtentSize)
		le.PutUint64(ext, treeChunk)
		le.PutUint64(ext[8:], firstFree)
		le.PutUint64(ext[16:], c.start)
		le.PutUint64(ext[24:], c.len)
		copy(ext[32:], uuid)
		if err := fs.insert(t, key{le.Uint64(fs.sb.devItem()), keyDevExtent, at}, ext); err != nil {
			return err
		}
	}
	return nil
}

// enterGroup adds the items of a group that is all free.
func (fs *FS) enterGroup(g *group) error {
	t, err := fs.groupTree()
	if err != nil {
		return err
	}
	item := make([]byte, groupItemSize)
	le.PutUint64(item[offGroupChunk:], firstFree)
	le.PutUint64(item[offGroupFlags:], g.kind)
	if err := fs.insert(t, key{g.start, keyBlockGroup, g.len}, item); err != nil {
		return err
	}
	if !fs.sb.hasRO(roFreeSpace) {
		return nil
	}
	if t, err = fs.treeOf(treeFreeSpace); err != nil {
		return err
	}
	info := make([]byte, freeInfoSize)
	le.PutUint32(info[offFreeCount:], 1)
	if err := fs.insert(t, key{g.start, keyFreeInfo, g.len}, info); err != nil {
		return err
	}
	return fs.insert(t, key{g.start, keyFreeExtent, g.len}, nil)
}
