// Package btrfs reads and edits btrfs images of one device.
//
// Integers are little-endian. Logical addresses are bytes in btrfs's own address
// space, physical ones bytes of the device. A block of image.Pblk is a sector of
// the logical space, usually 4096 bytes; a tree block is a node, usually 16 KiB.
// Structures follow the kernel's include/uapi/linux/btrfs_tree.h (6.12) and are
// named as there. Encryption follows the series v6 of February 2026, which no
// released kernel has; encrypted inline extents and the mark of an unfinished
// conversion are this project's own.
//
// An image.Ino is the number of a subvolume, 0 for the top-level one, shifted by
// 48 bits, and the number that stat(2) shows.
//
// # What lies where
//
//	super.go     superblock and its copies; chunk.go logical to physical
//	block.go     tree blocks: leaves and nodes; tree.go searching them
//	subvol.go    file trees; inode.go, dir.go, extent.go what is in them
//	cow.go       changing trees copy on write; item.go items of a leaf
//	space.go     free space; alloc.go taking it; group.go new chunks; room.go limits
//	ref.go       references to extents; extentitem.go, applyref.go in their tree
//	freespace.go the free space tree; sums.go checksums of data
//	setdir.go, link.go, context.go, create.go, remove.go, share.go edits
//	flush.go     one transaction; fresh.go what it puts into free space
//	residue.go   what is to be wiped
//
// # Editing
//
// A transaction puts every tree block that changes into free space, and never
// takes space that it has itself freed. Flush ends it with the superblock: until
// that is written the old state is whole. Contents of files do not move; who
// rewrites them in place protects them by other means.
package btrfs

import "encoding/binary"

var le = binary.LittleEndian
