package ext4

import (
	"errors"

	"fsenc/internal/image"
)

// Owned implements image.Owning. Attribute blocks are shared by inodes with the
// same attributes. The blocks of the resize inode are the filesystem's own.
func (fs *FS) Owned(ino image.Ino, f func(at image.Pblk, n uint64, shared bool)) error {
	if ino == inoResize {
		return nil
	}
	in, err := fs.inode(ino)
	if err != nil {
		return readError(err)
	}
	if p := in.raw.fileACL(); p != 0 {
		f(p, 1, true)
	}
	maps := fs.hasMapping(in)
	if in.raw.fileType() == image.TypeSymlink {
		if maps, err = fs.slowLink(in); err != nil {
			return readError(err)
		}
	}
	if !maps {
		return nil
	}
	m := &mapWalk{fs: fs, in: in, to: maxLblk}
	err = m.walk()
	for _, p := range m.tree {
		f(p, 1, false)
	}
	for _, x := range m.exts {
		f(x.Pblk, x.Len, false)
	}
	return readError(err)
}

// readError leaves out errors that tell of damage.
func readError(err error) error {
	if errors.Is(err, image.ErrCorrupt) || errors.Is(err, image.ErrNotExist) {
		return nil
	}
	return err
}

// CountFree implements image.FreeCounting. Of a group counts what is free both in
// its bitmap and in its descriptor, and never more than the superblock says.
func (fs *FS) CountFree(enough int64) (int64, error) {
	cluster := int64(fs.bs) * int64(fs.geo.ratio)
	var n int64
	for g := uint32(0); g < fs.geo.groups && n < enough; g++ {
		gr, err := fs.group(g)
		if err != nil {
			return 0, err
		}
		if gr.desc.freeClusters() == 0 {
			continue
		}
		b, err := fs.blockBitmap(gr)
		if err != nil {
			return 0, err
		}
		n += cluster * int64(min(gr.desc.freeClusters(), b.free(fs.geo.clusters(g))))
	}
	return min(n, int64(fs.sb.freeBlocks())*int64(fs.bs)), nil
}

// checkFree compares the superblock's count of free blocks with those of the
// groups, which the kernel and e2fsck keep equal in a clean image.
func (fs *FS) checkFree() (super, groups uint64, err error) {
	for g := range fs.geo.groups {
		gr, err := fs.group(g)
		if err != nil {
			return 0, 0, err
		}
		groups += uint64(gr.desc.freeClusters()) * fs.geo.ratio
	}
	return fs.sb.freeBlocks(), groups, nil
}
