package store

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// punchMin is the length in bytes below which a hole is not worth a transaction of
// the host's filesystem, which takes as long as writing 256 KiB, nor a further
// piece of the file there.
const punchMin = 64 << 10

var zeros [64 << 10]byte

// Zero implements Store. Holes of a regular file are left alone, data is
// punched out, or overwritten where the hole would be small; a device is asked for zeros, except at unaligned edges.
func (s *File) Zero(off, n int64) error {
	if err := s.inside(off, n); err != nil {
		return err
	}
	if s.device {
		return s.zeroDevice(off, n)
	}
	for end := off + n; off < end; {
		from, to, err := s.nextData(off, end)
		if err != nil {
			return err
		}
		if from < to {
			if err := s.punch(from, to-from); err != nil {
				return err
			}
		}
		off = to
	}
	return nil
}

// nextData returns the first run of data in [off, end); from equals to when
// there is none.
func (s *File) nextData(off, end int64) (from, to int64, err error) {
	fd := int(s.f.Fd())
	from, err = unix.Seek(fd, off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) || err == nil && from >= end {
		return end, end, nil
	}
	if err != nil { // the host's filesystem knows of no holes
		return off, end, nil
	}
	to, err = unix.Seek(fd, from, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, err
	}
	return from, min(to, end), nil
}

// punch makes a hole, or writes zeros where the host's filesystem has none.
func (s *File) punch(off, n int64) error {
	if n >= punchMin {
		err := unix.Fallocate(int(s.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
			return err
		}
	}
	return s.writeZeros(off, n)
}

func (s *File) zeroDevice(off, n int64) error {
	first := min((off+s.sector-1)/s.sector*s.sector, off+n)
	last := max((off+n)/s.sector*s.sector, first)
	if err := s.writeZeros(off, first-off); err != nil {
		return err
	}
	if err := s.writeZeros(last, off+n-last); err != nil {
		return err
	}
	if first == last {
		return nil
	}
	// BLKZEROOUT writes past the page cache and drops the pages of its range:
	// an edge that shares a page with it must be on the device before.
	if first != off || last != off+n {
		if err := s.Sync(); err != nil {
			return err
		}
	}
	arg := [2]uint64{uint64(first), uint64(last - first)}
	err := ioctlPtr(s.f, unix.BLKZEROOUT, unsafe.Pointer(&arg))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
		return s.writeZeros(first, last-first)
	}
	return err
}

func (s *File) writeZeros(off, n int64) error {
	for n > 0 {
		k := min(n, int64(len(zeros)))
		if _, err := s.f.WriteAt(zeros[:k], off); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}
