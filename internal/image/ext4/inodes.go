package ext4

import (
	"fsenc/internal/image"
)

// tableChunk is how much of an inode table is read at once, in bytes.
const tableChunk = 256 << 10

// Inodes calls f for each used inode in ascending order. The tables are read
// in large pieces, and where no inode is used not at all.
func (fs *FS) Inodes(f func(image.Attr, error) error) error {
	chunk := make([]byte, max(tableChunk, fs.geo.inodeSize))
	for n := range fs.geo.groups {
		if err := fs.groupInodes(n, chunk, f); err != nil {
			return err
		}
	}
	return nil
}

// groupInodes calls f for each used inode of group n; chunk is a buffer.
func (fs *FS) groupInodes(n uint32, chunk []byte, f func(image.Attr, error) error) error {
	gr, err := fs.group(n)
	if err != nil || fs.uninit(gr, bgInodeUninit) {
		return err
	}
	b, err := fs.inodeBitmap(gr)
	if err != nil {
		return err
	}
	per, isize := fs.geo.inodesPerGroup, fs.geo.inodeSize
	table := int64(gr.desc.inodeTable()) * int64(fs.bs)
	step := uint32(len(chunk) / isize)
	for i := b.next(0, per, true); i < per; {
		// From the first used slot to as far as the buffer goes.
		end := min(i+step, per)
		part := chunk[:int(end-i)*isize]
		if err := readFull(fs.s, part, table+int64(i)*int64(isize)); err != nil {
			return err
		}
		first := i
		for ; i < end; i = b.next(i+1, per, true) {
			off := int(i-first) * isize
			in := &inode{ino: image.Ino(n)*image.Ino(per) + image.Ino(i) + 1, raw: part[off : off+isize]}
			if in.raw.free() {
				continue // of the reserved numbers, some have no inode
			}
			if err := f(fs.attr(in), fs.verifyInode(in)); err != nil {
				return err
			}
		}
	}
	return nil
}
