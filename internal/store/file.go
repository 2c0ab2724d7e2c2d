package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Errors that callers branch on.
var (
	// ErrLocked: another process holds the lock on the image.
	ErrLocked = errors.New("locked by another process")
	// ErrInUse: the kernel has the image mounted or attached to a device.
	ErrInUse = errors.New("in use")
	// ErrRange: an access that is not inside the store.
	ErrRange = errors.New("outside of the image")
)

// File is a Store over a regular file or a block device.
//
// It holds an open file description lock from OpenFile to Close: shared by
// readers, exclusive for a writer. The kernel drops it when the process dies.
type File struct {
	f      *os.File
	size   int64
	device bool
	sector int64 // bytes of a logical sector, of a device
}

// OpenFile opens an image for reading or for reading and writing. It fails
// with ErrLocked while another process works on the image, and with ErrInUse
// when the kernel refuses exclusive use of a block device.
func OpenFile(path string, write bool) (*File, error) {
	s, err := open(path, openFlags(path, write))
	if err != nil {
		return nil, err
	}
	if err := s.lock(write); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), s.Close())
	}
	return s, nil
}

// OpenForced is OpenFile without lock and without exclusive use of a device:
// the user said that whoever has it does not touch it.
func OpenForced(path string, write bool) (*File, error) {
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	return open(path, flags)
}

// openFlags asks for exclusive use of a block device that is to be written:
// the kernel then refuses to mount it until it is closed.
func openFlags(path string, write bool) int {
	if !write {
		return os.O_RDONLY
	}
	if st, err := os.Stat(path); err == nil && st.Mode()&os.ModeDevice != 0 {
		return os.O_RDWR | os.O_EXCL
	}
	return os.O_RDWR
}

func open(path string, flags int) (*File, error) {
	// Without O_NONBLOCK a fifo given by mistake waits for a writer.
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0o600)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%s: %w: the kernel refuses exclusive use", path, ErrInUse)
	}
	if err != nil {
		return nil, err
	}
	s := &File{f: f}
	if err := s.measure(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return s, nil
}

// measure finds size and kind of the opened file.
func (s *File) measure() error {
	st, err := s.f.Stat()
	if err != nil {
		return err
	}
	switch m := st.Mode(); {
	case m.IsRegular():
		s.size = st.Size()
		return nil
	case m&os.ModeDevice == 0 || m&os.ModeCharDevice != 0:
		return errors.New("neither a regular file nor a block device")
	}
	s.device = true
	if s.size, err = deviceSize(s.f); err != nil {
		return fmt.Errorf("size of the device: %w", err)
	}
	sector, err := unix.IoctlGetInt(int(s.f.Fd()), unix.BLKSSZGET)
	if err != nil {
		return fmt.Errorf("sector size of the device: %w", err)
	}
	s.sector = int64(sector)
	return nil
}

// deviceSize is the size in bytes of a block device.
func deviceSize(f *os.File) (int64, error) {
	var n uint64
	if err := ioctlPtr(f, unix.BLKGETSIZE64, unsafe.Pointer(&n)); err != nil {
		return 0, err
	}
	return int64(n), nil
}

func ioctlPtr(f *os.File, req uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(req), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// lock takes an open file description lock on the whole file.
func (s *File) lock(write bool) error {
	l := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	if write {
		l.Type = unix.F_WRLCK
	}
	err := unix.FcntlFlock(s.f.Fd(), unix.F_OFD_SETLK, &l)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrLocked
	}
	return err
}

// ReadAt implements io.ReaderAt.
func (s *File) ReadAt(p []byte, off int64) (int, error) { return s.f.ReadAt(p, off) }

// WriteAt implements io.WriterAt.
func (s *File) WriteAt(p []byte, off int64) (int, error) {
	if err := s.inside(off, int64(len(p))); err != nil {
		return 0, err
	}
	return s.f.WriteAt(p, off)
}

// maxVector is how many parts the kernel takes at once, UIO_MAXIOV.
const maxVector = 1024

// WriteVector writes parts one behind the other from off on, as WriteAt writes
// what they are together. It may change the slice, not the parts.
func (s *File) WriteVector(parts [][]byte, off int64) error {
	var size int64
	for _, p := range parts {
		size += int64(len(p))
	}
	if err := s.inside(off, size); err != nil {
		return err
	}
	for len(parts) > 0 {
		n, err := unix.Pwritev(int(s.f.Fd()), parts[:min(len(parts), maxVector)], off)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return &os.PathError{Op: "write", Path: s.f.Name(), Err: err}
		case n == 0 && size > 0:
			return &os.PathError{Op: "write", Path: s.f.Name(), Err: io.ErrShortWrite}
		}
		off, size = off+int64(n), size-int64(n)
		for len(parts) > 0 && n >= len(parts[0]) {
			n, parts = n-len(parts[0]), parts[1:]
		}
		if n > 0 {
			parts[0] = parts[0][n:]
		}
	}
	return nil
}

func (s *File) inside(off, n int64) error {
	if off < 0 || n < 0 || off > s.size-n {
		return fmt.Errorf("%w: %d bytes at %d of %d", ErrRange, n, off, s.size)
	}
	return nil
}

// Size returns the length in bytes.
func (s *File) Size() int64 { return s.size }

// Device reports whether the store is a block device.
func (s *File) Device() bool { return s.device }

// Sync implements Store.
func (s *File) Sync() error {
	if err := unix.Fdatasync(int(s.f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", s.f.Name(), err)
	}
	return nil
}

// Close releases the lock. What was not synced may be lost.
func (s *File) Close() error { return s.f.Close() }

// StartWriteback asks the kernel to begin writing a range that was written, so
// that a later Sync has less to wait for. It promises nothing.
func (f *File) StartWriteback(off, n int64) {
	// A failure shows again in Sync, which is the one that counts.
	_ = unix.SyncFileRange(int(f.f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}
