package linux

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Mount is an image mounted through a loop device.
type Mount struct {
	Dir  string
	loop string
}

// MountImage mounts the filesystem in the file image at dir, which it makes.
// The caller must call Unmount, also when its own work fails.
func MountImage(image, dir, fstype string, readOnly bool, options string) (*Mount, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	loop, held, err := attach(image, readOnly)
	if err != nil {
		return nil, fmt.Errorf("attach %s to a loop device: %w", image, err)
	}
	// The device frees itself once neither we nor the mount hold it.
	defer held.Close()
	var flags uintptr = unix.MS_NOATIME
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount(loop, dir, fstype, flags, options); err != nil {
		return nil, fmt.Errorf("mount %s: %w", image, err)
	}
	return &Mount{Dir: dir, loop: loop}, nil
}

// Unmount unmounts and waits until the loop device has let go of the image.
func (m *Mount) Unmount() error {
	deadline := time.Now().Add(10 * time.Second)
	err := unix.Unmount(m.Dir, 0)
	for errors.Is(err, unix.EBUSY) && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
		err = unix.Unmount(m.Dir, 0)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", m.Dir, err)
	}
	return detached(m.loop, deadline)
}

// detached waits until a loop device has no file.
func detached(loop string, deadline time.Time) error {
	for {
		f, err := os.Open(loop)
		if err != nil {
			return err
		}
		_, err = unix.IoctlLoopGetStatus64(int(f.Fd()))
		f.Close()
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s stays attached", loop)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// attach sets up a free loop device that detaches itself on last close, and
// returns it open.
func attach(image string, readOnly bool) (string, *os.File, error) {
	mode := os.O_RDWR
	var flags uint32 = unix.LO_FLAGS_AUTOCLEAR
	if readOnly {
		mode = os.O_RDONLY
		flags |= unix.LO_FLAGS_READ_ONLY
	}
	img, err := os.OpenFile(image, mode, 0)
	if err != nil {
		return "", nil, err
	}
	defer img.Close()
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", nil, err
	}
	defer ctl.Close()
	for {
		n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", nil, err
		}
		name := "/dev/loop" + strconv.Itoa(n)
		dev, err := os.OpenFile(name, mode, 0)
		if err != nil {
			return "", nil, err
		}
		config := unix.LoopConfig{Fd: uint32(img.Fd())}
		config.Info.Flags = flags
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &config)
		if err == nil {
			return name, dev, nil
		}
		dev.Close()
		if !errors.Is(err, unix.EBUSY) { // busy: another process was faster
			return "", nil, err
		}
	}
}
