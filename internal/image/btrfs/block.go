package btrfs

import (
	"bytes"
	"fmt"
	"sync/atomic"

	"fsenc/internal/image"
)

// Fields of struct btrfs_header, at the start of each tree block.
const (
	offHdrFsid   = 32  // 16 bytes
	offHdrBytenr = 48  // le64
	offHdrFlags  = 56  // le64, the revision of back references on top
	offHdrUUID   = 64  // 16 bytes chunk_tree_uuid
	offHdrGen    = 80  // le64
	offHdrOwner  = 88  // le64
	offHdrItems  = 96  // le32
	offHdrLevel  = 100 // u8
	headerSize   = 101

	hdrWritten  = 1 << 0
	hdrReloc    = 1 << 1
	hdrRevision = 1 << 56

	itemSize = 25 // key, le32 offset of the data behind the header, le32 size
	ptrSize  = 33 // key, le64 block, le64 generation

	maxLevel = 8
)

// block is a tree block. raw is a view; dirty blocks are those of the
// transaction, which have no other readers.
type block struct {
	addr  uint64
	raw   []byte
	dirty bool
	hint  atomic.Int32 // the slot that was found last: the next one often is near
}

func (b *block) items() int         { return int(le.Uint32(b.raw[offHdrItems:])) }
func (b *block) setItems(n int)     { le.PutUint32(b.raw[offHdrItems:], uint32(n)) }
func (b *block) level() int         { return int(b.raw[offHdrLevel]) }
func (b *block) generation() uint64 { return le.Uint64(b.raw[offHdrGen:]) }
func (b *block) owner() uint64      { return le.Uint64(b.raw[offHdrOwner:]) }
func (b *block) flags() uint64      { return le.Uint64(b.raw[offHdrFlags:]) }

// slot is the entry of item or pointer i.
func (b *block) slot(i int) []byte {
	if b.level() == 0 {
		return b.raw[headerSize+i*itemSize:][:itemSize]
	}
	return b.raw[headerSize+i*ptrSize:][:ptrSize]
}

func (b *block) key(i int) key { return keyOf(b.slot(i)) }

// data is the body of item i.
func (b *block) data(i int) []byte {
	s := b.slot(i)
	off, n := int(le.Uint32(s[keySize:])), int(le.Uint32(s[keySize+4:]))
	return b.raw[headerSize+off:][:n:n]
}

func (b *block) dataOff(i int) int { return int(le.Uint32(b.slot(i)[keySize:])) }

// child is the address and generation that pointer i has.
func (b *block) child(i int) (addr, gen uint64) {
	s := b.slot(i)
	return le.Uint64(s[keySize:]), le.Uint64(s[keySize+8:])
}

// below is what pointer i leads to, and what it says of that, in a tree.
func (b *block) below(i int, tree uint64) (addr uint64, e expect) {
	addr, gen := b.child(i)
	first := b.key(i)
	return addr, expect{tree: tree, level: b.level() - 1, gen: gen, first: &first}
}

// end is the key behind all that pointer i leads to, if behind is that of the block.
func (b *block) end(i int, behind key) key {
	if i+1 < b.items() {
		return b.key(i + 1)
	}
	return behind
}

func (b *block) setChild(i int, addr, gen uint64) {
	s := b.slot(i)
	le.PutUint64(s[keySize:], addr)
	le.PutUint64(s[keySize+8:], gen)
}

// find is the first slot whose key is not below k, and whether it is k.
func (b *block) find(k key) (int, bool) {
	n, size := b.items(), itemSize
	if b.level() > 0 {
		size = ptrSize
	}
	slots := b.raw[headerSize : headerSize+n*size]
	below := func(i int) bool {
		s := slots[i*size:][:keySize]
		obj := le.Uint64(s)
		return obj < k.obj || obj == k.obj && keyOf(s).less(k)
	}
	low, high := 0, n
	hint := int(b.hint.Load())
	if hint < n {
		low, high = around(hint, n, below)
	}
	for low < high {
		m := int(uint(low+high) / 2)
		if below(m) {
			low = m + 1
		} else {
			high = m
		}
	}
	if low != hint {
		b.hint.Store(int32(low))
	}
	return low, low < n && b.key(low) == k
}

// around narrows the search for the first of n slots that is not below a key, from a
// slot near which it probably is.
func around(at, n int, below func(int) bool) (low, high int) {
	const steps = 4
	if below(at) {
		for low = at + 1; low <= at+steps; low++ {
			if low == n || !below(low) {
				return low, low
			}
		}
		return low, n
	}
	for high = at; high > at-steps; high-- {
		if high == 0 || below(high-1) {
			return high, high
		}
	}
	return 0, high
}

