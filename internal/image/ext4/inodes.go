package ext4

import (
	"slices"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// tableChunk is how much of an inode table is read at once, in bytes.
const tableChunk = 64 << 10

// visitedSlots is how many inodes of tables can be at hand at the same time.
const visitedSlots = 16

// Inodes calls f for each used inode in ascending order. The tables are read
// in large pieces, and where no inode is used not at all.
func (fs *FS) Inodes(f func(image.Attr, error) error) error {
	return fs.InodesIn(1, image.Ino(fs.geo.inodes)+1, f)
}

// InodesIn implements image.Ranged.
func (fs *FS) InodesIn(first, end image.Ino, f func(image.Attr, error) error) error {
	first, end = max(first, 1), min(end, image.Ino(fs.geo.inodes)+1)
	for first < end {
		n, bit := fs.inodeGroup(first)
		last := min(image.Ino(fs.geo.inodesPerGroup-bit), end-first)
		if err := fs.groupInodes(n, bit, bit+uint32(last), f); err != nil {
			return err
		}
		first += last
	}
	return nil
}

// groupInodes calls f for each used inode of group n from one bit of its
// bitmap up to another.
func (fs *FS) groupInodes(n, from, to uint32, f func(image.Attr, error) error) error {
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
	step := uint32(max(tableChunk/isize, 1))
	for i := b.next(from, to, true); i < to; {
		// From the first used slot on. What is read is not reused: whoever looks
		// at an inode may still refer to it.
		end := min(i+step, to)
		part := make([]byte, int(end-i)*isize)
		if err := store.ReadFull(fs.s, part, table+int64(i)*int64(isize)); err != nil {
			return err
		}
		first := i
		for ; i < end; i = b.next(i+1, to, true) {
			off := int(i-first) * isize
			in := &inode{ino: image.Ino(n)*image.Ino(per) + image.Ino(i) + 1, raw: part[off : off+isize : off+isize]}
			if in.raw.free() {
				continue // of the reserved numbers, some have no inode
			}
			if err := fs.visit(in, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// visit calls f for an inode of a table. While f runs, look need not read it
// again, unless f may have changed it.
func (fs *FS) visit(in *inode, f func(image.Attr, error) error) error {
	err := fs.verifyInode(in)
	if err == nil && !fs.write {
		if list, e := fs.ibodyXattrs(in); e == nil { // else whoever asks is told
			in.body, in.parsed = slices.Clip(list), true
		}
		at := &fs.visited[in.ino%visitedSlots]
		at.Store(in)
		defer at.Store(nil)
	}
	return f(fs.attr(in), err)
}
