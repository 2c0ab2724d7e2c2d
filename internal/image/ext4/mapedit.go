package ext4

import (
	"fsenc/internal/image"
)

// initMapping gives in an empty mapping of the kind that the filesystem uses
// for new files. It frees nothing.
func (fs *FS) initMapping(in *inode) {
	clear(in.raw.iblock())
	if !fs.sb.hasIncompat(incompatExtents) {
		in.raw.setFlags(in.raw.flags() &^ flExtents)
		return
	}
	in.raw.setFlags(in.raw.flags() | flExtents)
	extentNode(in.raw.iblock()).format(extentRootMax, 0)
}

// appendBlocks grows the mapping of in by n blocks behind the last mapped one
// and returns them in order. It charges them; the caller writes their
// contents and puts the inode.
func (fs *FS) appendBlocks(in *inode, n uint64) ([]image.Pblk, error) {
	m, err := fs.walkMap(in, 0, maxLblk)
	if err != nil {
		return nil, err
	}
	if uint64(m.next)+n > maxLblk {
		return nil, image.ErrNoSpace
	}
	// Asked before anything is reserved for a count that cannot be met.
	if free := fs.sb.freeBlocks(); n > free+fs.geo.ratio {
		return nil, image.ErrNoSpace
	}
	added := make([]image.Pblk, 0, n)
	clusters := int64(0)
	goal := fs.goal(in, m.exts)
	for l := m.next; uint64(len(added)) < n; l++ {
		// Behind a block that is not the last of its cluster, the rest of the
		// cluster already belongs to the file.
		p := goal
		if uint64(l)%fs.geo.ratio == 0 {
			if p, err = fs.allocCluster(goal); err != nil {
				return nil, err
			}
			clusters++
		}
		added = append(added, p)
		m.exts = appendExtent(m.exts, image.Extent{Lblk: l, Pblk: p, Len: 1})
		goal = p + 1
	}
	if err := fs.setMapping(in, m.exts, m.tree); err != nil {
		return nil, err
	}
	return added, fs.charge(in, clusters)
}

// goal is the block that would be best for the next block of a file: the one
// behind its last block, or the first of the inode's group.
func (fs *FS) goal(in *inode, exts []image.Extent) image.Pblk {
	if n := len(exts); n > 0 {
		return exts[n-1].Pblk + image.Pblk(exts[n-1].Len)
	}
	n, _ := fs.inodeGroup(in.ino)
	return image.Pblk(fs.geo.firstBlock(n))
}

// truncateBlocks frees the blocks of in from block from on, and credits them.
// It does not touch i_size and does not clear what it frees.
func (fs *FS) truncateBlocks(in *inode, from image.Lblk) error {
	m, err := fs.walkMap(in, 0, maxLblk)
	if err != nil {
		return err
	}
	var keep, drop []image.Extent
	for _, x := range m.exts {
		switch {
		case x.Lblk+image.Lblk(x.Len) <= from:
			keep = append(keep, x)
		case x.Lblk >= from:
			drop = append(drop, x)
		default:
			n := image.Pblk(from - x.Lblk)
			keep = append(keep, image.Extent{Lblk: x.Lblk, Pblk: x.Pblk, Len: uint64(n), Unwritten: x.Unwritten})
			drop = append(drop, image.Extent{Lblk: from, Pblk: x.Pblk + n, Len: x.Len - uint64(n)})
		}
	}
	if len(drop) == 0 {
		return nil
	}
	freed, err := fs.freeExtents(keep, drop)
	if err != nil {
		return err
	}
	if err := fs.setMapping(in, keep, m.tree); err != nil {
		return err
	}
	return fs.charge(in, -freed)
}

// freeExtents frees the clusters of drop that no extent of keep, all of which
// come before it, has a part of. It returns their number.
func (fs *FS) freeExtents(keep, drop []image.Extent) (freed int64, err error) {
	ratio := fs.geo.ratio
	next := uint64(0) // the first logical cluster that may be freed
	if n := len(keep); n > 0 {
		next = (uint64(keep[n-1].Lblk)+keep[n-1].Len-1)/ratio + 1
	}
	for _, x := range drop {
		first := max(next, uint64(x.Lblk)/ratio)
		end := (uint64(x.Lblk) + x.Len + ratio - 1) / ratio
		base := uint64(x.Pblk) - uint64(x.Lblk)%ratio // of the cluster that x starts in
		for c := first; c < end; c++ {
			p := base + (c-uint64(x.Lblk)/ratio)*ratio
			if err := fs.freeCluster(image.Pblk(p)); err != nil {
				return freed, err
			}
			freed++
		}
		next = max(next, end)
	}
	return freed, nil
}

