// Command init is the only process of the test machine. It loads modules,
// does its job, writes the answer to the last disk and powers off. What it
// prints goes to the serial console.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"fsenc/test/vm/job"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("init:", err)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("init:", err)
	}
}

func run() error {
	for _, m := range []struct{ fs, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.fs, m.dir, m.fs, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	if err := loadModules(); err != nil {
		return err
	}
	b, err := os.ReadFile(job.Path)
	if err != nil {
		return err
	}
	var j job.Job
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	answer := job.Answer{Kernel: release()}
	for i, m := range j.Mounts {
		fmt.Printf("init: mount %d of %d\n", i+1, len(j.Mounts))
		start := time.Now()
		answer.Results = append(answer.Results, do(m))
		fmt.Printf("init: took %v\n", time.Since(start).Round(time.Millisecond))
	}
	return write(disk(j.Disks), &answer)
}

func write(dev string, a *job.Answer) error {
	if err := waitFor(dev); err != nil {
		return err
	}
	f, err := os.OpenFile(dev, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := job.WriteAnswer(f, a); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(u.Release[:])
}

func disk(n int) string { return "/dev/vd" + string(rune('a'+n)) }

// loadModules goes on after a module that this processor has no use for.
func loadModules() error {
	order, err := os.ReadFile(job.Modules)
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(order)) {
		f, err := os.Open(filepath.Join(filepath.Dir(job.Modules), name))
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("module %s: %w", name, err)
		}
	}
	return nil
}

func waitFor(dev string) error {
	for range 500 {
		if _, err := os.Stat(dev); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s does not appear", dev)
}
