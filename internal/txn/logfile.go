package txn

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// LogFile is a log in a file of its own. It grows as it is written.
type LogFile struct{ f *os.File }

// ErrLogExists: a log is there already, so a conversion is unfinished.
var ErrLogExists = errors.New("log exists")

// CreateLogFile makes a new log file, readable by its owner only, and makes
// its name durable.
func CreateLogFile(path string) (*LogFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w: %s", ErrLogExists, path)
	}
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		f.Close()
		return nil, fmt.Errorf("create log: %w", err)
	}
	return &LogFile{f}, nil
}

// OpenLogFile opens a log that is there.
func OpenLogFile(path string) (*LogFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &LogFile{f}, nil
}

// Remove closes and unlinks the log.
func (l *LogFile) Remove() error {
	path := l.f.Name()
	if err := l.f.Close(); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove log: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// Close closes the file and leaves it there.
func (l *LogFile) Close() error { return l.f.Close() }

// Path is the name that it was opened by.
func (l *LogFile) Path() string { return l.f.Name() }

// ReadAt, WriteAt, Size, Sync and Zero make it a store.Store.
func (l *LogFile) ReadAt(p []byte, off int64) (int, error) { return l.f.ReadAt(p, off) }

// WriteAt grows the file where p reaches past its end.
func (l *LogFile) WriteAt(p []byte, off int64) (int, error) { return l.f.WriteAt(p, off) }

// Size is the length of the file now, 0 if it cannot be told.
func (l *LogFile) Size() int64 {
	st, err := l.f.Stat()
	if err != nil {
		return 0
	}
	return st.Size()
}

// Sync makes the log durable.
func (l *LogFile) Sync() error {
	for {
		if err := unix.Fdatasync(int(l.f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// Zero writes zeros.
func (l *LogFile) Zero(off, n int64) error {
	zeros := make([]byte, min(n, 1<<20))
	for n > 0 {
		c := min(n, int64(len(zeros)))
		if _, err := l.f.WriteAt(zeros[:c], off); err != nil {
			return err
		}
		off, n = off+c, n-c
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
