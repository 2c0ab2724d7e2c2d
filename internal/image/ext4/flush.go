package ext4

import (
	"slices"
	"time"
)

// clockTick is how far the clock of time(2), which e2fsck reads, can be behind
// ours: without it a write time just taken is in the future for e2fsck.
const clockTick = 20 * time.Millisecond

// Flush stages the bitmaps and descriptors that changed, and the superblock.
// Other copies of the descriptors are left as they are: nobody compares them.
func (fs *FS) Flush() error {
	var dirty []uint32
	for n, gr := range fs.groups {
		if gr.dirty {
			dirty = append(dirty, n)
		}
	}
	slices.Sort(dirty)
	for _, n := range dirty {
		if err := fs.flushGroup(fs.groups[n]); err != nil {
			return err
		}
	}
	if !fs.sb.dirty {
		return nil
	}
	fs.sb.setWtime(fs.now().Add(-clockTick))
	if err := fs.writeSuper(fs.sb.raw, superOffset); err != nil {
		return err
	}
	fs.sb.dirty = false
	return nil
}

// flushGroup stages the bitmaps of gr, and then the descriptor that holds
// their checksums.
func (fs *FS) flushGroup(gr *group) error {
	if b := gr.blocks; b != nil && b.lo < b.hi {
		if err := fs.flushBitmap(b, int64(gr.desc.blockBitmap())); err != nil {
			return err
		}
		if fs.hasCsum {
			gr.desc.setBlockCsum(fs.bitmapChecksum(b.bits, fs.geo.clustersPerGroup))
		}
	}
	if b := gr.inodes; b != nil && b.lo < b.hi {
		if err := fs.flushBitmap(b, int64(gr.desc.inodeBitmap())); err != nil {
			return err
		}
		if fs.hasCsum {
			gr.desc.setInodeCsum(fs.bitmapChecksum(b.bits, fs.geo.inodesPerGroup))
		}
	}
	gr.desc.setChecksum(fs.descChecksum(gr.num, gr.desc))
	if err := fs.cache.Write(gr.desc, fs.descOffset(gr.num)); err != nil {
		return err
	}
	gr.dirty = false
	return nil
}

// flushBitmap stages the bytes of b, block p, that changed.
func (fs *FS) flushBitmap(b *bitmap, p int64) error {
	err := fs.cache.Write(b.bits[b.lo:b.hi], p*int64(fs.bs)+int64(b.lo))
	b.lo, b.hi = 0, 0
	return err
}

// writeSuper seals raw, a superblock or a backup of it, and stages it.
func (fs *FS) writeSuper(raw []byte, off int64) error {
	if fs.hasCsum {
		le.PutUint32(raw[offSuperChecksum:], superChecksum(raw))
	}
	return fs.cache.Write(raw, off)
}