// expect is what the place that refers to a block says of it.
type expect struct {
	tree  uint64
	level int
	gen   uint64
	first *key // nil where it is not known
}

// blockError tells of damage in a block of a tree.
func (fs *FS) blockError(e expect, addr uint64, format string, a ...any) error {
	return &image.CorruptError{What: fmt.Sprintf("block of tree %d", int64(e.tree)), Pblk: image.Pblk(addr / uint64(fs.ss)),
		Why: fmt.Sprintf(format, a...)}
}

// agree checks what refers to a block, which may be another one than before.
func (fs *FS) agree(b *block, e expect) error {
	bad := func(format string, a ...any) error { return fs.blockError(e, b.addr, format, a...) }
	switch {
	case b.level() != e.level:
		return bad("level %d, want %d", b.level(), e.level)
	case b.generation() != e.gen:
		return bad("generation %d, want %d", b.generation(), e.gen)
	case b.owner() != e.tree && !(isFileTree(b.owner()) && isFileTree(e.tree)) && e.tree != objRelocTree:
		return bad("made by tree %d", int64(b.owner()))
	case e.first != nil && b.items() > 0 && b.key(0) != *e.first:
		return bad("begins with %v, want %v", b.key(0), *e.first)
	}
	return nil
}

// verify checks all that a block says of itself against what refers to it.
func (fs *FS) verify(b *block, e expect) error {
	bad := func(format string, a ...any) error { return fs.blockError(e, b.addr, format, a...) }
	n := b.items()
	switch {
	case !fs.sum.good(b.raw):
		return bad("%s checksum %x does not fit", fs.sum.name, b.raw[:fs.sum.size])
	case le.Uint64(b.raw[offHdrBytenr:]) != b.addr:
		return bad("says that it is block %d", le.Uint64(b.raw[offHdrBytenr:])/uint64(fs.ss))
	case !bytes.Equal(b.raw[offHdrFsid:][:16], fs.sb.treeUUID()):
		return bad("belongs to the filesystem %x", b.raw[offHdrFsid:][:16])
	case b.level() > 0 && (n == 0 || n > (fs.ns-headerSize)/ptrSize), b.level() == 0 && n > (fs.ns-headerSize)/itemSize:
		return bad("%d items", n)
	}
	if err := fs.agree(b, e); err != nil {
		return err
	}
	for i := 1; i < n; i++ {
		if !b.key(i - 1).less(b.key(i)) {
			return bad("key %v does not come behind %v", b.key(i), b.key(i-1))
		}
	}
	if b.level() > 0 {
		return nil
	}
	end := fs.ns - headerSize
	for i := range n {
		s := b.slot(i)
		off, size := int(le.Uint32(s[keySize:])), int(le.Uint32(s[keySize+4:]))
		if off < 0 || size < 0 || off+size != end || off < n*itemSize {
			return bad("item %v at %d with %d bytes, want its end at %d", b.key(i), off, size, end)
		}
		end = off
	}
	return nil
}

// readBlock returns a verified block: the one of the transaction, a cached one,
// or the first copy that is sound.
func (fs *FS) readBlock(addr uint64, e expect) (*block, error) {
	if b := fs.dirty[addr]; b != nil {
		return b, fs.agree(b, expect{tree: e.tree, level: e.level, gen: e.gen}) // its first key may be on the way up
	}
	if b := fs.cache.get(addr); b != nil {
		return b, fs.agree(b, e)
	}
	if addr%uint64(fs.ss) != 0 {
		return nil, fs.blockError(e, addr, "address %d is not aligned", addr)
	}
	b := &block{addr: addr, raw: make([]byte, fs.ns)}
	var failed error
	for mirror := 0; ; mirror++ {
		ok, err := fs.readMirror(b.raw, addr, mirror)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, failed
		}
		if err = fs.verify(b, e); err == nil {
			fs.cache.put(b)
			return b, nil
		}
		if failed == nil {
			failed = err
		}
	}
}

// readMirror reads one copy of a logical range; ok is false if there are not so
// many of some part.
func (fs *FS) readMirror(p []byte, logical uint64, mirror int) (ok bool, err error) {
	ok = true
	err = fs.pieces(logical, uint64(len(p)), func(part piece) error {
		if mirror >= len(part.places) {
			ok = false
			return nil
		}
		_, err := fs.s.ReadAt(p[part.skip:][:part.n], int64(part.places[mirror]))
		return err
	})
	return ok, err
}

// writeLogical stages bytes in all copies.
func (fs *FS) writeLogical(p []byte, logical uint64) error {
	return fs.pieces(logical, uint64(len(p)), func(part piece) error {
		for _, at := range part.places {
			if _, err := fs.s.WriteAt(p[part.skip:][:part.n], int64(at)); err != nil {
				return err
			}
		}
		return nil
	})
}
