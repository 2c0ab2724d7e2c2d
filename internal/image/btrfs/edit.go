package btrfs

import (
	"fmt"

	"fsenc/internal/image"
)

// edits is what has changed since the last commit.
type edits struct {
	gen   uint64 // of the transaction
	dirty map[uint64]*block
	data  map[uint64][]byte // sectors of new extents, by logical address
	refs  map[extentID]*refChange
	space []spaceChange // to be entered in the free space tree

	groups []*group // nil until space is asked for

	adding   bool // a chunk is being added
	noChunks bool // there is no room for another

	superDirty bool
}

// begin starts a transaction.
func (fs *FS) begin() {
	fs.gen = fs.sb.u64(offGeneration) + 1
	// The next transaction of a conversion is about as large as the last.
	fs.dirty = make(map[uint64]*block, len(fs.dirty))
	fs.data = make(map[uint64][]byte, len(fs.data))
	fs.refs = make(map[extentID]*refChange)
	fs.space = nil
}

// newBlock makes an empty block of a tree.
func (fs *FS) newBlock(t *tree, level int) (*block, error) {
	kind := uint64(groupMetadata)
	if t.id == treeChunk {
		kind = groupSystem
	}
	addr, err := fs.allocBlock(kind)
	if err != nil {
		return nil, fmt.Errorf("block for tree %d: %w", int64(t.id), err)
	}
	b := &block{addr: addr, raw: make([]byte, fs.ns), dirty: true}
	copy(b.raw[offHdrFsid:], fs.sb.treeUUID())
	le.PutUint64(b.raw[offHdrBytenr:], addr)
	le.PutUint64(b.raw[offHdrFlags:], hdrWritten|hdrRevision)
	le.PutUint64(b.raw[offHdrGen:], fs.gen)
	le.PutUint64(b.raw[offHdrOwner:], t.id)
	b.raw[offHdrLevel] = byte(level)
	fs.cache.drop(addr)
	fs.dirty[addr] = b
	fs.addRef(fs.blockID(b), ref{kind: keyTreeRef, root: t.id}, 1)
	t.grown += int64(fs.ns)
	return b, nil
}

// copyBlock is a copy of b in new space, without what lies in its gaps.
func (fs *FS) copyBlock(t *tree, b *block) (*block, error) {
	n, err := fs.newBlock(t, b.level())
	if err != nil {
		return nil, err
	}
	t.grown -= int64(fs.ns) // it takes the place of b
	copy(n.raw[offHdrUUID:][:16], b.raw[offHdrUUID:])
	n.setItems(b.items())
	if b.level() > 0 {
		copy(n.raw[headerSize:], b.raw[headerSize:headerSize+b.items()*ptrSize])
		return n, nil
	}
	copy(n.raw[headerSize:], b.raw[headerSize:headerSize+b.items()*itemSize])
	if k := b.items(); k > 0 {
		low := headerSize + b.dataOff(k-1)
		copy(n.raw[low:], b.raw[low:])
	}
	return n, nil
}

// dropBlock gives up a block of the transaction that has nothing left in it.
func (fs *FS) dropBlock(t *tree, b *block) {
	delete(fs.dirty, b.addr)
	t.grown -= int64(fs.ns)
	fs.addRef(fs.blockID(b), ref{kind: keyTreeRef, root: t.id}, -1)
}

// writable stops an edit of what was opened for reading.
func (fs *FS) writable() {
	if !fs.write {
		panic("btrfs: not opened for writing")
	}
}

// chunkUUID is what headers hold beside the identity of the filesystem; all
// blocks have the same.
func (fs *FS) chunkUUID() ([]byte, error) {
	t := fs.trees[treeRoot]
	b, err := fs.readBlock(t.addr, expect{tree: t.id, level: t.level, gen: t.gen})
	if err != nil {
		return nil, err
	}
	return b.raw[offHdrUUID:][:16], nil
}

func (fs *FS) pblk(logical uint64) image.Pblk { return image.Pblk(logical / uint64(fs.ss)) }
