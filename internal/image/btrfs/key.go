package btrfs

import "fmt"

// Numbers of trees and of objects in the root tree.
const (
	treeRoot       = 1
	treeExtent     = 2
	treeChunk      = 3
	treeDev        = 4
	treeFS         = 5
	objRootDir     = 6
	treeCsum       = 7
	treeQuota      = 8
	treeFreeSpace  = 10
	treeBlockGroup = 11
	firstFree      = 256              // of file trees, and of inodes in them
	lastFree       = ^uint64(0) - 255 // -256
	objBalance     = ^uint64(0) - 3
	objOrphan      = ^uint64(0) - 4
	objRelocTree   = ^uint64(0) - 7
	treeDataReloc  = ^uint64(0) - 8
	objCsum        = ^uint64(0) - 9
	objFreeSpace   = ^uint64(0) - 10
)

// Types of items.
const (
	keyInode        = 1
	keyInodeRef     = 12
	keyInodeExtref  = 13
	keyXattr        = 24
	keyVerityDesc   = 36
	keyVerityTree   = 37
	keyInodeContext = 41 // proposed: encryption context of an inode
	keyContext      = 42 // proposed: encryption context of an extent
	keyOrphan       = 48
	keyDirItem      = 84
	keyDirIndex     = 96
	keyExtentData   = 108
	keyCsum         = 128
	keyRoot         = 132
	keyRootBackref  = 144
	keyRootRef      = 156
	keyExtent       = 168
	keyMetadata     = 169
	keyOwnerRef     = 172
	keyTreeRef      = 176
	keyDataRef      = 178
	keySharedBlock  = 182
	keySharedData   = 184
	keyBlockGroup   = 192
	keyFreeInfo     = 198
	keyFreeExtent   = 199
	keyFreeBitmap   = 200
	keyDevExtent    = 204
	keyDev          = 216
	keyChunk        = 228
	keyQgroupStatus = 240
	keyBalance      = 248
	keyDevReplace   = 250
)

// key is struct btrfs_disk_key: 17 bytes on disk.
type key struct {
	obj  uint64
	kind uint8
	off  uint64
}

const keySize = 17

func keyOf(b []byte) key { return key{le.Uint64(b), b[8], le.Uint64(b[9:])} }

func (k key) put(b []byte) {
	le.PutUint64(b, k.obj)
	b[8] = k.kind
	le.PutUint64(b[9:], k.off)
}

func (k key) less(o key) bool {
	return k.obj < o.obj || k.obj == o.obj && (k.kind < o.kind || k.kind == o.kind && k.off < o.off)
}

func (k key) String() string { return fmt.Sprintf("(%d, %d, %d)", int64(k.obj), k.kind, k.off) }

// next is the key behind k.
func (k key) next() key {
	if k.off++; k.off == 0 {
		if k.kind++; k.kind == 0 {
			k.obj++
		}
	}
	return k
}
