package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Crash is a state that a filesystem is left in as by a power cut.
type Crash string

// What lies on the disk afterwards.
const (
	Running Crash = "running" // a checkpoint that was not the last one
	Fsynced Crash = "fsynced" // a file that was synced since the last checkpoint
	Orphan  Crash = "orphan"  // a file that was open when its name was removed
)

const (
	fsIocShutdown  = 0x8004587d // FS_IOC_SHUTDOWN
	goingDownNoLog = 2          // without writing anything
)

// GoDown makes a file in dir, the root of a mounted filesystem, and stops the
// filesystem: what is not on the disk yet is lost.
func GoDown(dir string, how Crash) error {
	full := filepath.Join(dir, "crash")
	f, err := os.Create(full)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 10_000)); err != nil {
		return err
	}
	switch how {
	case Running:
		unix.Sync()
	case Fsynced:
		err = f.Sync()
	case Orphan:
		err = os.Remove(full)
		unix.Sync()
	default:
		err = fmt.Errorf("crash %q", how)
	}
	if err != nil {
		return err
	}
	flags := uint32(goingDownNoLog)
	return ioctl(int(f.Fd()), fsIocShutdown, unsafe.Pointer(&flags))
}
