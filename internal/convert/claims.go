package convert

import (
	"math/bits"

	"fsenc/internal/image"
)

// claims is a set of blocks, for finding blocks that two files map, or of inode
// numbers.
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

// gaps calls f for the ranges of 0 to end that are left when long runs of members
// are taken out. A short one costs less if it is read along.
func (c claims) gaps(end uint64, f func(first, end uint64) error) error {
	const long = 16
	first := uint64(0)
	for first < end {
		from, to := c.next(first, end, true), end
		for from < end {
			if to = c.next(from, end, false); to-from >= long {
				break
			}
			from, to = c.next(to, end, true), end
		}
		if first < from {
			if err := f(first, from); err != nil {
				return err
			}
		}
		first = to
	}
	return nil
}

// next is the first number from b on that is a member, or is not; end if there
// is none before.
func (c claims) next(b, end uint64, member bool) uint64 {
	for b < end {
		chunk := c[b/chunkBlocks]
		if chunk == nil {
			if !member {
				return b
			}
			b = (b/chunkBlocks + 1) * chunkBlocks
			continue
		}
		word := chunk[b%chunkBlocks/64]
		if !member {
			word = ^word
		}
		if word >>= b % 64; word != 0 {
			return min(b+uint64(bits.TrailingZeros64(word)), end)
		}
		b = (b/64 + 1) * 64
	}
	return end
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
