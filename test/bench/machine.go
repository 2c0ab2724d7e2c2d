package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine says where numbers come from.
type machine struct {
	Date   string   `json:"date"`
	CPU    string   `json:"cpu"`
	Cores  int      `json:"cores"`
	Memory int64    `json:"memory_bytes"`
	Kernel string   `json:"kernel"`
	XTS    string   `json:"kernel_xts"` // the kernel's AES-XTS, as /proc/crypto names it
	Disk   string   `json:"disk"`       // under the scratch directory
	Tools  []string `json:"tools"`
	Load   string   `json:"load"`
}

func thisMachine(scratch string) (*machine, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, err
	}
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return nil, err
	}
	m := &machine{
		Date: time.Now().UTC().Format(time.DateOnly), CPU: field("/proc/cpuinfo", "model name", ""),
		Cores: runtime.NumCPU(), Memory: int64(si.Totalram) * int64(si.Unit),
		Kernel: unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:]),
		XTS:    field("/proc/crypto", "driver", "xts(aes)"), Disk: disk(scratch), Load: load(),
	}
	m.Tools = append(m.Tools, runtime.Version())
	for _, t := range [][]string{{"openssl", "version"}, {"mke2fs", "-V"}, {"cryptsetup", "--version"}} {
		out, err := exec.Command(t[0], t[1:]...).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", strings.Join(t, " "), err)
		}
		line, _, _ := strings.Cut(string(out), "\n")
		m.Tools = append(m.Tools, line)
	}
	return m, nil
}

func (m *machine) String() string {
	return fmt.Sprintf("date:      %s\nmachine:   %s, %d cores, %d MiB\nkernel:    %s, AES-XTS by %s\ndisk:      %s\ntools:     %s\nload:      %s\n",
		m.Date, m.CPU, m.Cores, m.Memory>>20, m.Kernel, m.XTS, m.Disk, strings.Join(m.Tools, "; "), m.Load)
}

// load is the load average of one minute.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(b))[0]
}

// disk is the filesystem of a directory, as df names it.
func disk(dir string) string {
	out, err := exec.Command("df", "--output=fstype,source", dir).Output()
	if err != nil {
		return "unknown"
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(strings.Fields(lines[len(lines)-1]), " on ")
}

// field reads a file of "key : value" lines: the first value of key in the
// stanza whose "name" is as given, or in the whole file.
func field(file, key, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	in := name == ""
	for s := bufio.NewScanner(f); s.Scan(); {
		k, v, _ := strings.Cut(s.Text(), ":")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if k == "name" && name != "" {
			in = v == name
		}
		if in && k == key {
			return v
		}
	}
	return "unknown"
}
