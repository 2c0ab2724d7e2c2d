package btrfs

import (
	"fmt"
	"math"

	"fsenc/internal/image"
)

// keepFree is room that plans leave for copies of tree blocks, in bytes: the old
// ones can be used again only when the transaction has ended.
func (fs *FS) keepFree() int64 {
	return min(8<<20, int64(fs.sb.u64(offTotalBytes)/16))
}

// blockRoom is how many bytes groups have free for tree blocks.
func (fs *FS) blockRoom() uint64 {
	n := uint64(0)
	for _, g := range fs.groups {
		if g.kind&groupMetadata != 0 {
			n += g.avail
		}
	}
	return n
}

// chunkRoom is how many bytes new chunks of a kind could hold.
func (fs *FS) chunkRoom(kind uint64) int64 {
	copies, err := fs.copiesOf(fs.like(kind))
	if err != nil {
		return 0
	}
	holes, err := fs.deviceHoles()
	if err != nil {
		return 0
	}
	n := uint64(0)
	for _, h := range holes {
		n += h.len &^ (minChunk - 1)
	}
	return int64(n) / int64(copies)
}

// room is what data can still be put into, in bytes: what groups have free, and
// what no chunk has taken, but for a chunk of tree blocks where they lack room.
func (fs *FS) room() int64 {
	if !fs.write || fs.loadSpace() != nil {
		return max(0, int64(fs.sb.u64(offTotalBytes))-int64(fs.sb.u64(offBytesUsed)))
	}
	var n int64
	for _, g := range fs.groups {
		if g.kind&groupData != 0 {
			n += int64(g.avail)
		}
	}
	more := fs.chunkRoom(groupData)
	if g := fs.like(groupData); g != nil && g.kind&groupMetadata != 0 {
		n -= fs.keepFree()
	} else if int64(fs.blockRoom()) < 2*fs.keepFree() {
		more = max(0, more-2*minChunk)
	}
	return max(0, n+more)
}

// costSmall is what the trees grow by when data that was inside of an item gets
// an extent: its item, its checksum, and both twice over.
const costSmall = 2 * (itemSize + extentItemLen + 29 + itemSize + 32)

// CheckMoves makes sure that the trees have room to grow, and for the copies of a
// transaction. Of the bytes to be allocated a sector for each inode may be data.
func (fs *FS) CheckMoves(inodes uint64, added int64) error {
	if err := fs.loadSpace(); err != nil {
		return err
	}
	small := min(int64(inodes), added/(int64(fs.ss)+costSmall))
	need := added - small*int64(fs.ss) + fs.keepFree()
	have := int64(fs.blockRoom()) + fs.chunkRoom(groupMetadata)
	if need > have {
		return fmt.Errorf("%w: tree blocks may take %d bytes, there is room for %d: btrfs balance makes some", image.ErrNoSpace, need, have)
	}
	return nil
}

// Pending is about how many bytes Flush will stage. It is without bound when the
// transaction should end before it runs out of blocks: those that it has freed
// can be used by the next one.
func (fs *FS) Pending() int64 {
	if len(fs.dirty) == 0 {
		return 0
	}
	used := uint64(0)
	for _, g := range fs.groups {
		if g.kind&groupMetadata != 0 {
			used += g.used / uint64(fs.ns)
		}
	}
	need := min(uint64(len(fs.refs)), used) + 4*opBlocks
	if fs.blockRoom() < need*uint64(fs.ns) {
		return math.MaxInt64 / 2
	}
	return int64(len(fs.dirty))*int64(fs.ns) + int64(len(fs.data))*int64(fs.ss)
}
