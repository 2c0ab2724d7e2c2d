package btrfs

import (
	"cmp"
	"fmt"
	"slices"

	"fsenc/internal/image"
)

// chunkSizes are tried for a new chunk, largest first.
var chunkSizes = []uint64{64 << 20, 32 << 20, 16 << 20, 8 << 20}

// Fields of struct btrfs_dev_extent.
const (
	devExtentSize = 48
)

// addGroup makes a chunk and its block group for a kind that has no room for n
// bytes, with the profile that groups of the kind have: single or DUP.
func (fs *FS) addGroup(kind, n uint64) error {
	var like *group
	for _, g := range fs.groups {
		if g.kind&kind != 0 {
			like = g
		}
	}
	if like == nil || kind == groupSystem || like.kind&^(groupKinds|profDup) != 0 {
		return fmt.Errorf("%w: no room for %d bytes, and no chunk of type %#x can be added here: add room with a kernel", image.ErrNoSpace, n, kind)
	}
	copies := 1
	if like.kind&profDup != 0 {
		copies = 2
	}
	for _, size := range chunkSizes {
		if size < n {
			break
		}
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
	id := le.Uint64(dev)

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
	devTree, err := fs.treeOf(treeDev)
	if err != nil {
		return err
	}
	for i, at := range places {
		s := item[chunkHeader+i*stripeSize:]
		le.PutUint64(s, id)
		le.PutUint64(s[8:], at)
		copy(s[16:32], dev[offDevUUID:])
		ext := make([]byte, devExtentSize)
		le.PutUint64(ext, treeChunk)
		le.PutUint64(ext[8:], firstFree)
		le.PutUint64(ext[16:], start)
		le.PutUint64(ext[24:], size)
		copy(ext[32:], uuid)
		if err := fs.insert(devTree, key{id, keyDevExtent, at}, ext); err != nil {
			return err
		}
	}
	c, err := fs.parseChunk(start, item)
	if err == nil {
		err = fs.addChunk(c)
	}
	if err != nil {
		return err
	}
	chunkTree := fs.trees[treeChunk]
	if err := fs.insert(chunkTree, key{firstFree, keyChunk, start}, item); err != nil {
		return err
	}
	le.PutUint64(dev[offDevUsed:], le.Uint64(dev[offDevUsed:])+size*uint64(len(places)))
	if err := fs.replace(chunkTree, key{1, keyDev, id}, dev); err != nil {
		return err
	}
	return fs.enterGroup(&group{span: span{start, size}, kind: like.kind, free: []span{{start, size}}})
}

// enterGroup adds the items of a group that is all free.
func (fs *FS) enterGroup(g *group) error {
	for _, s := range fs.shadows(g.start) {
		g.free = cutSpan(g.free, s)
	}
	fs.groups = append(fs.groups, g)
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
