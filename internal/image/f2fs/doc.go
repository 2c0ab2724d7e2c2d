// Package f2fs reads and edits f2fs images.
//
// Blocks are 4096 bytes, segments 512 blocks; block addresses count from the
// start of the image. Integers are little-endian, structures packed. They
// follow the kernel's include/linux/f2fs_fs.h (6.1) and are named as there;
// encrypted inline data follows the series v3 that was proposed in June 2026.
//
// # What lies where
//
//	super.go       superblock and geometry; feature.go changes it, and has the mark
//	checkpoint.go  the two packs; flush.go writes one
//	nat.go         node address table; sit.go segment information; summary.go owners of blocks
//	node.go        node blocks, their footers; inode.go the inode in one
//	address.go     block addresses of a file and the tree of nodes below an inode
//	xattr.go       the string of attributes; context.go changes it
//	dentry.go      entries in blocks and in inodes; bucket.go where a hash belongs
//	alloc.go       where new blocks go; edit.go what has changed; cost.go what it takes
//
// # Editing
//
// Node blocks that change are kept in memory, blocks of entries and symlinks are
// written to places that the last checkpoint does not know, and Flush writes one
// checkpoint that refers to them: nothing that the last one needs is
// overwritten, so the second checkpoint block of the new pack is the commit
// point. FlushEarly lets go of what is in memory without a checkpoint: until the
// next one it lies in free space. Contents of files do not move; who rewrites
// them in place protects them by other means. After a Flush the pack before it
// refers to blocks that the next one may reuse, or that are wiped: Settle
// overwrites it.
//
// # The mark
//
// Neither the kernel nor fsck.f2fs minds unknown features. What both refuse is a
// size of segments other than 2^9 blocks: an unfinished conversion has
// markedLogSegment in that field of both superblocks.
package f2fs

import "encoding/binary"

var le = binary.LittleEndian

const (
	blockSize    = 4096
	blockBits    = 12
	segBlocks    = 512
	maxNameLen   = 255
	inlineXattrs = 50 // words of the inline xattr area where the inode does not say
)
