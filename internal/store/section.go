package store

import (
	"fmt"
	"io"
)

// section is a window of another store.
type section struct {
	s         Store
	off, size int64
}

// Section returns the window of s of size bytes from off, as a store of its
// own: a partition of a disk. Closing s ends it. It panics when the window is
// not inside s; callers check what comes from an image or a user.
func Section(s Store, off, size int64) Store {
	if off < 0 || size < 0 || off > s.Size()-size {
		panic(fmt.Sprintf("store: section of %d bytes at %d of %d", size, off, s.Size()))
	}
	return &section{s, off, size}
}

func (c *section) inside(off, n int64) error {
	if off < 0 || n < 0 || off > c.size-n {
		return fmt.Errorf("%w: %d bytes at %d of %d", ErrRange, n, off, c.size)
	}
	return nil
}

func (c *section) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, c.inside(off, int64(len(p)))
	}
	if off >= c.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > c.size-off
	if short {
		p = p[:c.size-off]
	}
	n, err := c.s.ReadAt(p, c.off+off)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

func (c *section) WriteAt(p []byte, off int64) (int, error) {
	if err := c.inside(off, int64(len(p))); err != nil {
		return 0, err
	}
	return c.s.WriteAt(p, c.off+off)
}

func (c *section) Size() int64 { return c.size }

func (c *section) Sync() error { return c.s.Sync() }

func (c *section) Zero(off, n int64) error {
	if err := c.inside(off, n); err != nil {
		return err
	}
	return c.s.Zero(c.off+off, n)
}
