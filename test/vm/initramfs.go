package vm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"fsenc/test/vm/job"
)

// writeInitramfs writes the machine's initial file system: the init program,
// modules and the job.
func writeInitramfs(file, initProgram string, k *kernel, j *job.Job) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	c := &cpio{w: bufio.NewWriter(f)}
	if err := c.addFile("init", initProgram); err != nil {
		return err
	}
	modules, err := k.order()
	if err != nil {
		return err
	}
	dir := strings.TrimPrefix(filepath.Dir(job.Modules), "/")
	c.add(dir, modeDir, nil)
	var order strings.Builder
	for _, m := range modules {
		fmt.Fprintln(&order, filepath.Base(m))
		if err := c.addFile(filepath.Join(dir, filepath.Base(m)), m); err != nil {
			return err
		}
	}
	c.add(strings.TrimPrefix(job.Modules, "/"), modeFile, []byte(order.String()))
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	c.add(strings.TrimPrefix(job.Path, "/"), modeFile, b)
	c.add("dev", modeDir, nil)
	return c.close()
}

// buildInit compiles the init program, static.
func buildInit(dir string) (string, error) {
	program := filepath.Join(dir, "init")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "fsenc/test/vm/init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build init: %w: %s", err, out)
	}
	return program, nil
}

const (
	modeDir  = 0o040755
	modeFile = 0o100755
)

// cpio writes the "newc" form that the kernel unpacks: a header of thirteen
// numbers of eight hex digits, name with NUL, data, each padded to 4 bytes.
type cpio struct {
	w   *bufio.Writer
	ino int
	err error
}

func (c *cpio) addFile(name, source string) error {
	b, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	c.add(name, modeFile, b)
	return c.err
}

func (c *cpio) add(name string, mode int, data []byte) {
	c.ino++
	links := 1
	header := "070701"
	for _, v := range []int{c.ino, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0} {
		header += fmt.Sprintf("%08x", v)
	}
	c.padded([]byte(header + name + "\x00"))
	c.padded(data)
}

func (c *cpio) padded(b []byte) {
	for _, p := range [][]byte{b, make([]byte, -len(b)&3)} {
		if c.err == nil {
			_, c.err = c.w.Write(p)
		}
	}
}

func (c *cpio) close() error {
	c.add("TRAILER!!!", 0, nil)
	if c.err != nil {
		return c.err
	}
	return c.w.Flush()
}
