package f2fs

import (
	"fmt"

	"fsenc/internal/image"
)

// What an edit costs is counted in blocks that are written anew, those that only
// move included: what they free can be used again, but not before the next
// checkpoint, and by blocks of the same kind. A conversion writes each inode
// twice, for its context and for its name in its directory. CostDir counts both
// for all that the directory names; the others count only what is added.

// CostDir returns an upper bound of the bytes that SetDir takes for names of the
// given lengths, whatever their hashes are.
func (fs *FS) CostDir(dir image.Ino, nameLens []int, encrypted bool) (int64, error) {
	in, err := fs.dirInode(dir)
	if err != nil {
		return 0, err
	}
	slots, most := 2, 1
	for _, n := range nameLens {
		if n < 1 || n > maxNameLen {
			return 0, fmt.Errorf("%w: name of %d bytes in directory inode %d", image.ErrUnsupported, n, dir)
		}
		slots += slotsFor(n)
		most = max(most, slotsFor(n))
	}
	inodes := 2 * (len(nameLens) + 1)
	if in.inline(inDentry) {
		if area := inlineDentries(in.inlineArea()); slots <= area.slots {
			return int64(inodes) * blockSize, nil
		}
	}
	shape := dirShape(in.raw[offDirLevel])
	full := slots / (bucketBlocks * (dentriesInBlock + 1 - most))
	blocks := dirBlocksFor(shape, len(nameLens), full)
	nodes := 0
	if full > 0 || shape.first(1) > uint64(fs.shape(in).inode) {
		nodes = 2*blocks + 1 // they are scattered: each may need a direct and an indirect one
	}
	return int64(inodes+blocks+nodes) * blockSize, nil
}

// dirBlocksFor is the largest number of blocks that n names can take of which so
// many buckets can be full. Level 0 may have all of its blocks. A bucket further
// down has some only if that above it is full, and above two there is one.
func dirBlocksFor(shape dirShape, n, full int) int {
	return min(n+1, int(shape.first(1))) + min(n, 2*bucketBlocks*full)
}

// CostContext returns an upper bound of the bytes that SetContext takes for a
// context of size bytes, beyond what CostDir has counted: a node of attributes.
func (fs *FS) CostContext(ino image.Ino, size int) (int64, error) {
	in, err := fs.inode(ino)
	if err != nil {
		return 0, err
	}
	list, err := fs.otherXattrs(in)
	if err != nil {
		return 0, err
	}
	ok, node := in.fits(append(list, contextXattr(make([]byte, size))))
	switch {
	case !ok:
		return 0, contextRoomError(ino)
	case node:
		return blockSize, nil
	}
	return 0, nil
}

// CostLink returns an upper bound of the bytes that SetLink takes, its inode left
// out.
func (fs *FS) CostLink(ino image.Ino, size int, _ bool) (int64, error) {
	in, err := fs.linkFor(ino, size)
	if err != nil {
		return 0, err
	}
	if in.inline(inData) && size <= len(in.inlineArea()) {
		return 0, nil
	}
	return blockSize, nil
}

// CostUninline returns the bytes that Uninline takes, its inode left out.
func (fs *FS) CostUninline(ino image.Ino) (int64, error) {
	in, err := fs.inlineFile(ino)
	if err != nil || in.size() == 0 {
		return 0, err
	}
	return blockSize, nil
}
