package f2fs

import (
	"fmt"

	"fsenc/internal/image"
)

// Fields of struct node_footer, the end of each node block.
const (
	offFootNid  = 4072 // le32
	offFootIno  = 4076 // le32
	offFootFlag = 4080 // le32: bit 0 cold, 1 fsync, 2 dentry; from bit 3 the node's offset
	offFootVer  = 4084 // le64 cp_ver
	offFootNext = 4092 // le32 next_blkaddr

	footCold        = 1 << 0
	footFsync       = 1 << 1
	footOffsetShift = 3

	ofsXattr = 0x1fffffff // node offset of the node with attributes
)

// Addresses of blocks that are none.
const (
	nullAddr     = 0
	compressAddr = 0xfffffffe // head of a compressed cluster
	newAddr      = 0xffffffff // reserved, reads as zeros
)

// rawNode is a node block as it lies on disk. It is a view.
type rawNode []byte

func (r rawNode) nid() uint32       { return le.Uint32(r[offFootNid:]) }
func (r rawNode) ino() uint32       { return le.Uint32(r[offFootIno:]) }
func (r rawNode) flag() uint32      { return le.Uint32(r[offFootFlag:]) }
func (r rawNode) ofs() uint32       { return r.flag() >> footOffsetShift }
func (r rawNode) version() uint64   { return le.Uint64(r[offFootVer:]) }
func (r rawNode) next() uint32      { return le.Uint32(r[offFootNext:]) }
func (r rawNode) word(i int) uint32 { return le.Uint32(r[4*i:]) } // of a direct or indirect node

func (r rawNode) setWord(i int, v uint32) { le.PutUint32(r[4*i:], v) }

func (r rawNode) setFooter(nid, ino, flag uint32) {
	le.PutUint32(r[offFootNid:], nid)
	le.PutUint32(r[offFootIno:], ino)
	le.PutUint32(r[offFootFlag:], flag)
}

// node returns a node block: the one that is being edited, or a copy of what is
// on disk, which the caller may keep.
func (fs *FS) node(nid uint32) (rawNode, natEntry, error) { return fs.readNode(nid, nil) }

// readNode is node that copies into block, if that is not nil.
func (fs *FS) readNode(nid uint32, block rawNode) (rawNode, natEntry, error) {
	e, err := fs.nodeBlock(nid)
	if err != nil {
		return nil, e, err
	}
	if d := fs.dirty[nid]; d != nil {
		return d.raw, e, nil
	}
	if block == nil {
		block = fs.spare()
	}
	r, at := block, int64(e.block)*blockSize
	if r == nil {
		r, err = fs.cache.Copy(at, blockSize)
	} else {
		err = fs.cache.Read(r, at)
	}
	if err != nil {
		return nil, e, err
	}
	if r.nid() != nid || r.ino() != e.ino {
		return nil, e, fs.corrupt("node", image.Ino(e.ino), image.Pblk(e.block),
			"footer says node %d of inode %d, the NAT node %d of inode %d", r.nid(), r.ino(), nid, e.ino)
	}
	return r, e, nil
}

// childNode reads a node of an inode that must have an offset in its tree.
func (fs *FS) childNode(ino image.Ino, nid, ofs uint32) (rawNode, error) {
	r, e, err := fs.node(nid)
	if err != nil {
		return nil, asCorrupt(ino, nid, err)
	}
	if e.ino != uint32(ino) || r.ofs() != ofs {
		return nil, fs.corrupt("node", ino, image.Pblk(e.block),
			"node %d belongs to inode %d at offset %#x, want offset %#x", nid, e.ino, r.ofs(), ofs)
	}
	return r, nil
}

// asCorrupt turns the absence of a node that something refers to into damage.
func asCorrupt(ino image.Ino, nid uint32, err error) error {
	if isNotExist(err) {
		return &image.CorruptError{What: "node tree", Ino: ino, Why: fmt.Sprintf("refers to node %d, which is free", nid)}
	}
	return err
}
