package f2fs

import (
	"errors"

	"fsenc/internal/image"
)

// Owned implements image.Owning. No two inodes share a block.
func (fs *FS) Owned(ino image.Ino, f func(at image.Pblk, n uint64, shared bool)) error {
	in, err := fs.inode(ino)
	if err != nil {
		return readError(err)
	}
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
	err = fs.walk(in, node, func(s slot) error {
		hold(s.addr)
		return nil
	})
	return readError(err)
}

// readError leaves out errors that tell of damage.
func readError(err error) error {
	if errors.Is(err, image.ErrCorrupt) || errors.Is(err, image.ErrNotExist) {
		return nil
	}
	return err
}
