package ext4

import (
	"errors"
	"fmt"

	"fsenc/internal/crc"
	"fsenc/internal/image"
)

// Fields of struct dx_root and struct dx_node. A root lies in block 0 behind
// the dots, a node in a block of its own behind an unused entry that spans it.
const (
	offDxHashVersion    = 0x1c // u8 hash_version
	offDxInfoLength     = 0x1d // u8 info_length
	offDxIndirectLevels = 0x1e // u8 indirect_levels
	offDxFlags          = 0x1f // u8 unused_flags
	offDxRootSlots      = 0x20
	offDxNodeSlots      = 8

	dxInfoLen   = 8
	dxSlotLen   = 8          // le32 hash, le32 block; of the first: le16 limit, le16 count, le32 block
	dxTailLen   = 8          // struct dx_tail: le32 reserved, le32 checksum
	dxBlockMask = 0x0fffffff // the high bits of block are reserved
)

// dxSlot says that names from hash on are in or below block, up to the next
// slot's hash. The low bit of hash says that names of that very hash are at
// the end of the block before, too.
type dxSlot struct {
	hash  uint32
	block uint32 // lblk
}

// dxTable is the table of slots of a root or node: a view that begins at the
// first slot and ends with the block.
type dxTable []byte

func (t dxTable) limit() int { return int(le.Uint16(t)) }
func (t dxTable) count() int { return int(le.Uint16(t[2:])) }

// slot returns slot i; the hash of slot 0 is not stored and is 0.
func (t dxTable) slot(i int) dxSlot {
	s := dxSlot{block: le.Uint32(t[i*dxSlotLen+4:]) & dxBlockMask}
	if i > 0 {
		s.hash = le.Uint32(t[i*dxSlotLen:])
	}
	return s
}

// find returns the last slot whose hash is not above hash. A slot with the
// continuation bit is above the hash it continues, so the first block that
// may hold the hash is found.
func (t dxTable) find(hash uint32) int {
	lo, hi := 1, t.count()
	for lo < hi {
		if m := (lo + hi) / 2; t.slot(m).hash > hash {
			hi = m
		} else {
			lo = m + 1
		}
	}
	return lo - 1
}

// dxRoom is the number of slots that a root or node of f has, its table at off.
func (f dirForm) dxRoom(off int) int {
	n := f.blockSize - off
	if f.tail {
		n -= dxTailLen
	}
	return n / dxSlotLen
}

// dxTableAt checks the table at off of an index block: kernel and e2fsck
// insist on the exact limit.
func (f dirForm) dxTableAt(block []byte, off int) (dxTable, error) {
	t := dxTable(block[off:])
	limit, want := t.limit(), f.dxRoom(off)
	// In encrypted and casefolded directories the kernel (not e2fsck) counts
	// the two hashes of an entry into the head of a node, which has none.
	kernelWant := want
	if f.hashed && off == offDxNodeSlots {
		kernelWant = f.dxRoom(off + deHashLen)
	}
	if limit != want && limit != kernelWant {
		return nil, fmt.Errorf("limit %d, want %d", limit, want)
	}
	if n := t.count(); n < 1 || n > limit {
		return nil, fmt.Errorf("count %d, limit %d", n, limit)
	}
	for i := 2; i < t.count(); i++ {
		if t.slot(i).hash < t.slot(i-1).hash {
			return nil, fmt.Errorf("hash %#x of slot %d below the one before", t.slot(i).hash, i)
		}
	}
	return t, nil
}

// dxRoot is what the root says besides its table.
type dxRoot struct {
	version uint8 // hashLegacy, hashHalfMD4, hashTea or hashSip
	levels  int   // of nodes between root and leaves
	table   dxTable
}

// dxMaxLevels is the number of node levels that a filesystem allows.
func dxMaxLevels(largeDir bool) int {
	if largeDir {
		return 2
	}
	return 1
}

// parseDxRoot reads block 0 of an indexed directory behind its dots.
func (f dirForm) parseDxRoot(block []byte, largeDir bool) (dxRoot, error) {
	r := dxRoot{version: block[offDxHashVersion], levels: int(block[offDxIndirectLevels])}
	switch {
	case r.version > hashTea && r.version != hashSip:
		return r, fmt.Errorf("hash version %d", r.version)
	case f.hashed != (r.version == hashSip):
		return r, fmt.Errorf("hash version %d does not fit the directory's flags", r.version)
	case block[offDxInfoLength] != dxInfoLen:
		return r, fmt.Errorf("info length %d, want %d", block[offDxInfoLength], dxInfoLen)
	case block[offDxFlags]&1 != 0:
		return r, fmt.Errorf("flags %#x", block[offDxFlags])
	case r.levels > dxMaxLevels(largeDir):
		return r, fmt.Errorf("%d levels", r.levels)
	}
	var err error
	r.table, err = f.dxTableAt(block, offDxRootSlots)
	return r, err
}

