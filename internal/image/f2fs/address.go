package f2fs

import (
	"fmt"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// nodeAddrs is how many addresses, or numbers of nodes, a node block has.
const nodeAddrs = 1018

// The numbers in the inode: two direct nodes, two indirect, one double indirect.
const (
	nidDirect   = 0
	nidIndirect = 2
	nidDouble   = 4
)

// Offsets of nodes in the tree of an inode, as footers hold them.
const (
	ofsDirect0   = 1
	ofsIndirect0 = 3
	ofsIndirect1 = ofsIndirect0 + 1 + nodeAddrs
	ofsDouble    = ofsIndirect1 + 1 + nodeAddrs
)

// shape is how the addresses of an inode are spread over its nodes. Compressed
// files leave the rest of a cluster that does not fit unused.
type shape struct {
	inode int // addresses in the inode
	node  int // in a direct node
}

func (fs *FS) shape(in *inode) shape {
	c := in.cluster(fs)
	n := addrWords - in.extra - in.words
	return shape{n / c * c, nodeAddrs / c * c}
}

// blocks is how many blocks a file can have.
func (s shape) blocks() uint64 {
	return uint64(s.inode) + uint64(s.node)*(2+2*nodeAddrs+nodeAddrs*nodeAddrs)
}

// addrOff is the byte offset of address k in the block that holds it.
func (in *inode) addrOff(k int) int { return offAddrs + 4*(in.extra+k) }

// slot is one address of a file.
type slot struct {
	lblk uint64
	addr uint32
	nid  uint32 // of the node that holds it
	ofs  uint16 // its index there, as summaries count
}

// maxFileBlocks bounds the blocks of any file.
var maxFileBlocks = shape{addrWords, nodeAddrs}.blocks()

// slots calls f for each address that is not a hole, in ascending order.
func (fs *FS) slots(in *inode, f func(slot) error) error {
	return fs.walk(in, func(uint32) error { return nil }, f)
}

// walk calls node for each node below an inode, without that of attributes, and
// f for each address that is not a hole, in ascending order.
func (fs *FS) walk(in *inode, node func(nid uint32) error, f func(slot) error) error {
	if !in.mapped() {
		return nil
	}
	w := slotWalk{fs: fs, in: in, shape: fs.shape(in), onNode: node, f: f}
	if err := w.run(in.raw[in.addrOff(0):], w.shape.inode, uint32(in.ino), 0); err != nil {
		return err
	}
	first := uint64(w.shape.inode)
	for i := range nidCount {
		depth, ofs := 0, uint32(ofsDirect0+i)
		switch i {
		case nidIndirect:
			depth, ofs = 1, ofsIndirect0
		case nidIndirect + 1:
			depth, ofs = 1, ofsIndirect1
		case nidDouble:
			depth, ofs = 2, ofsDouble
		}
		if err := w.node(in.u32(offNids+4*i), ofs, depth, first); err != nil {
			return err
		}
		first += w.span(depth)
	}
	return nil
}

// mapped reports whether the inode has addresses of blocks.
func (in *inode) mapped() bool {
	switch in.fileType() {
	case image.TypeRegular, image.TypeDirectory, image.TypeSymlink:
		return !in.inline(inData | inDentry)
	}
	return false
}

type slotWalk struct {
	fs    *FS
	in    *inode
	shape shape

	onNode func(nid uint32) error
	f      func(slot) error
}

// span is how many blocks a node of a depth covers.
func (w *slotWalk) span(depth int) uint64 {
	n := uint64(w.shape.node)
	for range depth {
		n *= nodeAddrs
	}
	return n
}

// run reports the addresses of one block.
func (w *slotWalk) run(b []byte, n int, nid uint32, first uint64) error {
	const many = 32 // most are small files
	for i := 0; i < n; i++ {
		for i%many == 0 && i+many <= n && store.IsZero(b[4*i:4*(i+many)]) {
			i += many
		}
		if i == n {
			break
		}
		if a := le.Uint32(b[4*i:]); a != nullAddr {
			if err := w.f(slot{first + uint64(i), a, nid, uint16(i)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// node reports what is below a node, whose offset in the tree is ofs. A node
// has one offset, so no node is met twice.
func (w *slotWalk) node(nid, ofs uint32, depth int, first uint64) error {
	if nid == 0 {
		return nil
	}
	r, err := w.fs.childNode(w.in.ino, nid, ofs)
	if err != nil {
		return err
	}
	if err := w.onNode(nid); err != nil {
		return err
	}
	if depth == 0 {
		return w.run(r, w.shape.node, nid, first)
	}
	step := uint32(1)
	if depth == 2 {
		step += nodeAddrs
	}
	for i := range nodeAddrs {
		if err := w.node(r.word(i), ofs+1+uint32(i)*step, depth-1, first+uint64(i)*w.span(depth-1)); err != nil {
			return err
		}
	}
	return nil
}

// checkAddr verifies that an address is that of a block in use.
func (fs *FS) checkAddr(in *inode, s slot) error {
	p := image.Pblk(s.addr)
	if !fs.geo.inMain(p) {
		return fs.corrupt("block address", in.ino, p, "of lblk %d, not in the main area", s.lblk)
	}
	if !fs.inUse(p) {
		return fs.corrupt("SIT entry", in.ino, p, "lblk %d lies in a block that is marked free", s.lblk)
	}
	return nil
}

// data calls f for each block of an inode in ascending order.
func (fs *FS) data(in *inode, f func(slot) error) error {
	return fs.slots(in, func(s slot) error {
		if s.addr == newAddr || s.addr == compressAddr {
			return nil
		}
		if err := fs.checkAddr(in, s); err != nil {
			return err
		}
		return f(s)
	})
}

// appendBlock adds a block to a mapping, to the last extent where it goes on.
func appendBlock(list []image.Extent, l image.Lblk, p image.Pblk) []image.Extent {
	if n := len(list); n > 0 {
		e := &list[n-1]
		if e.Packed == nil && e.Lblk+image.Lblk(e.Len) == l && e.Pblk+image.Pblk(e.Len) == p {
			e.Len++
			return list
		}
	}
	return append(list, image.Extent{Lblk: l, Pblk: p, Len: 1})
}

// DataExtents returns all blocks of a file, also behind its end: each is
// encrypted under the number of its slot, those of a compressed cluster too.
// Reserved blocks have no place and read as zeros.
func (fs *FS) DataExtents(ino image.Ino) (list []image.Extent, err error) {
	err = fs.glance(ino, func(in *inode) error {
		return fs.data(in, func(s slot) error {
			list = appendBlock(list, image.Lblk(s.lblk), image.Pblk(s.addr))
			return nil
		})
	})
	return list, err
}

// Extents returns the mapping of a file, with the clusters of a compressed one
// as packed extents.
func (fs *FS) Extents(ino image.Ino) ([]image.Extent, error) {
	in, err := fs.inode(ino)
	if err != nil {
		return nil, err
	}
	if !in.compressed(fs) {
		return fs.DataExtents(ino)
	}
	m := clusterMap{fs: fs, in: in, size: uint64(in.cluster(fs))}
	if err := fs.slots(in, m.add); err != nil {
		return nil, err
	}
	return m.done()
}

func (fs *FS) checkRange(n int, at image.Pblk) error {
	if n%blockSize != 0 {
		panic("f2fs: not a whole number of blocks")
	}
	if !fs.geo.inMain(at) || uint64(n/blockSize) > fs.geo.end-uint64(at) {
		return fs.corrupt("block address", 0, at, "%d blocks, not in the main area", n/blockSize)
	}
	return nil
}

// Places tells the one place of blocks.
func (fs *FS) Places(at image.Pblk, n uint64, f func(skip uint64, off, n int64) error) error {
	return f(0, int64(at)*blockSize, int64(n)*blockSize)
}

// readBlockAt reads one block of metadata that is not of the main area.
func (fs *FS) readBlockAt(buf []byte, at int64) error {
	if err := fs.cache.Read(buf[:blockSize], at*blockSize); err != nil {
		return fmt.Errorf("block %d: %w", at, err)
	}
	return nil
}

// path is the way from an inode to the node that holds an address: the index of
// a number at each step, and the offsets of the nodes.
type path struct {
	depth int // nodes below the inode
	index [3]int
	ofs   [3]uint32
	slot  int // of the address in the last
}

// pathTo finds the way to the address of a block; ok is false behind the
// largest file.
func (s shape) pathTo(lblk uint64) (p path, ok bool) {
	if lblk < uint64(s.inode) {
		p.slot = int(lblk)
		return p, true
	}
	n := lblk - uint64(s.inode)
	per := uint64(s.node)
	direct, rest := n/per, int(n%per)
	p.slot = rest
	switch {
	case direct < 2:
		p.depth, p.index[0], p.ofs[0] = 1, int(direct), ofsDirect0+uint32(direct)
	case direct < 2+2*nodeAddrs:
		direct -= 2
		k := direct / nodeAddrs
		top := uint32(ofsIndirect0)
		if k == 1 {
			top = ofsIndirect1
		}
		p.depth, p.index[0], p.ofs[0] = 2, nidIndirect+int(k), top
		p.index[1], p.ofs[1] = int(direct%nodeAddrs), top+1+uint32(direct%nodeAddrs)
	case direct < 2+2*nodeAddrs+nodeAddrs*nodeAddrs:
		direct -= 2 + 2*nodeAddrs
		i, k := uint32(direct/nodeAddrs), uint32(direct%nodeAddrs)
		p.depth, p.index[0], p.ofs[0] = 3, nidDouble, ofsDouble
		p.index[1], p.ofs[1] = int(i), ofsDouble+1+i*(nodeAddrs+1)
		p.index[2], p.ofs[2] = int(k), p.ofs[1]+1+k
	default:
		return p, false
	}
	return p, true
}

// numberOff is where the number of the node at a step lies in the block above.
func (p *path) numberOff(step int) int {
	if step == 0 {
		return offNids + 4*p.index[0]
	}
	return 4 * p.index[step]
}

// slotAt returns the address of one block, 0 for a hole.
func (fs *FS) slotAt(in *inode, lblk uint64) (slot, error) {
	p, ok := fs.shape(in).pathTo(lblk)
	if !ok || !in.mapped() {
		return slot{lblk: lblk}, nil
	}
	block, nid, off := in.raw, uint32(in.ino), in.addrOff(p.slot)
	for step := range p.depth {
		nid = le.Uint32(block[p.numberOff(step):])
		if nid == 0 {
			return slot{lblk: lblk}, nil
		}
		var err error
		if block, err = fs.childNode(in.ino, nid, p.ofs[step]); err != nil {
			return slot{}, err
		}
		off = 4 * p.slot
	}
	return slot{lblk, le.Uint32(block[off:]), nid, uint16(p.slot)}, nil
}
