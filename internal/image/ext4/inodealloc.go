package ext4

import (
	"fsenc/internal/image"
)

// inodeUsed reports whether the bitmap says that ino, a valid number, is in use.
func (fs *FS) inodeUsed(ino image.Ino) (bool, error) {
	n, bit := fs.inodeGroup(ino)
	gr, err := fs.group(n)
	if err != nil {
		return false, err
	}
	b, err := fs.inodeBitmap(gr)
	if err != nil {
		return false, err
	}
	return b.get(bit), nil
}

// allocInode takes a free inode in the group of near, or else the next group
// that has one. The slot is zero; the caller puts the inode.
func (fs *FS) allocInode(near image.Ino, dir bool) (image.Ino, error) {
	first, _ := fs.inodeGroup(near)
	for i := range fs.geo.groups {
		num := uint32((uint64(first) + uint64(i)) % uint64(fs.geo.groups))
		ino, err := fs.allocInodeIn(num, dir)
		if ino != 0 || err != nil {
			return ino, err
		}
	}
	return 0, image.ErrNoSpace
}

// allocInodeIn takes a free inode of group num; 0 if there is none.
func (fs *FS) allocInodeIn(num uint32, dir bool) (image.Ino, error) {
	gr, err := fs.group(num)
	if err != nil || gr.desc.freeInodes() == 0 {
		return 0, err
	}
	b, err := fs.inodeBitmap(gr)
	if err != nil {
		return 0, err
	}
	n, from := fs.geo.inodesPerGroup, uint32(0)
	if num == 0 {
		from = fs.sb.firstIno() - 1
	}
	bit := b.next(min(from, n), n, false)
	if bit == n {
		return 0, nil
	}
	if err := fs.initInodes(gr, b, bit); err != nil {
		return 0, err
	}
	b.set(bit)
	gr.desc.setFreeInodes(gr.desc.freeInodes() - 1)
	if dir {
		gr.desc.setUsedDirs(gr.desc.usedDirs() + 1)
	}
	fs.sb.set32(offFreeInodes, fs.sb.freeInodes()-min(1, fs.sb.freeInodes()))
	fs.touch(gr)
	return image.Ino(num)*image.Ino(n) + image.Ino(bit) + 1, nil
}

// initInodes makes the table of gr valid up to and including slot bit, and
// that slot zero. What lies behind itable_unused was perhaps never written.
func (fs *FS) initInodes(gr *group, b *bitmap, bit uint32) error {
	first := bit
	if fs.hasGroupCsum() {
		if fs.uninit(gr, bgInodeUninit) {
			gr.desc.setFlags(gr.desc.flags() &^ bgInodeUninit)
			gr.desc.setItableUnused(fs.geo.inodesPerGroup)
			b.touch(0, len(b.bits))
		}
		// The kernel takes a group with inodes to have a block bitmap.
		blocks, err := fs.blockBitmap(gr)
		if err != nil {
			return err
		}
		fs.initBlocks(gr, blocks)
		if valid := fs.geo.inodesPerGroup - gr.desc.itableUnused(); valid <= bit {
			first = valid
			gr.desc.setItableUnused(fs.geo.inodesPerGroup - bit - 1)
		}
	}
	off := int64(gr.desc.inodeTable())*int64(fs.bs) + int64(first)*int64(fs.geo.inodeSize)
	return fs.cache.Write(make([]byte, int(bit-first+1)*fs.geo.inodeSize), off)
}

// freeInode gives back ino and zeroes its slot.
func (fs *FS) freeInode(ino image.Ino, dir bool) error {
	off, err := fs.inodeOffset(ino)
	if err != nil {
		return err
	}
	num, bit := fs.inodeGroup(ino)
	gr, err := fs.group(num)
	if err != nil {
		return err
	}
	b, err := fs.inodeBitmap(gr)
	if err != nil {
		return err
	}
	if !b.get(bit) || ino < image.Ino(fs.sb.firstIno()) {
		return fs.corrupt("inode bitmap", ino, 0, "an inode to be freed is free or reserved")
	}
	b.clear(bit)
	gr.desc.setFreeInodes(gr.desc.freeInodes() + 1)
	if dir {
		gr.desc.setUsedDirs(gr.desc.usedDirs() - min(1, gr.desc.usedDirs()))
	}
	fs.sb.set32(offFreeInodes, fs.sb.freeInodes()+1)
	fs.touch(gr)
	return fs.cache.Write(make([]byte, fs.geo.inodeSize), off)
}
