package mkimage

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/linux"
)

// Fixed so that the same row gives the same image but for times.
const (
	uuid     = "11111111-2222-3333-4444-555555555555"
	hashSeed = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
)

// Build makes the image of a row in a directory of the test, with the trees
// /secret and /plain, and returns its path and what the kernel sees in it.
func Build(t testing.TB, r Row) (string, []manifest.Entry) {
	t.Helper()
	NeedRoot(t)
	image := filepath.Join(t.TempDir(), r.Name+".img")
	if err := r.make(image, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	var tree []manifest.Entry
	Mounted(t, image, !r.Populate, func(dir string) {
		if !r.Populate {
			fill(t, dir, r.Tree)
		}
	})
	Mounted(t, image, false, func(dir string) { tree = Walk(t, dir) })
	if out, err := Check(image); err != nil {
		t.Fatalf("%s: the kernel left a filesystem that e2fsck complains of: %v\n%s", r.Name, err, out)
	}
	return image, tree
}

// Make runs mke2fs and what follows it, and leaves the image empty.
func Make(t testing.TB, r Row) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), r.Name+".img")
	if err := r.make(image, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return image
}

func fill(t testing.TB, dir string, tree linux.Tree) {
	t.Helper()
	for _, name := range []string{"secret", "plain"} {
		if err := linux.Fill(filepath.Join(dir, name), tree); err != nil {
			t.Fatalf("fill %s: %v", name, err)
		}
	}
}

func (r Row) make(image, scratch string) error {
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	if err := f.Truncate(r.Size); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	args := []string{"-q", "-F", "-t", "ext4", "-U", uuid}
	args = append(args, "-E", strings.Join(append([]string{"hash_seed=" + hashSeed}, r.Ext...), ","))
	args = append(args, r.Args...)
	if r.Populate {
		for _, name := range []string{"secret", "plain"} {
			if err := linux.Fill(filepath.Join(scratch, name), r.Tree); err != nil {
				return err
			}
		}
		args = append(args, "-d", scratch)
	}
	if _, err := run("mke2fs", append(args, image)...); err != nil {
		return err
	}
	for _, c := range r.Then {
		if _, err := run(c[0], append(c[1:], image)...); err != nil {
			return err
		}
	}
	return nil
}

// Check runs e2fsck -fn. Anything but a clean filesystem without a word of
// complaint is an error.
func Check(image string) (string, error) {
	out, err := run("e2fsck", "-fn", image)
	if err != nil {
		return out, err
	}
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "Pass ") || strings.HasPrefix(line, "e2fsck 1.") || strings.Contains(line, " files (") {
			continue
		}
		return out, fmt.Errorf("e2fsck says %q", line)
	}
	return out, nil
}

// run runs a command of e2fsprogs, which may lie outside a user's PATH.
func run(name string, args ...string) (string, error) {
	if full := filepath.Join("/usr/sbin", name); exists(full) {
		name = full
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// NeedRoot fails the test of a user who cannot mount.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts images: run it as root")
	}
}

// Mounted calls f with the image mounted, and unmounts it whatever f does.
func Mounted(t testing.TB, image string, write bool, f func(dir string)) {
	t.Helper()
	NeedRoot(t)
	dir := t.TempDir()
	m, err := linux.MountImage(image, dir, "ext4", !write, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	f(dir)
}

// Walk is linux.Walk for tests.
func Walk(t testing.TB, dir string) []manifest.Entry {
	t.Helper()
	tree, err := linux.Walk(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}
