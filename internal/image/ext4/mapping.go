package ext4

import (
	"slices"

	"fsenc/internal/image"
)

// mapWalk collects the mapping of one inode inside a window of its blocks.
type mapWalk struct {
	fs       *FS
	in       *inode
	from, to image.Lblk // the window, both inclusive

	exts   []image.Extent // in order, merged
	next   image.Lblk     // the lowest block that may come next
	mapped uint64         // blocks so far
	tree   []image.Pblk   // extent or indirect blocks, parents first
	seen   map[image.Pblk]bool
}

// add takes the next extent of the mapping.
func (m *mapWalk) add(x image.Extent) error {
	fs := m.fs
	if !fs.validBlock(x.Pblk) || x.Len > fs.geo.blocks-uint64(x.Pblk) {
		return fs.corrupt("mapping", m.in.ino, x.Pblk, "%d blocks, outside the filesystem", x.Len)
	}
	if fs.geo.ratio > 1 && uint64(x.Lblk)%fs.geo.ratio != uint64(x.Pblk)%fs.geo.ratio {
		return fs.corrupt("mapping", m.in.ino, x.Pblk, "block %d of the file is not aligned to its cluster", x.Lblk)
	}
	m.next = x.Lblk + image.Lblk(x.Len)
	if m.next <= m.from || x.Lblk > m.to {
		return nil
	}
	// No block is used twice, so a file cannot have more than there are. This
	// bounds the list by the size of the image.
	if m.mapped += x.Len; m.mapped > fs.geo.blocks {
		return fs.corrupt("mapping", m.in.ino, x.Pblk, "more blocks than the filesystem has")
	}
	m.exts = appendExtent(m.exts, x)
	return nil
}

// appendExtent adds x behind exts, as part of the last one where it continues it.
func appendExtent(exts []image.Extent, x image.Extent) []image.Extent {
	if n := len(exts); n > 0 {
		last := &exts[n-1]
		if last.Lblk+image.Lblk(last.Len) == x.Lblk && last.Pblk+image.Pblk(last.Len) == x.Pblk &&
			last.Unwritten == x.Unwritten {
			last.Len += x.Len
			return exts
		}
	}
	return append(exts, x)
}

// walkMap reads the mapping of in from block from up to and including block to.
func (fs *FS) walkMap(in *inode, from, to image.Lblk) (*mapWalk, error) {
	m := &mapWalk{fs: fs, in: in, from: from, to: to}
	if in.raw.hasFlag(flInlineData) {
		return m, nil
	}
	if err := m.walk(); err != nil {
		return nil, err
	}
	if fs.write && in.ino != inoResize {
		// What is edited must be what it seems: a block that the bitmap calls
		// free, or that holds metadata, would be overwritten. Only the resize
		// inode maps metadata, the blocks kept for more descriptors.
		if err := fs.checkOwned(m); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// walk reads the mapping. What came before an error is kept.
func (m *mapWalk) walk() error {
	if m.in.raw.hasFlag(flExtents) {
		return m.extentTree()
	}
	return m.blockMap()
}

// checkOwned verifies that the blocks of a mapping are marked used and are not
// metadata of the filesystem.
func (fs *FS) checkOwned(m *mapWalk) error {
	for _, p := range m.tree {
		if err := fs.checkUsed(m.in.ino, p, 1); err != nil {
			return err
		}
	}
	for _, x := range m.exts {
		if err := fs.checkUsed(m.in.ino, x.Pblk, x.Len); err != nil {
			return err
		}
	}
	return nil
}

// mapping returns all extents of in, sorted and merged. It is empty for inline
// data. Fast symlinks and device nodes have no mapping to ask for.
func (fs *FS) mapping(in *inode) ([]image.Extent, error) {
	m, err := fs.walkMap(in, 0, maxLblk)
	if err != nil {
		return nil, err
	}
	return m.exts, nil
}

// blockAt returns where block l of in lies; unwritten blocks count as mapped.
func (fs *FS) blockAt(in *inode, l image.Lblk) (image.Pblk, bool, error) {
	m, err := fs.walkMap(in, l, l)
	if err != nil {
		return 0, false, err
	}
	for _, x := range m.exts {
		if l >= x.Lblk && l < x.Lblk+image.Lblk(x.Len) {
			return x.Pblk + image.Pblk(l-x.Lblk), true, nil
		}
	}
	return 0, false, nil
}

// hasMapping reports whether i_block of in is a mapping.
func (fs *FS) hasMapping(in *inode) bool {
	t := in.raw.fileType()
	return (t == image.TypeRegular || t == image.TypeDirectory) && !in.raw.hasFlag(flInlineData)
}

// Extents returns the mapping of a regular file or directory in ascending
// order, nil for inline contents and for other types.
func (fs *FS) Extents(ino image.Ino) ([]image.Extent, error) {
	in, err := fs.look(ino)
	if err != nil || !fs.hasMapping(in) {
		return nil, err
	}
	return fs.mapping(in)
}

// DataExtents returns the part of a regular file's mapping that is encrypted
// with it: its written blocks. A verity file keeps its Merkle tree behind the
// end of file. In other files a block there is what a crash left of a write;
// nothing reads it, but it may hold the same secrets.
func (fs *FS) DataExtents(ino image.Ino) ([]image.Extent, error) {
	in, err := fs.inode(ino)
	if err != nil || !fs.hasMapping(in) || in.raw.fileType() != image.TypeRegular {
		return nil, err
	}
	exts, err := fs.mapping(in)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(exts, func(x image.Extent) bool { return x.Unwritten }), nil
}
