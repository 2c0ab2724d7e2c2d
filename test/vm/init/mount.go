package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/linux"
	"fsenc/test/vm/job"
)

const root = "/mnt"

// do mounts a disk, does what is asked and unmounts it.
func do(m job.Mount) (r job.Result) {
	fail := func(err error) {
		if err != nil && r.Err == "" {
			r.Err = err.Error()
			fmt.Println("init:", err)
		}
	}
	log, err := newLog()
	fail(err)
	defer func() {
		lines, err := log.read()
		fail(err)
		r.Log = lines
	}()
	fail(waitFor(disk(m.Disk)))
	fail(os.MkdirAll(root, 0o755))
	flags := uintptr(unix.MS_NOATIME)
	if m.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount(disk(m.Disk), root, m.Type, flags, m.Options); err != nil {
		fail(fmt.Errorf("mount: %w", err))
		return r
	}
	defer func() {
		if err := unix.Unmount(root, 0); err != nil {
			fail(fmt.Errorf("unmount: %w", err))
		}
	}()
	for name, value := range m.Attributes {
		fail(os.WriteFile(filepath.Join("/sys/fs", m.Type, filepath.Base(disk(m.Disk)), name), []byte(value), 0))
	}
	work(m, &r, fail)
	if m.Crash != "" {
		fail(linux.GoDown(root, m.Crash))
	}
	return r
}

// work is what is done between mounting and unmounting.
func work(m job.Mount, r *job.Result, fail func(error)) {
	for _, key := range m.Keys {
		id, err := linux.AddKey(root, key)
		fail(err)
		r.Identifiers = append(r.Identifiers, id)
	}
	for _, key := range m.KeysV1 {
		fail(linux.AddKeyV1(root, key))
	}
	walk := func(tree *[]manifest.Entry) {
		if r.Err == "" {
			var err error
			*tree, err = linux.Walk(root)
			fail(err)
		}
	}
	if m.Before {
		walk(&r.Before)
	}
	for _, f := range m.Fill {
		fail(linux.Fill(filepath.Join(root, f.Dir), f.Tree))
	}
	for _, dir := range m.Add {
		fail(linux.Add(filepath.Join(root, dir)))
	}
	if m.Walk {
		walk(&r.Tree)
	}
}

// kernelLog is the kernel's messages from a moment on.
type kernelLog struct{ fd int }

func newLog() (kernelLog, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return kernelLog{-1}, fmt.Errorf("kernel log: %w", err)
	}
	_, err = unix.Seek(fd, 0, unix.SEEK_END)
	return kernelLog{fd}, err
}

const warning = 4 // KERN_WARNING; less is worse

// read returns warnings and errors since newLog, and ends the log. A record is
// "priority,sequence,time,flags;text".
func (l kernelLog) read() (lines []string, err error) {
	if l.fd < 0 {
		return nil, nil
	}
	defer unix.Close(l.fd)
	buf := make([]byte, 8192)
	for {
		n, err := unix.Read(l.fd, buf)
		if err == unix.EAGAIN {
			return lines, nil
		}
		if err == unix.EPIPE { // older ones were overwritten
			continue
		}
		if err != nil {
			return lines, fmt.Errorf("kernel log: %w", err)
		}
		head, text, _ := strings.Cut(string(buf[:n]), ";")
		var priority int
		if _, err := fmt.Sscanf(head, "%d,", &priority); err != nil {
			return lines, fmt.Errorf("kernel log: %q: %w", head, err)
		}
		if level := priority & 7; level <= warning {
			text, _, _ = strings.Cut(text, "\n")
			lines = append(lines, text)
		}
	}
}
