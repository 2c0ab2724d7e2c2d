package keystore

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store/storetest"
)

// cheap are costs that cost nothing.
var cheap = Costs{Time: 1, MemoryKiB: 8, Parallelism: 1, TruncationFixed: true}

// testImage is an ext4 filesystem in memory.
type testImage struct {
	t   testing.TB
	mem *storetest.Mem
	fs  image.FS
}

// layouts are the options of mke2fs that change where small files lie.
var layouts = map[string][]string{
	"1k":      {"-b", "1024"},
	"4k":      {"-b", "4096"},
	"inline":  {"-b", "1024", "-I", "512", "-O", "inline_data"},
	"64k":     {"-b", "65536"},
	"nothing": {"-b", "1024", "-O", "^extents,^has_journal,^metadata_csum,^64bit", "-I", "128"},
}

// newImage makes a filesystem with the tree of a directory in it, which
// belongs to root, and runs commands of debugfs on it.
func newImage(t testing.TB, layout, tree string, commands ...string) *testImage {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image")
	args := append([]string{"-q", "-F", "-t", "ext4", "-E", "root_owner=0:0"}, layouts[layout]...)
	if tree != "" {
		args = append(args, "-d", tree)
	}
	size := "4M"
	if layout == "64k" {
		size = "64M"
	}
	if out, err := exec.Command("mke2fs", append(args, file, size)...).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	for _, c := range commands {
		if out, err := exec.Command("debugfs", "-w", "-R", c, file).CombinedOutput(); err != nil {
			t.Fatalf("debugfs %s: %v: %s", c, err, out)
		}
	}
	data, err := os.ReadFile(file)
	must(t, err)
	img := &testImage{t: t, mem: storetest.NewMem(data)}
	img.reopen()
	return img
}

// reopen writes what is cached, and reads the filesystem anew.
func (i *testImage) reopen() {
	i.t.Helper()
	if i.fs != nil {
		must(i.t, i.fs.Flush())
	}
	fs, err := probe.Open(i.mem, probe.Options{Write: true})
	must(i.t, err)
	i.fs = fs
}

func (i *testImage) load() *Store {
	i.t.Helper()
	i.reopen()
	s, err := Load(i.fs)
	must(i.t, err)
	return s
}

// check ends a test that wrote: e2fsck finds nothing.
func (i *testImage) check() {
	i.t.Helper()
	must(i.t, i.fs.Flush())
	file := filepath.Join(i.t.TempDir(), "image")
	must(i.t, os.WriteFile(file, i.mem.Bytes(), 0o600))
	if out, err := exec.Command("e2fsck", "-fn", file).CombinedOutput(); err != nil {
		i.t.Errorf("e2fsck: %v: %s", err, out)
	}
}

// holds reports whether the bytes are anywhere in the image.
func (i *testImage) holds(b []byte) bool {
	must(i.t, i.fs.Flush())
	return bytes.Contains(i.mem.Bytes(), b)
}

func (i *testImage) stat(path ...string) image.Attr {
	i.t.Helper()
	at := i.fs.Root()
	for _, name := range path {
		d, err := i.fs.Lookup(at, []byte(name))
		must(i.t, err)
		at = d.Ino
	}
	a, err := i.fs.Stat(at)
	must(i.t, err)
	return a
}

// writeTree writes files below a new directory and returns it.
func writeTree(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		full := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		must(t, os.WriteFile(full, data, 0o600))
	}
	return dir
}

// vectorTree is .fscrypt with the files of all vectors.
func vectorTree(t testing.TB) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, v := range vectors(t) {
		for _, p := range v.Policies {
			files[".fscrypt/policies/"+p.FileName] = p.File
		}
		for _, p := range v.Protectors {
			files[".fscrypt/protectors/"+p.FileName] = p.File
		}
	}
	return files
}
