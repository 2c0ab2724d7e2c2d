package audit

import (
	"math/bits"

	"fsenc/internal/image"
)

// groupBlocks is how many blocks one bitmap of a blockSet covers.
const groupBlocks = 1 << 16

type blockBits [groupBlocks / 64]uint64

// blockSet is a set of blocks of the image. It takes a bit for each block in
// the neighbourhood of those in it; where all are, nearly nothing.
type blockSet map[uint64]*blockGroup

type blockGroup struct {
	bits  *blockBits // nil: all are in it
	count int
}

// add puts n blocks from p on into the set.
func (s blockSet) add(p image.Pblk, n uint64) {
	for at, end := uint64(p), uint64(p)+n; at < end; {
		num := at / groupBlocks
		stop := min(end, (num+1)*groupBlocks)
		g := s[num]
		if g == nil {
			g = &blockGroup{bits: new(blockBits)}
			s[num] = g
		}
		g.add(uint(at%groupBlocks), uint(stop-at))
		at = stop
	}
}

func (g *blockGroup) add(lo, n uint) {
	for end := lo + n; lo < end && g.bits != nil; {
		k := min(64-lo%64, end-lo)
		mask := (^uint64(0) >> (64 - k)) << (lo % 64)
		word := &g.bits[lo/64]
		g.count += bits.OnesCount64(mask &^ *word)
		*word |= mask
		lo += k
	}
	if g.count == groupBlocks {
		g.bits = nil
	}
}

func (s blockSet) has(p image.Pblk) bool {
	g := s[uint64(p)/groupBlocks]
	if g == nil || g.bits == nil {
		return g != nil
	}
	i := uint64(p) % groupBlocks
	return g.bits[i/64]>>(i%64)&1 == 1
}
