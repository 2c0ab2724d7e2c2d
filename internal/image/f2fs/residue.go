package f2fs

import (
	"fsenc/internal/image"
)

// Residue calls f for each run of blocks in the main area that has no owner:
// what the filesystem has rewritten elsewhere, what it has freed, and what a
// device held before.
func (fs *FS) Residue(f func(off, n int64) error) error {
	start := int64(-1)
	end := int64(fs.geo.end)
	for p := int64(fs.geo.main); p < end; p++ {
		seg, off := fs.geo.segOf(image.Pblk(p))
		if off == 0 && fs.segment(seg).valid() == 0 {
			if start < 0 {
				start = p
			}
			p += segBlocks - 1
			continue
		}
		if !fs.segment(seg).used(off) {
			if start < 0 {
				start = p
			}
			continue
		}
		if start >= 0 {
			if err := f(start*blockSize, (p-start)*blockSize); err != nil {
				return err
			}
			start = -1
		}
	}
	if start < 0 {
		return nil
	}
	return f(start*blockSize, (end-start)*blockSize)
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
	if in.advise(advEncName) {
		end += 4 // the hash that a casefolded directory keeps here
	}
	if slack := in.raw[offName+min(end, maxNameLen) : offName+maxNameLen]; !zeros(slack) {
		fs.put(in)
		clear(slack)
	}
	return nil
}

func zeros(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
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
		if slack := in.inlineArea()[in.size():]; !zeros(slack) {
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
	if err := fs.cache.Read(b, int64(s.addr)*blockSize); err != nil {
		return err
	}
	if zeros(b[in.size():]) {
		return nil
	}
	clear(b[in.size():])
	fs.put(in)
	return fs.place(in, 0, b, logWarmData)
}
