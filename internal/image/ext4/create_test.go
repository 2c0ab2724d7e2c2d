package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/mkimage"
)

var stamp = time.Unix(3_000_000_000, 987654321)

// Each layout: files and directories are made in the root and in a directory
// that outgrows its block, replaced, and removed again. The kernel reads them
// between, and in the end sees the tree as it was.
func TestCreateRemove(t *testing.T) {
	for _, r := range allRows() {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			path := mkimage.Make(t, r)
			var free, inodes uint64
			big := cipherLike([]byte("big"), 300000)
			small := []byte("small")
			edit(t, path, func(fs *FS) {
				free, inodes = fs.sb.freeBlocks(), uint64(fs.sb.freeInodes())
				n := image.NewFile{Perm: 0o4750, UID: 70000, GID: 5, Time: stamp}
				dir, err := fs.Mkdir(inoRoot, []byte(".fscrypt"), n)
				must(t, err)
				fill(t, fs, dir, n)
				ino, err := fs.Create(dir, []byte("file"), small, n)
				must(t, err)
				checkNew(t, fs, ino)
				must(t, fs.SetFile(ino, big))
				_, err = fs.Create(dir, []byte("again"), big, n)
				must(t, err)
				must(t, fs.SetFile(lookup(t, fs, dir, "again"), small))
				refusals(t, fs, dir, n)
			})
			clean(t, path)
			if !r.VM {
				mkimage.Mounted(t, path, false, func(root string) { checkCreated(t, filepath.Join(root, ".fscrypt"), big, small) })
			}
			edit(t, path, func(fs *FS) {
				dir := lookup(t, fs, inoRoot, ".fscrypt")
				for i := range 400 {
					must(t, fs.Remove(dir, entryName(i)))
				}
				must(t, fs.Remove(dir, []byte("file")))
				must(t, fs.Remove(dir, []byte("again")))
			})
			clean(t, path)
			edit(t, path, func(fs *FS) {
				must(t, fs.Remove(inoRoot, []byte(".fscrypt")))
				if r.Name == "quota" {
					free = fs.sb.freeBlocks() // records of new owners stay
				}
				if fs.sb.freeBlocks() != free || uint64(fs.sb.freeInodes()) != inodes {
					t.Errorf("free blocks and inodes %d, %d, before %d, %d", fs.sb.freeBlocks(), fs.sb.freeInodes(), free, inodes)
				}
			})
			clean(t, path)
		})
	}
}

func checkNew(t testing.TB, fs *FS, ino image.Ino) {
	t.Helper()
	a, err := fs.Stat(ino)
	must(t, err)
	in, err := fs.inode(ino)
	must(t, err)
	if fs.geo.inodeSize == oldInodeSize {
		return
	}
	if in.raw.extraIsize() != fs.sb.wantExtraIsize() || !a.Crtime.Equal(stamp) || !a.Atime.Equal(stamp) || !a.Ctime.Equal(stamp) {
		t.Errorf("new inode with i_extra_isize %d: %+v", in.raw.extraIsize(), a)
	}
}

func entryName(i int) []byte { return fmt.Appendf(nil, "%0*d", 3+i%40, i) }

// fill makes 400 entries, every fourth a directory.
func fill(t testing.TB, fs *FS, dir image.Ino, n image.NewFile) {
	t.Helper()
	for i := range 400 {
		var err error
		if i%4 == 0 {
			_, err = fs.Mkdir(dir, entryName(i), n)
		} else {
			_, err = fs.Create(dir, entryName(i), nil, n)
		}
		must(t, err)
	}
}

func refusals(t testing.TB, fs *FS, dir image.Ino, n image.NewFile) {
	t.Helper()
	want := func(what string, err, is error) {
		t.Helper()
		if !errors.Is(err, is) {
			t.Errorf("%s: %v, want %v", what, err, is)
		}
	}
	_, err := fs.Create(dir, []byte("file"), nil, n)
	want("same name", err, image.ErrExist)
	_, err = fs.Mkdir(dir, entryName(9), n)
	want("same name", err, image.ErrExist)
	for _, name := range []string{"", ".", "..", "a/b", "a\x00", string(bytes.Repeat([]byte("x"), 256))} {
		_, err = fs.Create(dir, []byte(name), nil, n)
		want(fmt.Sprintf("name %q", name), err, image.ErrUnsupported)
	}
	want("no such name", fs.Remove(dir, []byte("none")), image.ErrNotExist)
	want("directory with entries", fs.Remove(inoRoot, []byte(".fscrypt")), image.ErrNotEmpty)
	_, err = fs.Create(lookup(t, fs, dir, "file"), []byte("x"), nil, n)
	want("in a file", err, image.ErrNotDir)
	want("contents of a directory", fs.SetFile(dir, nil), image.ErrUnsupported)
}

func checkCreated(t testing.TB, dir string, big, small []byte) {
	t.Helper()
	for name, want := range map[string][]byte{"file": big, "again": small} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v, want %d", name, len(got), err, len(want))
		}
	}
	seen := 0
	for _, e := range mkimage.Walk(t, dir) {
		seen++
		if e.Path == "file" || e.Path == "again" || e.Path == "." {
			continue
		}
		if e.Mode != 0o4750 || e.UID != 70000 || e.GID != 5 || e.Err != "" {
			t.Errorf("%+v", e)
		}
		if e.Mtime != (manifest.Time{Sec: 3_000_000_000, Nsec: 987654321}) && e.Mtime.Sec != 3_000_000_000-1<<32 {
			t.Errorf("%s: mtime %v", e.Path, e.Mtime)
		}
	}
	if seen != 403 {
		t.Errorf("the kernel sees %d inodes, want 403", seen)
	}
}
