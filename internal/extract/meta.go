package extract

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"fsenc/internal/image"

	"golang.org/x/sys/unix"
)

// target is a descriptor of a file that gets its attributes, maybe one that
// only names it (O_PATH). By way of /proc that serves for every type of file,
// a symlink included, and nobody can put another file in its place.
type target int

func (t target) path() string { return fmt.Sprintf("/proc/self/fd/%d", int(t)) }

func (t target) chown(uid, gid uint32) error {
	return unix.Fchownat(int(t), "", int(uid), int(gid), unix.AT_EMPTY_PATH)
}

func (t target) chmod(mode uint32) error { return unix.Chmod(t.path(), mode) }

// setXattr leaves out what only btrfs knows, how a file is to be stored, where
// the target cannot have it.
func (t target) setXattr(x image.Xattr) error {
	err := unix.Setxattr(t.path(), x.Name, x.Value, 0)
	if errors.Is(err, unix.ENOTSUP) && strings.HasPrefix(x.Name, "btrfs.") {
		return nil
	}
	return err
}

func (t target) setTimes(atime, mtime time.Time) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, t.path(), []unix.Timespec{spec(atime), spec(mtime)}, 0)
}

func spec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// isACL tells the attributes that hold permissions: a chmod after them would
// change them, and before it user.* may still be written to a read-only file.
func isACL(x image.Xattr) bool { return strings.HasPrefix(x.Name, "system.posix_acl_") }

// metadata sets what is not contents. The order matters: a change of owner
// drops setuid bits and capabilities, and every change sets the times.
func (d *dirSink) metadata(e *entry, t target) {
	report := func(what string, err error) {
		if err != nil {
			d.job.skip(e.node, what, err)
		}
	}
	mode := e.attr.Mode & 0o7777
	if d.job.o.Owners {
		report("owner", t.chown(e.attr.UID, e.attr.GID))
	} else {
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	for _, x := range e.xattrs {
		if !isACL(x) {
			report("xattr "+x.Name, t.setXattr(x))
		}
	}
	if e.attr.Type != image.TypeSymlink {
		report("mode", t.chmod(mode))
	}
	for _, x := range e.xattrs {
		if isACL(x) {
			report("xattr "+x.Name, t.setXattr(x))
		}
	}
	report("times", t.setTimes(e.attr.Atime, e.attr.Mtime))
}
