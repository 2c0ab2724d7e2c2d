package f2fs

import (
	"fsenc/internal/image"
	"fsenc/internal/store"
)

// Residue calls f for each run of blocks that has no owner, in ascending order:
// what the filesystem has rewritten elsewhere and what it has freed, blocks
// between the superblocks and the first area, and those behind the last. Blocks
// that only edits without a checkpoint have freed still have one.
//
// The areas of metadata hold numbers only, and are left alone.
func (fs *FS) Residue(f func(off, n int64) error) error {
	var run struct{ start, end int64 } // bytes
	add := func(start, end int64) error {
		if start == run.end && run.end > run.start {
			run.end = end
			return nil
		}
		last := run
		run.start, run.end = start, end
		if last.end == last.start {
			return nil
		}
		return f(last.start, last.end-last.start)
	}
	if err := add(2*blockSize, int64(fs.geo.ckpt)*blockSize); err != nil {
		return err
	}
	for seg := range fs.geo.segs {
		if err := fs.freeRuns(seg, add); err != nil {
			return err
		}
	}
	size := min(fs.s.Size(), int64(min(fs.sb.u64(offBlockCount), 1<<40))*blockSize)
	if err := add(int64(fs.geo.end)*blockSize, max(size, int64(fs.geo.end)*blockSize)); err != nil {
		return err
	}
	return add(-1, -1)
}

// freeRuns calls f for the runs of free blocks of a segment, in bytes.
func (fs *FS) freeRuns(seg uint32, f func(start, end int64) error) error {
	e, old := fs.segment(seg), fs.segment(seg)
	if fs.sitOld != nil {
		old = fs.old(seg)
	}
	at := int64(fs.geo.blockOf(seg, 0))
	for off := uint32(0); off < segBlocks; {
		first := off
		for off < segBlocks && !e.used(off) && !old.used(off) {
			off++
		}
		if first < off {
			if err := f((at+int64(first))*blockSize, (at+int64(off))*blockSize); err != nil {
				return err
			}
		}
		for off < segBlocks && (e.used(off) || old.used(off)) {
			off++
		}
	}
	return nil
}

// WipeSlack clears what no entry covers in a directory, what follows the target
// of a symlink, and longer names that either had.
func (fs *FS) WipeSlack(ino image.Ino) error {
	in, err := fs.inode(ino)
	if err != nil {
		return err
	}
	switch in.fileType() {
	case image.TypeDirectory:
		err = fs.wipeDir(in)
	case image.TypeSymlink:
		err = fs.wipeLink(in)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	end := int(in.u32(offNameLen))
	if fs.keepsHash(in) {
		end += hashCopy
	}
	if slack := in.raw[offName+min(end, maxNameLen) : offName+maxNameLen]; !store.IsZero(slack) {
		fs.put(in)
		clear(slack)
	}
	return nil
}

// hashCopy is the hash that recovery needs behind a name of a directory that is
// encrypted and casefolded, in bytes.
const hashCopy = 4

// keepsHash reports whether an inode has one behind its name.
func (fs *FS) keepsHash(in *inode) bool {
	if !in.advise(advEncName) || in.advise(advLostPino) || in.u32(offNameLen)+hashCopy > maxNameLen {
		return false
	}
	dir, err := fs.inode(image.Ino(in.u32(offPino)))
	return err == nil && dir.advise(advEncrypt) && dir.flag(flCasefold)
}

func (fs *FS) wipeDir(in *inode) error {
	var changed []*dirBlock
	err := fs.dirBlocks(in, func(b *dirBlock) error {
		found, err := b.wipe()
		if err != nil {
			return fs.entryError(in, b, err)
		}
		if found {
			changed = append(changed, b)
		}
		return nil
	})
	if err != nil || len(changed) == 0 {
		return err
	}
	fs.put(in) // an inline area was wiped where it lies
	if in.inline(inDentry) {
		return nil
	}
	for _, b := range changed {
		if err := fs.place(in, b.lblk, b.b, logHotData); err != nil {
			return err
		}
	}
	return nil
}

func (fs *FS) wipeLink(in *inode) error {
	if in.inline(inData) {
		if slack := in.inlineArea()[in.size():]; !store.IsZero(slack) {
			fs.put(in)
			clear(slack)
		}
		return nil
	}
	s, err := fs.slotAt(in, 0)
	if err != nil || s.addr == nullAddr || in.size() > blockSize {
		return err
	}
	if err := fs.checkAddr(in, s); err != nil {
		return err
	}
	b := make([]byte, blockSize)
	if err := fs.readBlock(b, image.Pblk(s.addr)); err != nil {
		return err
	}
	if store.IsZero(b[in.size():]) {
		return nil
	}
	clear(b[in.size():])
	fs.put(in)
	return fs.place(in, 0, b, logWarmData)
}
