package ext4

import (
	"math/bits"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// bitmap is a block or inode bitmap, one filesystem block. Bit i is bit i%8 of
// byte i/8; a set bit is in use.
type bitmap struct {
	bits   []byte
	lo, hi int // the bytes that differ from the store, none if lo == hi
}

func (b *bitmap) get(i uint32) bool { return b.bits[i/8]&(1<<(i%8)) != 0 }

func (b *bitmap) set(i uint32)   { b.bits[i/8] |= 1 << (i % 8); b.touch(int(i/8), int(i/8)+1) }
func (b *bitmap) clear(i uint32) { b.bits[i/8] &^= 1 << (i % 8); b.touch(int(i/8), int(i/8)+1) }

// setRange sets bits lo to hi-1.
func (b *bitmap) setRange(lo, hi uint32) {
	for ; lo < hi && lo%8 != 0; lo++ {
		b.set(lo)
	}
	for ; lo+8 <= hi; lo += 8 {
		b.bits[lo/8] = 0xFF
		b.touch(int(lo/8), int(lo/8)+1)
	}
	for ; lo < hi; lo++ {
		b.set(lo)
	}
}

// touch extends the range to write by bytes lo to hi-1.
func (b *bitmap) touch(lo, hi int) {
	if b.lo == b.hi {
		b.lo, b.hi = lo, hi
		return
	}
	b.lo, b.hi = min(b.lo, lo), max(b.hi, hi)
}

// next returns the first bit from i on, below end, whose value is used, and
// end if there is none.
func (b *bitmap) next(i, end uint32, used bool) uint32 {
	flip := ^uint64(0)
	if used {
		flip = 0
	}
	for i < end {
		// Blocks are a multiple of 8 bytes, so a whole word is always there.
		w := (le.Uint64(b.bits[i/64*8:]) ^ flip) >> (i % 64)
		if w != 0 {
			return min(i+uint32(bits.TrailingZeros64(w)), end)
		}
		i = (i/64 + 1) * 64
	}
	return end
}

// free counts the clear bits below n.
func (b *bitmap) free(n uint32) uint32 {
	used := 0
	for i := uint32(0); i < n/8; i++ {
		used += bits.OnesCount8(b.bits[i])
	}
	for i := n / 8 * 8; i < n; i++ {
		if b.get(i) {
			used++
		}
	}
	return n - uint32(used)
}

// blockBitmap returns the block bitmap of gr. That of a BLOCK_UNINIT group is
// made from what is known to be in the group, since the one on disk is garbage.
func (fs *FS) blockBitmap(gr *group) (*bitmap, error) {
	if fs.uninit(gr, bgBlockUninit) {
		if err := fs.loadSystem(); err != nil {
			return nil, err
		}
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if gr.blocks != nil {
		return gr.blocks, nil
	}
	n := fs.geo.clusters(gr.num)
	var b *bitmap
	if fs.uninit(gr, bgBlockUninit) {
		b = fs.initBlockBitmap(gr.num)
	} else {
		var err error
		p := gr.desc.blockBitmap()
		b, err = fs.readBitmap("block bitmap", gr, p, gr.desc.blockCsum(), fs.geo.clustersPerGroup)
		if err != nil {
			return nil, err
		}
	}
	if got, want := b.free(n), gr.desc.freeClusters(); fs.write && got != want {
		return nil, fs.corrupt("block bitmap", 0, gr.desc.blockBitmap(),
			"group %d has %d free clusters, its descriptor says %d", gr.num, got, want)
	}
	gr.blocks = b
	return b, nil
}

// inodeBitmap returns the inode bitmap of gr.
func (fs *FS) inodeBitmap(gr *group) (*bitmap, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if gr.inodes != nil {
		return gr.inodes, nil
	}
	n := fs.geo.inodesPerGroup
	if fs.uninit(gr, bgInodeUninit) {
		b := &bitmap{bits: make([]byte, fs.bs)}
		b.setRange(n, uint32(fs.bs)*8)
		gr.inodes = b
		return b, nil
	}
	b, err := fs.readBitmap("inode bitmap", gr, gr.desc.inodeBitmap(), gr.desc.inodeCsum(), n)
	if err != nil {
		return nil, err
	}
	if got, want := b.free(n), gr.desc.freeInodes(); fs.write && got != want {
		return nil, fs.corrupt("inode bitmap", 0, gr.desc.inodeBitmap(),
			"group %d has %d free inodes, its descriptor says %d", gr.num, got, want)
	}
	gr.inodes = b
	return b, nil
}

// readBitmap reads the bitmap in block p and compares its checksum over n bits.
func (fs *FS) readBitmap(what string, gr *group, p image.Pblk, sum uint32, n uint32) (*bitmap, error) {
	b := &bitmap{bits: make([]byte, fs.bs)}
	if err := store.ReadFull(fs.s, b.bits, int64(p)*int64(fs.bs)); err != nil {
		return nil, err
	}
	if fs.hasCsum {
		want := fs.bitmapChecksum(b.bits, n)
		if len(gr.desc) < 64 {
			want &= 0xFFFF
		}
		if sum != want {
			return nil, fs.corrupt(what, 0, p, "group %d: checksum %#x, want %#x", gr.num, sum, want)
		}
	}
	return b, nil
}

// initBlockBitmap makes the bitmap of group n, in which only metadata is in
// use. The whole of it has to be written when the group is first used.
func (fs *FS) initBlockBitmap(n uint32) *bitmap {
	b := &bitmap{bits: make([]byte, fs.bs)}
	first, end := fs.geo.firstBlock(n), fs.geo.endBlock(n)
	for _, r := range fs.system {
		if r.start >= end || r.end <= first {
			continue
		}
		lo, hi := max(r.start, first)-first, min(r.end, end)-first
		b.setRange(uint32(lo/fs.geo.ratio), uint32((hi+fs.geo.ratio-1)/fs.geo.ratio))
	}
	b.setRange(fs.geo.clusters(n), uint32(fs.bs)*8)
	return b
}
