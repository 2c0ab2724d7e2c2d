package store

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// host is where the kernel tells what it uses; tests have another.
type host struct {
	sys       string // /sys
	dev       string // /dev
	mountinfo string // /proc/self/mountinfo
}

var thisHost = host{"/sys", "/dev", "/proc/self/mountinfo"}

// InUse looks whether the kernel has the image at path mounted, attached to a
// loop device or held by another block device. If so the error wraps ErrInUse
// and says by what. What could not be looked at, and so is not proven to be
// free, is listed in unproven. A lock is OpenFile's business.
func InUse(path string) (unproven []string, err error) {
	c := &useCheck{host: thisHost}
	err = c.path(path)
	return c.unproven, err
}

// useCheck is one look at the host.
type useCheck struct {
	host     host
	unproven []string
}

// skip notes what could not be looked at.
func (c *useCheck) skip(what string, err error) {
	if !errors.Is(err, fs.ErrNotExist) {
		c.unproven = append(c.unproven, fmt.Sprintf("%s: %v", what, err))
	}
}

func (c *useCheck) path(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	raw := st.Sys().(*syscall.Stat_t)
	if st.Mode()&os.ModeDevice != 0 {
		return c.device(path, devName(raw.Rdev))
	}
	return c.loops(path, st)
}

// devName is a device number as mountinfo and sysfs write it.
func devName(rdev uint64) string {
	return fmt.Sprintf("%d:%d", unix.Major(rdev), unix.Minor(rdev))
}

// loops looks for loop devices whose backing file is the image.
func (c *useCheck) loops(path string, image fs.FileInfo) error {
	dirs, err := filepath.Glob(filepath.Join(c.host.sys, "block/loop*"))
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(c.host.sys, "block")); err != nil {
		c.unproven = append(c.unproven, "loop devices: sysfs is not mounted")
		return nil
	}
	for _, dir := range dirs {
		loop := filepath.Base(dir)
		backing, err := os.ReadFile(filepath.Join(dir, "loop/backing_file"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // not attached
		}
		if err != nil {
			c.skip(loop, err)
			continue
		}
		file := strings.TrimSuffix(string(backing), "\n")
		if !c.backs(loop, file, image) {
			continue
		}
		held := "attached to " + filepath.Join("/dev", loop)
		if at := c.mounted(c.number(dir)); at != "" {
			held += ", mounted at " + at
		}
		return fmt.Errorf("%s: %w: %s", path, ErrInUse, held)
	}
	return nil
}

// backs reports whether a loop device is backed by the image. The name in
// sysfs may be of another mount namespace, so the device is asked first.
func (c *useCheck) backs(loop, file string, image fs.FileInfo) bool {
	if f, err := os.Open(filepath.Join(c.host.dev, loop)); err == nil {
		info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
		f.Close()
		if st := image.Sys().(*syscall.Stat_t); err == nil {
			return info.Inode == st.Ino && info.Device == st.Dev
		}
	}
	st, err := os.Stat(file)
	if err != nil {
		if filepath.Base(file) == image.Name() {
			c.unproven = append(c.unproven, fmt.Sprintf("%s: backed by %s, which cannot be looked at", loop, file))
		}
		return false
	}
	return os.SameFile(st, image)
}

// number is the device number of a directory in sysfs, empty if unknown.
func (c *useCheck) number(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "dev"))
	if err != nil {
		c.skip(dir, err)
		return ""
	}
	return strings.TrimSpace(string(b))
}

// device looks at a block device, its partitions and what is stacked on them.
func (c *useCheck) device(path, number string) error {
	if number == "" {
		return nil
	}
	if at := c.mounted(number); at != "" {
		return fmt.Errorf("%s: %w: mounted at %s", path, ErrInUse, at)
	}
	dir := filepath.Join(c.host.sys, "dev/block", number)
	entries, err := os.ReadDir(dir)
	if err != nil {
		c.unproven = append(c.unproven, fmt.Sprintf("holders of %s: %v", path, err))
		return nil
	}
	holders, err := os.ReadDir(filepath.Join(dir, "holders"))
	if err != nil {
		c.skip("holders of "+path, err)
	}
	if len(holders) > 0 {
		return fmt.Errorf("%s: %w: held by %s", path, ErrInUse, holders[0].Name())
	}
	for _, e := range entries {
		part := filepath.Join(dir, e.Name())
		if _, err := os.Stat(filepath.Join(part, "partition")); err != nil {
			continue
		}
		if err := c.device(filepath.Join("/dev", e.Name()), c.number(part)); err != nil {
			return err
		}
	}
	return nil
}

// mounted returns where a device is mounted in this mount namespace, empty if
// it is not.
func (c *useCheck) mounted(number string) string {
	f, err := os.Open(c.host.mountinfo)
	if err != nil {
		c.unproven = append(c.unproven, "mounts: "+err.Error())
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
		if at := mountOf(strings.Fields(lines.Text()), number); at != "" {
			return at
		}
	}
	if err := lines.Err(); err != nil {
		c.unproven = append(c.unproven, "mounts: "+err.Error())
	}
	return ""
}

// mountOf returns the mount point of a line of mountinfo that is about a
// device. Filesystems over several devices show a number of their own there,
// and only the name of the source tells the device.
func mountOf(line []string, number string) string {
	if len(line) < 6 {
		return ""
	}
	if line[2] == number {
		return line[4]
	}
	for i, word := range line {
		if word != "-" || i+2 >= len(line) || !strings.HasPrefix(line[i+2], "/") {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(line[i+2], &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && devName(st.Rdev) == number {
			return line[4]
		}
	}
	return ""
}
