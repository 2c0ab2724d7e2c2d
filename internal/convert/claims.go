package convert

import (
	"math/bits"

	"fsenc/internal/image"
)

// claims is a set of blocks, for finding blocks that two files map.
type claims map[uint64]*[chunkWords]uint64

const (
	chunkBlocks = 1 << 15
	chunkWords  = chunkBlocks / 64
)

// has reports whether one of n blocks from p is there.
func (c claims) has(p image.Pblk, n uint64) bool {
	for b, end := uint64(p), uint64(p)+n; b < end; {
		stop := min(end, (b/chunkBlocks+1)*chunkBlocks)
		chunk := c[b/chunkBlocks]
		for ; chunk != nil && b < stop; b++ {
			if chunk[b%chunkBlocks/64]>>(b%64)&1 != 0 {
				return true
			}
		}
		b = stop
	}
	return false
}

// add adds n blocks from p and reports whether none of them was there.
func (c claims) add(p image.Pblk, n uint64) bool {
	free := true
	for b, end := uint64(p), uint64(p)+n; b < end; {
		chunk := c[b/chunkBlocks]
		if chunk == nil {
			chunk = new([chunkWords]uint64)
			c[b/chunkBlocks] = chunk
		}
		stop := min(end, (b/chunkBlocks+1)*chunkBlocks)
		for b < stop {
			in := b % chunkBlocks
			k := min(64-in%64, stop-b)
			mask := ^uint64(0) >> (64 - k) << (in % 64)
			if bits.OnesCount64(chunk[in/64]&mask) != 0 {
				free = false
			}
			chunk[in/64] |= mask
			b += k
		}
	}
	return free
}
