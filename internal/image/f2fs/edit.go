package f2fs

import (
	"bytes"
	"fmt"

	"fsenc/internal/image"
)

// edits is what has changed since the last checkpoint, and how things were in it.
type edits struct {
	natNew map[uint32]natEntry
	dirty  map[uint32]*dirtyNode
	kept   map[image.Pblk][]byte // blocks of files with a new place, see fresh.go
	sums   map[uint32][]byte     // summary blocks, by segment
	quotas []*quotaFile          // opened with the first charge

	sitOld   []byte          // the table as the last checkpoint has it
	segDirty map[uint32]bool // segments whose entry has changed

	validBlocks, validNodes, validInodes uint64
	nextNid                              uint32

	alloc allocator

	superDirty bool
	renew      bool // Flush writes a checkpoint even if nothing else has changed
	twin       bool // and this one into both packs
}

// dirtyNode is a node block that is being edited.
type dirtyNode struct {
	raw rawNode
	in  *inode     // what put was called with first, nil of other nodes
	old image.Pblk // where the last checkpoint has it, 0 if it is new
	log int        // where it goes
}

// begin starts a transaction from the checkpoint.
func (fs *FS) begin() {
	// The next transaction of a conversion is about as large as the last.
	fs.natNew = make(map[uint32]natEntry, len(fs.natNew))
	fs.dirty = make(map[uint32]*dirtyNode, len(fs.dirty))
	fs.kept = make(map[image.Pblk][]byte, len(fs.kept))
	fs.sums = make(map[uint32][]byte, len(fs.sums))
	switch {
	case fs.sitOld != nil:
		for seg := range fs.segDirty {
			copy(fs.old(seg), fs.segment(seg))
		}
	case fs.write:
		fs.sitOld = bytes.Clone(fs.sit)
	}
	fs.segDirty = make(map[uint32]bool)
	fs.validBlocks = fs.ckpt.u64(offValidBlocks)
	fs.validNodes = uint64(fs.ckpt.u32(offValidNodes))
	fs.validInodes = uint64(fs.ckpt.u32(offValidInodes))
	fs.nextNid = max(fs.ckpt.u32(offNextFreeNid), firstNid)
	fs.alloc.restart()
}

// edit takes a node block that node returned for changing: from now on node
// returns it, and Flush gives it a new place.
func (fs *FS) edit(nid uint32, raw rawNode, log int) {
	fs.recent.forget(image.Ino(nid))
	if fs.dirty[nid] == nil {
		e, _ := fs.natEntry(nid) // it was read by way of this entry
		fs.dirty[nid] = &dirtyNode{raw: raw, old: image.Pblk(e.block), log: log}
	}
}

// put takes an inode for changing.
func (fs *FS) put(in *inode) {
	if d := fs.dirty[uint32(in.ino)]; d != nil && d.in != nil {
		return
	}
	fs.edit(uint32(in.ino), in.raw, fs.nodeLog(in))
	fs.dirty[uint32(in.ino)].in = in
}

// nodeLog is the log that an inode, its direct nodes and its attributes go to.
func (fs *FS) nodeLog(in *inode) int {
	if in.fileType() == image.TypeDirectory {
		return logHotNode
	}
	return logWarmNode
}

// Pending is how much Flush will stage, in bytes.
func (fs *FS) Pending() int64 {
	n := len(fs.dirty) + len(fs.kept) + len(fs.sums)
	if fs.renew {
		n++
	}
	return int64(n) * blockSize
}

// newNode makes a node of an inode, all zeros, at an offset of its tree; inode
// 0 is for an inode itself.
func (fs *FS) newNode(ino uint32, ofs uint32, log int, cold bool) (uint32, rawNode, error) {
	if err := fs.claim(); err != nil {
		return 0, nil, err
	}
	nid, err := fs.freeNid()
	if err != nil {
		return 0, nil, err
	}
	if ino == 0 {
		ino = nid
		fs.validInodes++
	}
	old, err := fs.natEntry(nid)
	if err != nil {
		return 0, nil, err
	}
	fs.natNew[nid] = natEntry{old.version, ino, newAddr}
	raw := make(rawNode, blockSize)
	flag := ofs << footOffsetShift
	if cold {
		flag |= footCold
	}
	raw.setFooter(nid, ino, flag)
	fs.dirty[nid] = &dirtyNode{raw: raw, log: log}
	fs.validNodes++
	fs.validBlocks++
	return nid, raw, nil
}

// claim makes sure that one more block may be in use.
func (fs *FS) claim() error {
	if user := fs.ckpt.u64(offUserBlocks); fs.validBlocks >= user {
		return fmt.Errorf("%w: all %d blocks for files are in use", image.ErrNoSpace, user)
	}
	return nil
}

// freeNid finds a number that no node has.
func (fs *FS) freeNid() (uint32, error) {
	for range fs.geo.nids {
		nid := fs.nextNid
		if fs.nextNid++; uint64(fs.nextNid) >= fs.geo.nids {
			fs.nextNid = firstNid
		}
		e, err := fs.natEntry(nid)
		if err != nil {
			return 0, err
		}
		if e.block == nullAddr {
			return nid, nil
		}
	}
	return 0, fmt.Errorf("%w: all %d node numbers are taken", image.ErrNoSpace, fs.geo.nids)
}

// dropNode frees a node.
func (fs *FS) dropNode(nid uint32) error {
	fs.recent.forget(image.Ino(nid))
	e, err := fs.natEntry(nid)
	if err != nil {
		return err
	}
	if d := fs.dirty[nid]; d != nil {
		e.block = uint32(d.old)
		delete(fs.dirty, nid)
	}
	if e.block != nullAddr && e.block != newAddr {
		fs.clearBlock(image.Pblk(e.block))
	}
	if e.ino == nid {
		fs.validInodes--
	}
	fs.validNodes--
	fs.validBlocks--
	fs.natNew[nid] = natEntry{version: e.version + 1}
	return nil
}

// newData puts a block of a file, which it keeps, into a free place: the address
// in a slot.
func (fs *FS) newData(b []byte, s slot, log int) (image.Pblk, error) {
	if err := fs.claim(); err != nil {
		return 0, err
	}
	e, err := fs.natEntry(s.nid)
	if err != nil {
		return 0, err
	}
	p, err := fs.allocBlock(log, s.nid, e.version, s.ofs)
	if err != nil {
		return 0, err
	}
	fs.validBlocks++
	fs.kept[p] = b
	return p, nil
}

// dropData frees a block of a file, or one that was only reserved.
func (fs *FS) dropData(addr uint32) {
	if addr != newAddr && addr != compressAddr {
		fs.clearBlock(image.Pblk(addr))
		delete(fs.kept, image.Pblk(addr))
	}
	fs.validBlocks--
}

// addBlocks changes the count of an inode's blocks and its owners' quota.
func (fs *FS) addBlocks(in *inode, n int64) error {
	now := int64(in.u64(offBlocks)) + n
	if now < 1 {
		return fs.corrupt("inode", in.ino, in.at, "i_blocks %d, changed by %d", in.u64(offBlocks), n)
	}
	in.set64(offBlocks, uint64(now))
	return fs.charge(in, n, 0)
}