// parseDxNode reads a node block.
func (f dirForm) parseDxNode(block []byte) (dxTable, error) {
	if le.Uint32(block) != 0 || f.recLen(block) != f.blockSize {
		return nil, errors.New("no unused entry of the size of the block")
	}
	return f.dxTableAt(block, offDxNodeSlots)
}

// dxChecksum is the checksum of an index block whose table is at off: over
// what comes before the unused slots, then the tail with its checksum zero.
func dxChecksum(seed uint32, block []byte, off int) uint32 {
	t := dxTable(block[off:])
	seed = crc.CRC32C(seed, block[:off+t.count()*dxSlotLen])
	tail := t[t.limit()*dxSlotLen:]
	return crc.CRC32C(crc.CRC32C(seed, tail[:4]), []byte{0, 0, 0, 0})
}

// dxStoredChecksum returns the place of the checksum in a checked table.
func dxStoredChecksum(block []byte, off int) []byte {
	t := dxTable(block[off:])
	return t[t.limit()*dxSlotLen+4:][:4]
}

// putDxTable writes slots, at most dxRoom(off) of them, and the checksum.
func (f dirForm) putDxTable(block []byte, off int, slots []dxSlot, seed uint32) {
	t := block[off:]
	for i, s := range slots {
		le.PutUint32(t[i*dxSlotLen:], s.hash)
		le.PutUint32(t[i*dxSlotLen+4:], s.block)
	}
	le.PutUint16(t, uint16(f.dxRoom(off)))
	le.PutUint16(t[2:], uint16(len(slots)))
	if f.tail {
		le.PutUint32(dxStoredChecksum(block, off), dxChecksum(seed, block, off))
	}
}

// putDxRoot builds block 0 of an indexed directory.
func (f dirForm) putDxRoot(block []byte, dots [2]image.Ino, version uint8, levels int, slots []dxSlot, seed uint32) {
	w := leafWriter{dirForm: dirForm{blockSize: f.blockSize, fileType: f.fileType}, block: block}
	w.reset()
	w.addDot(".", dots[0])
	w.addDot("..", dots[1])
	w.finish() // ".." spans the rest: to one who knows no index the block has two entries
	block[offDxHashVersion] = version
	block[offDxInfoLength] = dxInfoLen
	block[offDxIndirectLevels] = byte(levels)
	f.putDxTable(block, offDxRootSlots, slots, seed)
}

// putDxNode builds a node block.
func (f dirForm) putDxNode(block []byte, slots []dxSlot, seed uint32) {
	clear(block)
	putRecLen(block, f.blockSize)
	f.putDxTable(block, offDxNodeSlots, slots, seed)
}

// dxShape is how many nodes an index over some leaves has. Blocks are
// numbered root, upper nodes, lower nodes, leaves.
type dxShape struct {
	upper, lower, leaves int
}

func (s dxShape) levels() int {
	switch {
	case s.upper > 0:
		return 2
	case s.lower > 0:
		return 1
	}
	return 0
}

// blocks is the size of the directory in blocks.
func (s dxShape) blocks() int { return 1 + s.upper + s.lower + s.leaves }

// dxShapeFor returns the shape of the smallest index over n leaves, false if
// none can hold them.
func (f dirForm) dxShapeFor(n int, largeDir bool) (dxShape, bool) {
	root, node := f.dxRoom(offDxRootSlots), f.dxRoom(offDxNodeSlots)
	if n <= root {
		return dxShape{leaves: n}, true
	}
	if f.hashed {
		// For nodes in encrypted and casefolded directories kernel and e2fsck
		// want different limits; no index serves both.
		return dxShape{}, false
	}
	lower := (n + node - 1) / node
	if lower <= root {
		return dxShape{lower: lower, leaves: n}, true
	}
	upper := (lower + node - 1) / node
	if largeDir && upper <= root {
		return dxShape{upper: upper, lower: lower, leaves: n}, true
	}
	return dxShape{}, false
}
