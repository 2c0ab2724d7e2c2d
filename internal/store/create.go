package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CreateFile makes a new regular file of size bytes, all a hole, readable by
// its owner only, and locks it. It fails if there is one.
func CreateFile(path string, size int64) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	s := &File{f: f, size: size}
	if err := errors.Join(f.Truncate(size), s.lock(true)); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), s.Drop())
	}
	return s, nil
}

// Publish gives a complete file its final name, durably, unless there is
// another file of that name. The caller has called Sync.
func (s *File) Publish(path string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, s.f.Name(), unix.AT_FDCWD, path, unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("name the copy %s: %w", path, err)
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Drop closes and removes a file that is not going to be complete.
func (s *File) Drop() error { return errors.Join(os.Remove(s.f.Name()), s.f.Close()) }
