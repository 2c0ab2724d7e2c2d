// Package ext4 reads and edits ext4 images, and the ext2 and ext3 layouts that
// Linux mounts as ext4.
//
// Integers are little-endian, those of the journal big-endian. Blocks are
// 1 KiB to 64 KiB; a Pblk counts blocks from the start of the image. Field
// names and offsets are those of the kernel's fs/ext4/ext4.h (6.12) and of
// e2fsprogs 1.47. What is edited in place is a view of the bytes as they lie
// on disk, so that fields newer than this package survive.
//
// Edits are staged in the store that the filesystem was opened on: the
// package never overwrites anything by itself and never reorders. An inode's
// bytes are written as just those bytes, never with their neighbours in the
// block, so that a redo log of the writes holds nothing of other inodes.
//
// Files: open.go super.go geometry.go feature*.go hold the superblock, groups.go
// system.go bitmap.go the groups, csum.go the checksums, cache.go what was
// read; inode.go inodes.go stat.go slots.go the inodes; extent.go indirect.go
// mapping.go mapedit.go the block mapping; alloc.go inodealloc.go quota*.go
// flush.go the accounting; dir*.go htree*.go hash.go inlinedir.go the
// directories, setdir.go insert.go their edits, cost.go what those take;
// xattr*.go context.go link.go inline.go what hangs on an inode; create.go new
// inodes; journal.go mmp.go the state; residue.go the ranges that hold nothing;
// check.go boot.go what is worth telling.
package ext4
