package f2fs

import (
	"fmt"

	"fsenc/internal/image"
)

// What an edit costs is what is added; blocks of directories and symlinks, which
// only move, are counted too. That inodes move as well is what CheckMoves is for.

// CostDir returns an upper bound of the bytes that SetDir allocates for names of
// the given lengths, whatever their hashes are.
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
	if in.inline(inDentry) {
		if area := inlineDentries(in.inlineArea()); slots <= area.slots {
			return 0, nil
		}
	}
	shape := dirShape(in.raw[offDirLevel])
	full := slots / (bucketBlocks * (dentriesInBlock + 1 - most))
	blocks := dirBlocksFor(shape, len(nameLens), full)
	nodes := 0
	if full > 0 || shape.first(1) > uint64(fs.shape(in).inode) {
		nodes = 2*blocks + 1 // they are scattered: each may need a direct and an indirect one
	}
	return int64(blocks+nodes) * blockSize, nil
}

// dirBlocksFor is the largest number of blocks that n names can take of which so
// many buckets can be full. Level 0 may have all of its blocks. A bucket further
// down has some only if that above it is full, and above two there is one.
func dirBlocksFor(shape dirShape, n, full int) int {
	return min(n+1, int(shape.first(1))) + min(n, 2*bucketBlocks*full)
}

// CostContext returns an upper bound of the bytes that SetContext allocates for
// a context of size bytes: a node of attributes or nothing.
func (fs *FS) CostContext(ino image.Ino, size int) (cost int64, err error) {
	err = fs.glance(ino, func(in *inode) error {
		list, err := fs.otherXattrs(in)
		if err != nil {
			return err
		}
		ok, node := in.fits(append(list, contextXattr(make([]byte, size))))
		switch {
		case !ok:
			return contextRoomError(ino)
		case node && in.u32(offXattrNid) == 0:
			cost = blockSize
		}
		return nil
	})
	return cost, err
}

// CostLink returns an upper bound of the bytes that SetLink allocates.
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

// CostUninline returns the bytes that Uninline allocates.
func (fs *FS) CostUninline(ino image.Ino) (cost int64, err error) {
	err = fs.glance(ino, func(in *inode) error {
		if err := in.mustBeInline(); err != nil {
			return err
		}
		if in.size() > 0 {
			cost = blockSize
		}
		return nil
	})
	return cost, err
}

// CheckMoves implements image.Moving. Two versions of an inode exist until the
// next checkpoint, and what is freed in the current segments of the kernel is
// not used again, so in the worst case, which is that of one large directory,
// two blocks are taken for an inode.
func (fs *FS) CheckMoves(inodes uint64, added int64) error {
	var lost uint64
	for log := range logs {
		if seg, _ := fs.ckpt.curSeg(log); isNodeLog(log) {
			lost += uint64(fs.segment(seg).valid())
		}
	}
	need := int64(min(inodes, fs.validNodes)+min(inodes, lost)) + added/blockSize
	if have := fs.wholeBlocks(); need > have {
		return fmt.Errorf("%w: inodes move, which may take %d blocks, and %d are in free segments",
			image.ErrNoSpace, need, have)
	}
	return nil
}
