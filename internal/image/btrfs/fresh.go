package btrfs

import "fsenc/internal/store"

// What a transaction puts into free space waits in memory until Flush writes it:
// tree blocks, and the data of extents that are new. The last may change until
// then, so that what is encrypted right after it was moved out of an item is never
// written as it was.

// writeFresh gives what is in memory to the store, which keeps it: from now on it
// only is read. Nothing refers to its places yet.
func (fs *FS) writeFresh() error {
	for addr, b := range fs.dirty {
		fs.sum.seal(b.raw)
		if err := fs.writePlaces(b.raw, addr); err != nil {
			return err
		}
	}
	for addr, b := range fs.data {
		if err := fs.writePlaces(b, addr); err != nil {
			return err
		}
	}
	return nil
}

// writePlaces writes bytes, which the store keeps, to all copies of a place that
// nothing refers to yet.
func (fs *FS) writePlaces(p []byte, logical uint64) error {
	write := func(p []byte, off int64) error {
		_, err := fs.s.WriteAt(p, off)
		return err
	}
	if s, ok := fs.s.(store.Fresh); ok {
		write = s.WriteFresh
	}
	return fs.pieces(logical, uint64(len(p)), func(part piece) error {
		for _, at := range part.places {
			if err := write(p[part.skip:][:part.n], int64(at)); err != nil {
				return err
			}
		}
		return nil
	})
}

// keepData keeps the data of a new extent, whose memory now is the filesystem's,
// until Flush.
func (fs *FS) keepData(p []byte, logical uint64) {
	for ; len(p) > 0; p, logical = p[fs.ss:], logical+uint64(fs.ss) {
		fs.data[logical] = p[:fs.ss:fs.ss]
	}
}

// readKept fills p with what is kept of a range, and reports whether that is all
// of it.
func (fs *FS) readKept(p []byte, logical uint64) bool {
	if len(fs.data) == 0 {
		return false
	}
	all := true
	for ; len(p) > 0; p, logical = p[fs.ss:], logical+uint64(fs.ss) {
		if b := fs.data[logical]; b != nil {
			copy(p, b)
		} else {
			all = false
		}
	}
	return all
}

// writeKept changes what is kept of a range, and stages the rest.
func (fs *FS) writeKept(p []byte, logical uint64) error {
	if len(fs.data) == 0 {
		return fs.writeLogical(p, logical)
	}
	for ; len(p) > 0; p, logical = p[fs.ss:], logical+uint64(fs.ss) {
		if b := fs.data[logical]; b != nil {
			copy(b, p)
		} else if err := fs.writeLogical(p[:fs.ss], logical); err != nil {
			return err
		}
	}
	return nil
}
