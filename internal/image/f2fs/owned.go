package f2fs

import (
	"errors"

	"fsenc/internal/image"
)

// Owned implements image.Owning. No two inodes share a block.
func (fs *FS) Owned(ino image.Ino, f func(at image.Pblk, n uint64, shared bool)) error {
	return readError(fs.glance(ino, func(in *inode) error { return fs.owned(in, f) }))
}

func (fs *FS) owned(in *inode, f func(at image.Pblk, n uint64, shared bool)) error {
	hold := func(addr uint32) {
		if p := image.Pblk(addr); fs.geo.inMain(p) {
			f(p, 1, false)
		}
	}
	hold(uint32(in.at))
	node := func(nid uint32) error {
		e, err := fs.nodeBlock(nid)
		hold(e.block)
		return err
	}
	if nid := in.u32(offXattrNid); nid != 0 {
		if err := readError(node(nid)); err != nil {
			return err
		}
	}
	return fs.walk(in, node, func(s slot) error {
		hold(s.addr)
		return nil
	})
}

// readError leaves out errors that tell of damage.
func readError(err error) error {
	if errors.Is(err, image.ErrCorrupt) || errors.Is(err, image.ErrNotExist) {
		return nil
	}
	return err
}
