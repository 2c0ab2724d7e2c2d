package ext4

import (
	"fsenc/internal/image"
)

// struct ext4_extent_header, ext4_extent and ext4_extent_idx.
const (
	offEhMagic   = 0 // le16 eh_magic
	offEhEntries = 2 // le16 eh_entries
	offEhMax     = 4 // le16 eh_max
	offEhDepth   = 6 // le16 eh_depth

	offEeBlock   = 0  // le32 ee_block
	offEeLen     = 4  // le16 ee_len
	offEeStartHi = 6  // le16 ee_start_hi
	offEeStartLo = 8  // le32 ee_start_lo
	offEiBlock   = 0  // le32 ei_block
	offEiLeafLo  = 4  // le32 ei_leaf_lo
	offEiLeafHi  = 8  // le16 ei_leaf_hi
	offEiUnused  = 10 // le16 ei_unused

	extentHeaderSize = 12
	extentEntrySize  = 12
	extentMagic      = 0xF30A
	extentRootMax    = (iblockSize - extentHeaderSize) / extentEntrySize
	extentMaxDepth   = 5

	// A length above maxWrittenLen stands for an unwritten extent that is
	// shorter by that number.
	maxWrittenLen   = 32768
	maxUnwrittenLen = 32767

	maxLblk = 1<<32 - 1 // the block number that no file has
)

// extentNode is a node of an extent tree: i_block, or a block. It is a view.
type extentNode []byte

func (n extentNode) magic() uint16   { return le.Uint16(n[offEhMagic:]) }
func (n extentNode) entries() uint16 { return le.Uint16(n[offEhEntries:]) }
func (n extentNode) max() uint16     { return le.Uint16(n[offEhMax:]) }
func (n extentNode) depth() uint16   { return le.Uint16(n[offEhDepth:]) }

// entry is slot i behind the header.
func (n extentNode) entry(i int) []byte {
	off := extentHeaderSize + i*extentEntrySize
	return n[off : off+extentEntrySize]
}

// format makes n an empty node.
func (n extentNode) format(max, depth int) {
	clear(n)
	le.PutUint16(n[offEhMagic:], extentMagic)
	le.PutUint16(n[offEhMax:], uint16(max))
	le.PutUint16(n[offEhDepth:], uint16(depth))
}

// addIndex appends an index entry.
func (n extentNode) addIndex(l image.Lblk, child image.Pblk) {
	e := n.entry(int(n.entries()))
	le.PutUint32(e[offEiBlock:], uint32(l))
	le.PutUint32(e[offEiLeafLo:], uint32(child))
	le.PutUint16(e[offEiLeafHi:], uint16(child>>32))
	le.PutUint16(e[offEiUnused:], 0)
	le.PutUint16(n[offEhEntries:], n.entries()+1)
}

// addExtent appends a leaf entry; x is no longer than one entry can say.
func (n extentNode) addExtent(x image.Extent) {
	e := n.entry(int(n.entries()))
	length := uint16(x.Len)
	if x.Unwritten {
		length += maxWrittenLen
	}
	le.PutUint32(e[offEeBlock:], uint32(x.Lblk))
	le.PutUint16(e[offEeLen:], length)
	le.PutUint16(e[offEeStartHi:], uint16(x.Pblk>>32))
	le.PutUint32(e[offEeStartLo:], uint32(x.Pblk))
	le.PutUint16(n[offEhEntries:], n.entries()+1)
}

func parseExtent(e []byte) image.Extent {
	x := image.Extent{
		Lblk: image.Lblk(le.Uint32(e[offEeBlock:])),
		Pblk: image.Pblk(le.Uint16(e[offEeStartHi:]))<<32 | image.Pblk(le.Uint32(e[offEeStartLo:])),
		Len:  uint64(le.Uint16(e[offEeLen:])),
	}
	if x.Len > maxWrittenLen {
		x.Len, x.Unwritten = x.Len-maxWrittenLen, true
	}
	return x
}

func parseIndex(e []byte) (image.Lblk, image.Pblk) {
	return image.Lblk(le.Uint32(e[offEiBlock:])),
		image.Pblk(le.Uint16(e[offEiLeafHi:]))<<32 | image.Pblk(le.Uint32(e[offEiLeafLo:]))
}

