package linux

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"fsenc/internal/image/imagetest/manifest"
)

// Walk records the tree at root as the kernel shows it. What the kernel will
// not show goes into Err of its entry; the error returned is for a root that
// cannot be read at all.
func Walk(root string) ([]manifest.Entry, error) {
	w := walker{root: root, seen: make(map[uint64]int)}
	if err := w.visit("."); err != nil {
		return nil, err
	}
	// A further name refers to the first one in the order of the list.
	manifest.Sort(w.entries)
	first := make(map[uint64]string)
	for i := range w.entries {
		e := &w.entries[i]
		if e.Type == manifest.Dir || e.Ino == 0 {
			continue
		}
		e.SameAs = first[e.Ino]
		if e.SameAs == "" {
			first[e.Ino] = e.Path
		}
	}
	return w.entries, nil
}

type walker struct {
	root    string
	entries []manifest.Entry
	seen    map[uint64]int // inode to the entry that has read it
}

// visit appends the entry at rel, relative to the root, and all below it.
func (w *walker) visit(rel string) error {
	e, err := w.entry(rel)
	if err != nil {
		if rel == "." {
			return err
		}
		e.Err = reason(err)
	}
	w.entries = append(w.entries, e)
	if e.Type != manifest.Dir {
		return nil
	}
	list, err := os.ReadDir(filepath.Join(w.root, rel))
	if err != nil {
		w.entries[len(w.entries)-1].Err = reason(err)
		return nil
	}
	for _, d := range list {
		if err := w.visit(path.Join(rel, d.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(rel string) (manifest.Entry, error) {
	e := manifest.Entry{Path: rel}
	full := filepath.Join(w.root, rel)
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, full, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st); err != nil {
		return e, err
	}
	e.Type = manifest.TypeOf(uint32(st.Mode))
	e.Mode = uint32(st.Mode) & 0o7777
	e.UID, e.GID, e.Ino, e.Nlink = st.Uid, st.Gid, st.Ino, st.Nlink
	e.Mtime = manifest.Time{Sec: st.Mtime.Sec, Nsec: int64(st.Mtime.Nsec)}
	e.Encrypted = st.Attributes&unix.STATX_ATTR_ENCRYPTED != 0
	if e.Type != manifest.Dir {
		e.Size = int64(st.Size)
	}
	if i, ok := w.seen[e.Ino]; ok && e.Type != manifest.Dir {
		first := w.entries[i]
		first.Path = rel
		return first, nil
	}
	w.seen[e.Ino] = len(w.entries)
	var err error
	if e.Xattrs, err = xattrs(full); err != nil {
		return e, err
	}
	switch e.Type {
	case manifest.Symlink:
		e.Target, err = os.Readlink(full)
	case manifest.CharDev, manifest.BlockDev:
		e.Rdev = fmt.Sprintf("%d:%d", st.Rdev_major, st.Rdev_minor)
	case manifest.File, manifest.Dir:
		err = inspect(full, &e)
	}
	return e, err
}

// inspect adds what needs an open file or directory.
func inspect(full string, e *manifest.Entry) error {
	f, err := os.Open(full)
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	if e.Flags, err = flagsOf(fd); err != nil && !errors.Is(err, unix.ENOTTY) {
		return err
	}
	e.Project = projectOf(fd)
	if e.Flags&flagEncrypt != 0 {
		raw, err := policyOf(fd)
		if err != nil {
			return err
		}
		e.Policy = &manifest.Policy{Raw: raw}
		if e.Nonce, err = nonceOf(fd); err != nil {
			return err
		}
	}
	if e.Flags&flagVerity != 0 {
		if e.Verity, err = verityOf(fd); err != nil {
			return err
		}
	}
	if e.Type == manifest.Dir {
		return nil
	}
	if e.Data, err = dataRanges(fd, e.Size); err != nil {
		return err
	}
	e.SHA256, err = sumOf(f, e)
	return err
}

// hugeFile is the size in bytes from which on a file is taken for sparse:
// hashing its holes would take minutes.
const hugeFile = 1 << 30

// sumOf is the digest of the contents; of a huge file that of all blocks that
// hold anything but zeros, with their numbers.
func sumOf(f *os.File, e *manifest.Entry) (string, error) {
	sum := sha256.New()
	if e.Size < hugeFile {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return "", err
		}
		_, err := io.Copy(sum, f)
		return hex.EncodeToString(sum.Sum(nil)), err
	}
	const block = 4096
	buf, zeros := make([]byte, block), make([]byte, block)
	for _, r := range e.Data {
		for off := r[0] &^ (block - 1); off < r[1]; off += block {
			n, err := f.ReadAt(buf, off)
			if err != nil && !errors.Is(err, io.EOF) {
				return "", err
			}
			if !bytes.Equal(buf[:n], zeros[:n]) {
				fmt.Fprintf(sum, "%d:", off/block)
				sum.Write(buf[:n])
			}
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func dataRanges(fd int, size int64) ([][2]int64, error) {
	var ranges [][2]int64
	for off := int64(0); off < size; {
		start, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // a hole up to the end
			break
		}
		if err != nil {
			return nil, err
		}
		end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
		// mke2fs -d makes files of holes alone that are marked inline and
		// have a size, but no inline data. They read as zeros.
		if errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, [2]int64{start, end})
		off = end
	}
	return ranges, nil
}

const maxXattr = 64 << 10 // bytes, XATTR_SIZE_MAX and XATTR_LIST_MAX

// xattrs asks with a small buffer first: the kernel clears as much as it is
// offered, which takes the test machine longer than everything else.
func xattrs(full string) (map[string][]byte, error) {
	list, err := enough(func(buf []byte) (int, error) { return unix.Llistxattr(full, buf) })
	if err != nil {
		if errors.Is(err, unix.ENOTSUP) {
			return nil, nil
		}
		return nil, err
	}
	var all map[string][]byte
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value, err := enough(func(buf []byte) (int, error) { return unix.Lgetxattr(full, name, buf) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if all == nil {
			all = make(map[string][]byte)
		}
		all[name] = value
	}
	return all, nil
}

// enough calls get with a buffer that is large enough.
func enough(get func([]byte) (int, error)) ([]byte, error) {
	buf := make([]byte, 512)
	n, err := get(buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, maxXattr)
		n, err = get(buf)
	}
	if err != nil {
		return nil, err
	}
	return buf[:n:n], nil
}

// reason is an error without the path, which is different on each machine.
func reason(err error) string {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Op + ": " + p.Err.Error()
	}
	return err.Error()
}
