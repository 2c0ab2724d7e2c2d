package ext4

import (
	"cmp"
	"slices"

	"fsenc/internal/image"
)

// clusterSlack returns, in ascending order, the runs of blocks that lie in
// clusters of files, directories and symlinks but that nothing maps: with
// bigalloc a file that shrinks, or has holes, keeps whole clusters. No cluster
// belongs to two inodes, but for shared attribute blocks, which have theirs
// for themselves.
func (fs *FS) clusterSlack() ([]byteRange, error) {
	if fs.geo.ratio == 1 {
		return nil, nil
	}
	var slack []byteRange
	err := fs.Inodes(func(a image.Attr, err error) error {
		if err != nil || a.Reserved && a.Ino != fs.Root() {
			return err
		}
		own, err := fs.ownBlocks(a.Ino)
		if err == nil {
			slack = fs.appendSlack(slack, own)
		}
		return err
	})
	slices.SortFunc(slack, func(a, b byteRange) int { return cmp.Compare(a.off, b.off) })
	return slices.Compact(slack), err
}

// ownBlocks returns all blocks of an inode: contents, mapping, attributes.
func (fs *FS) ownBlocks(ino image.Ino) ([]image.Extent, error) {
	in, err := fs.inode(ino)
	if err != nil {
		return nil, err
	}
	var own []image.Extent
	if p := in.raw.fileACL(); p != 0 {
		own = append(own, image.Extent{Pblk: p, Len: 1})
	}
	slowLink := in.raw.fileType() == image.TypeSymlink && in.raw.hasFlag(flExtents)
	if !fs.hasMapping(in) && !slowLink {
		return own, nil
	}
	m, err := fs.walkMap(in, 0, maxLblk)
	if err != nil {
		return nil, err
	}
	for _, p := range m.tree {
		own = append(own, image.Extent{Pblk: p, Len: 1})
	}
	return append(own, m.exts...), nil
}

// appendSlack adds the blocks of own's clusters that are not in own.
func (fs *FS) appendSlack(slack []byteRange, own []image.Extent) []byteRange {
	slices.SortFunc(own, func(a, b image.Extent) int { return cmp.Compare(a.Pblk, b.Pblk) })
	add := func(from, to uint64) {
		to = min(to, fs.geo.blocks)
		if from < to {
			slack = append(slack, byteRange{int64(from) * int64(fs.bs), int64(to-from) * int64(fs.bs)})
		}
	}
	ratio := fs.geo.ratio // groups begin at a multiple of it: bigalloc has no first data block
	for i, x := range own {
		from, to := uint64(x.Pblk), uint64(x.Pblk)+x.Len
		start, end := from/ratio*ratio, (to+ratio-1)/ratio*ratio
		if i > 0 {
			start = max(start, uint64(own[i-1].Pblk)+own[i-1].Len)
		}
		add(start, from)
		if i == len(own)-1 || uint64(own[i+1].Pblk) >= end {
			add(to, end)
		}
	}
	return slack
}