// extentBlockMax is the number of entries in a tree block.
func (fs *FS) extentBlockMax() int {
	return (fs.bs - extentHeaderSize) / extentEntrySize
}

// checkNode verifies the header of node n, which lies in block p or, if p is
// 0, in the inode, and a block's checksum.
func (fs *FS) checkNode(in *inode, n extentNode, p image.Pblk, depth uint16) error {
	limit := extentRootMax
	if p != 0 {
		limit = fs.extentBlockMax()
	}
	switch {
	case n.magic() != extentMagic:
		return fs.corrupt("extent header", in.ino, p, "magic %#x, want %#x", n.magic(), extentMagic)
	case n.depth() != depth || depth > extentMaxDepth:
		return fs.corrupt("extent header", in.ino, p, "depth %d", n.depth())
	case n.max() == 0 || int(n.max()) > limit || n.entries() > n.max():
		return fs.corrupt("extent header", in.ino, p, "%d entries of at most %d, want at most %d",
			n.entries(), n.max(), limit)
	case depth > 0 && n.entries() == 0:
		return fs.corrupt("extent header", in.ino, p, "an index without entries")
	}
	if p == 0 || !fs.hasCsum {
		return nil
	}
	want, off := fs.extentChecksum(fs.inodeSeed(in), n)
	if got := le.Uint32(n[off:]); got != want {
		return fs.corrupt("extent block", in.ino, p, "checksum %#x, want %#x", got, want)
	}
	return nil
}

// extentTree walks the extent tree of m.in, as far as the window reaches.
func (m *mapWalk) extentTree() error {
	root := extentNode(m.in.raw.iblock())
	if err := m.fs.checkNode(m.in, root, 0, root.depth()); err != nil {
		return err
	}
	return m.extentNode(root, 0, maxLblk)
}

// extentNode walks below a verified node; its entries lie below lblk end.
//
// Every index entry is checked to start where its child starts, and starts
// grow along the tree, so no block is visited twice.
func (m *mapWalk) extentNode(n extentNode, p image.Pblk, end image.Lblk) error {
	if n.depth() == 0 {
		return m.extentLeaf(n, p, end)
	}
	child := make(extentNode, m.fs.bs)
	for i := range int(n.entries()) {
		start, at := parseIndex(n.entry(i))
		stop := end
		if i+1 < int(n.entries()) {
			stop, _ = parseIndex(n.entry(i + 1))
		}
		if start >= stop || start < m.next {
			return m.fs.corrupt("extent index", m.in.ino, p, "entry %d for block %d is out of order", i, start)
		}
		if stop <= m.from || start > m.to {
			continue
		}
		if err := m.extentChild(child, start, at, n.depth()-1); err != nil {
			return err
		}
		if err := m.extentNode(child, at, stop); err != nil {
			return err
		}
	}
	return nil
}

// extentChild reads block at into child and verifies that it is the node of
// that depth starting at lblk start.
func (m *mapWalk) extentChild(child extentNode, start image.Lblk, at image.Pblk, depth uint16) error {
	if !m.fs.validBlock(at) {
		return m.fs.corrupt("extent index", m.in.ino, at, "outside the filesystem")
	}
	if err := m.fs.readBlock(at, child); err != nil {
		return err
	}
	if err := m.fs.checkNode(m.in, child, at, depth); err != nil {
		return err
	}
	m.tree = append(m.tree, at)
	if child.entries() == 0 {
		return nil
	}
	if first := image.Lblk(le.Uint32(child.entry(0))); first != start {
		return m.fs.corrupt("extent block", m.in.ino, at, "starts at %d, its index entry at %d", first, start)
	}
	return nil
}

// extentLeaf adds the extents of a leaf to the mapping.
func (m *mapWalk) extentLeaf(n extentNode, p image.Pblk, end image.Lblk) error {
	for i := range int(n.entries()) {
		x := parseExtent(n.entry(i))
		if x.Len == 0 || x.Lblk < m.next || uint64(x.Lblk)+x.Len > uint64(end) {
			return m.fs.corrupt("extent", m.in.ino, p, "entry %d maps %d blocks from %d, out of order", i, x.Len, x.Lblk)
		}
		if err := m.add(x); err != nil {
			return err
		}
	}
	return nil
}