// setMapping writes exts as the mapping of in, in the kind that it has. tree
// are the blocks that the old mapping was written in: they are used again, and
// freed or credited as the new one needs fewer or more.
func (fs *FS) setMapping(in *inode, exts []image.Extent, tree []image.Pblk) error {
	pool := &treePool{fs: fs, old: tree, goal: fs.goal(in, exts)}
	set := fs.setBlockMap
	if in.raw.hasFlag(flExtents) {
		set = fs.setExtentTree
	}
	if err := set(in, exts, pool); err != nil {
		return err
	}
	change, err := pool.finish()
	if err != nil {
		return err
	}
	return fs.charge(in, change)
}

// treePool hands out the blocks that a mapping is written in, those of the
// old mapping first.
type treePool struct {
	fs    *FS
	old   []image.Pblk
	goal  image.Pblk
	taken int64 // clusters allocated
}

func (t *treePool) take() (image.Pblk, error) {
	if len(t.old) > 0 {
		p := t.old[0]
		t.old = t.old[1:]
		return p, nil
	}
	p, err := t.fs.allocCluster(t.goal)
	if err != nil {
		return 0, err
	}
	t.goal = p + 1
	t.taken++
	return p, nil
}

// finish frees what is left over and returns the change in clusters.
func (t *treePool) finish() (int64, error) {
	for _, p := range t.old {
		if err := t.fs.freeCluster(p); err != nil {
			return 0, err
		}
		t.taken--
	}
	return t.taken, nil
}

// setExtentTree writes exts as a tree whose nodes are all full but the last of
// each level, so that no checker finds it deeper or wider than it need be.
func (fs *FS) setExtentTree(in *inode, exts []image.Extent, pool *treePool) error {
	entries := splitExtents(exts)
	root := extentNode(in.raw.iblock())
	if len(entries) <= extentRootMax {
		root.format(extentRootMax, 0)
		for _, x := range entries {
			root.addExtent(x)
		}
		return nil
	}
	level, err := fs.writeLevel(in, entries, 0, pool)
	if err != nil {
		return err
	}
	depth := 1
	for ; len(level) > extentRootMax; depth++ {
		if level, err = fs.writeLevel(in, level, depth, pool); err != nil {
			return err
		}
	}
	root.format(extentRootMax, depth)
	for _, x := range level {
		root.addIndex(x.Lblk, x.Pblk)
	}
	return nil
}

// writeLevel writes entries, extents at depth 0 and otherwise children given
// by their first block and place, as nodes of that depth. It returns the nodes
// in the same form.
func (fs *FS) writeLevel(in *inode, entries []image.Extent, depth int, pool *treePool) ([]image.Extent, error) {
	limit, seed := fs.extentBlockMax(), fs.inodeSeed(in)
	var nodes []image.Extent
	node := make(extentNode, fs.bs)
	for len(entries) > 0 {
		at, err := pool.take()
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, image.Extent{Lblk: entries[0].Lblk, Pblk: at})
		node.format(limit, depth)
		n := min(limit, len(entries))
		for _, x := range entries[:n] {
			if depth == 0 {
				node.addExtent(x)
			} else {
				node.addIndex(x.Lblk, x.Pblk)
			}
		}
		entries = entries[n:]
		if fs.hasCsum {
			c, off := fs.extentChecksum(seed, node)
			le.PutUint32(node[off:], c)
		}
		if err := fs.writeBlock(at, node); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// splitExtents cuts extents into pieces that one entry can say.
func splitExtents(exts []image.Extent) []image.Extent {
	var entries []image.Extent
	for _, x := range exts {
		limit := uint64(maxWrittenLen)
		if x.Unwritten {
			limit = maxUnwrittenLen
		}
		for x.Len > 0 {
			e := x
			e.Len = min(x.Len, limit)
			entries = append(entries, e)
			x.Lblk, x.Pblk, x.Len = x.Lblk+image.Lblk(e.Len), x.Pblk+image.Pblk(e.Len), x.Len-e.Len
		}
	}
	return entries
}
