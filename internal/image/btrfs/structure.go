package btrfs

import (
	"errors"
	"fmt"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// structure checks what a filesystem is made of: that each extent has just the
// references that the trees give, both ways, that chunks, block groups and free
// space tell of the same bytes, that data have the checksums they should have,
// and how subvolumes refer to one another. It believes nothing that an edit has
// in memory. It holds some 60 bytes for each extent, tree blocks included.
type structure struct {
	fs    *FS
	found finder

	extents []extentUse           // in the extent tree, ascending
	lost    map[uint64]*extentUse // in use, and not in the extent tree
	partial bool                  // a tree could not be read whole: what it refers to is not known

	summed   []span // data that must have checksums
	unsummed []span // data that must have none
	inode    key    // the file under way in summing, and whether its data have none
	noSums   bool

	buf []byte // for copies of tree blocks

	detail map[uint64]*refDiff // of the extents that do not fit, in the second turn
}

func newStructure(fs *FS, found finder) *structure {
	return &structure{fs: fs, found: found, lost: make(map[uint64]*extentUse)}
}

// CheckVolume implements image.Checker.
func (fs *FS) CheckVolume(report func(image.Finding)) {
	found := func(id string, s image.Severity, advice, format string, a ...any) {
		report(image.Finding{ID: id, Severity: s, Text: fmt.Sprintf(format, a...), Advice: advice})
	}
	if fs.sb.has(incompatUnfinished) {
		found("unfinished", image.Error, "run fsenc resume or fsenc undo", "a conversion of this image was interrupted")
	}
	if fs.sb.u64(offLogRoot) != 0 {
		found("log-tree", image.Error, "mount the image once", "files that were synced last wait in the log tree")
		return // its blocks are not in the extent tree
	}
	fs.checkSupers(found)
	s := newStructure(fs, found)
	for _, step := range []func() error{s.readExtents, s.walkTrees, s.compareExtents, s.checkNonces, s.checkGroups, s.checkDevice, s.checkSums, s.checkSubvolumes} {
		if err := step(); err != nil {
			s.damaged(err)
		}
	}
}

// damaged reports what a step could not read.
func (s *structure) damaged(err error) {
	var corrupt *image.CorruptError
	if errors.As(err, &corrupt) {
		s.found("structure-damaged", image.Error, adviceCheck, "%v", err)
		return
	}
	s.found("structure-unread", image.Error, "", "%v", err)
}

// checkSupers compares the copies of the superblock with the first.
func (fs *FS) checkSupers(found finder) {
	for i, at := range superAddrs {
		if at+superSize > int64(min(le.Uint64(fs.sb.devItem()[offDevTotal:]), uint64(fs.s.Size()))) {
			return
		}
		c := &super{raw: make([]byte, superSize)}
		err := store.ReadFull(fs.s, c.raw, at)
		if err == nil && string(c.raw[offMagic:][:8]) != superMagic {
			err = superError("no magic")
		}
		if err == nil {
			err = c.verify(at)
		}
		switch {
		case err != nil:
			found("superblock-damaged", image.Warning, "btrfs rescue super-recover restores it", "copy %d: %v", i, err)
		case c.u64(offGeneration) != fs.sb.u64(offGeneration) || c.u64(offIncompat) != fs.sb.u64(offIncompat):
			found("superblocks-differ", image.Error, adviceCheck, "copy %d is of generation %d with features %#x, the first of %d with %#x",
				i, c.u64(offGeneration), c.u64(offIncompat), fs.sb.u64(offGeneration), fs.sb.u64(offIncompat))
		}
	}
}
