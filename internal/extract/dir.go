package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"fsenc/internal/image"
	"fsenc/internal/tree"

	"golang.org/x/sys/unix"
)

// copySize is how many bytes of a file are copied at a time.
const copySize = 1 << 20

// ToDir copies the trees at tops into the directory dir, which is made if it
// is not there. Each goes under the last name of its path; the root of the
// filesystem gives its contents. Existing directories are used, existing files
// skipped.
func ToDir(ctx context.Context, t *tree.Tree, tops []tree.Node, dir string, o Options) (Result, error) {
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, os.ErrExist) {
		return Result{}, err
	}
	root, err := os.OpenFile(dir, unix.O_DIRECTORY, 0)
	if err != nil {
		return Result{}, err
	}
	defer root.Close()
	j := &job{ctx: ctx, t: t, o: o}
	d := &dirSink{job: j, root: int(root.Fd()), parentFD: -1, buf: make([]byte, copySize)}
	defer d.leave()
	j.sink = d
	return j.run(tops)
}

// dirSink writes below a directory. It reaches every place by opening one
// component after the other, symlinks excluded, so that neither the image nor
// anyone at work in the directory can lead it outside.
type dirSink struct {
	job      *job
	root     int // descriptor
	parent   string
	parentFD int // of parent, -1 if none is open
	dirs     []*entry
	buf      []byte
}

// split parts a place into its directory and its name.
func split(rel string) (dir, name string) {
	if i := strings.LastIndexByte(rel, '/'); i >= 0 {
		return rel[:i], rel[i+1:]
	}
	return "", rel
}

func (d *dirSink) leave() {
	if d.parentFD >= 0 {
		unix.Close(d.parentFD)
	}
	d.parentFD = -1
}

// enter returns a descriptor of a directory below the root, kept until
// another one is asked for.
func (d *dirSink) enter(rel string) (int, error) {
	if d.parentFD >= 0 && d.parent == rel {
		return d.parentFD, nil
	}
	fd, err := d.open(rel)
	if err != nil {
		return -1, err
	}
	d.leave()
	d.parent, d.parentFD = rel, fd
	return fd, nil
}

// open opens a directory below the root.
func (d *dirSink) open(rel string) (int, error) {
	fd, err := unix.Openat(d.root, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil || rel == "" {
		return fd, err
	}
	for part := range strings.SplitSeq(rel, "/") {
		next, err := unix.Openat(fd, part, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		unix.Close(fd)
		if err != nil {
			return -1, fmt.Errorf("open %s: %w", tree.Printable(rel), err)
		}
		fd = next
	}
	return fd, nil
}

func (d *dirSink) add(e *entry) error {
	if e.rel == "" { // the root of the filesystem is the directory itself
		return nil
	}
	dir, name := split(e.rel)
	at, err := d.enter(dir)
	if err != nil {
		return err
	}
	switch e.attr.Type {
	case image.TypeDirectory:
		return d.mkdir(e, at, name)
	case image.TypeRegular:
		return d.file(e, at, name)
	case image.TypeSymlink:
		target, err := d.job.t.Readlink(e.node)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(string(target), at, name); err != nil {
			return place("symlink", e, err)
		}
	default:
		if err := mknod(e, at, name); err != nil {
			return err
		}
	}
	fd, err := unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return place("open", e, err)
	}
	d.metadata(e, target(fd))
	return unix.Close(fd)
}

// place words an error of the destination.
func place(op string, e *entry, err error) error {
	return fmt.Errorf("%s %s: %w", op, tree.Printable(e.rel), err)
}

// mkdir makes a directory that only we can use until it is complete.
func (d *dirSink) mkdir(e *entry, at int, name string) error {
	err := unix.Mkdirat(at, name, 0o700)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if e := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); e == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			err = nil
		}
	}
	if err != nil {
		return place("mkdir", e, err)
	}
	d.dirs = append(d.dirs, e)
	return nil
}

func mknod(e *entry, at int, name string) error {
	kind := map[image.FileType]uint32{
		image.TypeChar: unix.S_IFCHR, image.TypeBlock: unix.S_IFBLK,
		image.TypeFifo: unix.S_IFIFO, image.TypeSocket: unix.S_IFSOCK,
	}[e.attr.Type]
	if kind == 0 {
		return fmt.Errorf("type %s", e.attr.Type)
	}
	dev := unix.Mkdev(e.attr.RdevMajor, e.attr.RdevMinor)
	if err := unix.Mknodat(at, name, kind|0o600, int(dev)); err != nil {
		return place("mknod", e, err)
	}
	return nil
}

// file copies a regular file, or leaves none behind.
func (d *dirSink) file(e *entry, at int, name string) error {
	src, err := d.job.t.Open(e.node)
	if err != nil {
		return err
	}
	defer src.Close()
	fd, err := unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return place("create", e, err)
	}
	dst := os.NewFile(uintptr(fd), e.rel)
	err = d.contents(dst, src)
	if err == nil {
		d.metadata(e, target(fd))
	}
	if closeErr := dst.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return errors.Join(err, unix.Unlinkat(at, name, 0))
	}
	return nil
}

// contents copies what is not a hole and sets the length.
func (d *dirSink) contents(dst *os.File, src *tree.File) error {
	for _, r := range src.Ranges() {
		for r.Len > 0 {
			if err := d.job.ctx.Err(); err != nil {
				return err
			}
			p := d.buf[:min(r.Len, copySize)]
			if _, err := src.ReadAt(p, r.Off); err != nil && err != io.EOF {
				return err
			}
			if _, err := dst.WriteAt(p, r.Off); err != nil {
				return err
			}
			r.Off, r.Len = r.Off+int64(len(p)), r.Len-int64(len(p))
		}
	}
	return dst.Truncate(src.Size())
}

func (d *dirSink) link(e *entry, first string) error {
	oldDir, oldName := split(first)
	old, err := d.open(oldDir)
	if err != nil {
		return err
	}
	defer unix.Close(old)
	dir, name := split(e.rel)
	at, err := d.enter(dir)
	if err != nil {
		return err
	}
	if err := unix.Linkat(old, oldName, at, name, 0); err != nil {
		return place("link", e, err)
	}
	return nil
}

// finish gives directories their modes and times, inner ones first: a mode
// may forbid to write, and writing changes times.
func (d *dirSink) finish() error {
	for i := len(d.dirs) - 1; i >= 0; i-- {
		e := d.dirs[i]
		fd, err := d.open(e.rel)
		if err != nil {
			d.job.skip(e.node, "attributes", err)
			continue
		}
		d.metadata(e, target(fd))
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return nil
}
