package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fsenc/internal/image"
	"fsenc/test/mkimage"
)

func allRows() []mkimage.Row { return slices.Concat(mkimage.Rows, mkimage.VMRows) }

// newFile makes an empty regular file in the root, called file0, file1, ...
func newFile(t testing.TB, fs *FS, id int, uid uint32) *inode {
	t.Helper()
	ino, err := fs.Create(inoRoot, fmt.Appendf(nil, "file%d", id), nil, image.NewFile{
		Perm: 0o644, UID: uid, GID: uid, Time: time.Unix(1e9, 5),
	})
	must(t, err)
	in, err := fs.inode(ino)
	must(t, err)
	return in
}

// grow appends n blocks to in and fills them with its pattern.
func grow(t testing.TB, fs *FS, in *inode, n uint64) {
	t.Helper()
	l := image.Lblk(in.raw.size() / uint64(fs.bs))
	added, err := fs.appendBlocks(in, n)
	must(t, err)
	if uint64(len(added)) != n {
		t.Fatalf("inode %d: %d blocks added, want %d", in.ino, len(added), n)
	}
	for i, p := range added {
		must(t, fs.writeBlock(p, pattern(in.ino, l+image.Lblk(i), fs.bs)))
	}
	in.raw.setSize(in.raw.size() + n*uint64(fs.bs))
}

// Every layout of mke2fs: files that are grown in turns, so that their trees
// get deep, cut and removed again leave an image that e2fsck finds clean, and
// the kernel reads what was written.
func TestRows(t *testing.T) {
	for _, r := range allRows() {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			path := mkimage.Make(t, r)
			var files []image.Ino
			edit(t, path, func(fs *FS) {
				audit(t, fs)
				files = interleave(t, fs)
			})
			clean(t, path)
			// The machine's kernel may lack what a row for the virtual machine
			// needs, and waits a minute before it mounts with mmp.
			if !r.VM && r.Name != "mmp" {
				readBack(t, path, files)
				clean(t, path)
			}
			edit(t, path, func(fs *FS) { removeFiles(t, fs, files) })
			clean(t, path)
		})
	}
}

func clean(t testing.TB, path string) {
	t.Helper()
	if out, err := mkimage.Check(path); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// interleave makes two files that lie in pieces, and cuts one of them in its
// middle; and a third one.
func interleave(t testing.TB, fs *FS) []image.Ino {
	a, b := newFile(t, fs, 0, 0), newFile(t, fs, 1, 70000)
	for range 900 / fs.geo.ratio {
		grow(t, fs, a, fs.geo.ratio)
		grow(t, fs, b, 1+fs.geo.ratio/2)
	}
	must(t, fs.truncateBlocks(b, 41))
	b.raw.setSize(41 * uint64(fs.bs))
	grow(t, fs, b, 3)
	c := newFile(t, fs, 2, 1)
	grow(t, fs, c, 1)
	list := []image.Ino{}
	for _, in := range []*inode{a, b, c} {
		must(t, fs.putInode(in))
		list = append(list, in.ino)
	}
	return list
}

// readBack compares the files with what the kernel sees.
func readBack(t *testing.T, path string, files []image.Ino) {
	t.Helper()
	fs, close := openFile(t, path, Options{})
	bs := fs.bs
	close()
	mkimage.Mounted(t, path, false, func(dir string) {
		for i, ino := range files {
			data, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("file%d", i)))
			must(t, err)
			if len(data) == 0 {
				t.Errorf("file%d is empty", i)
			}
			for l := range len(data) / bs {
				if !bytes.Equal(data[l*bs:][:bs], pattern(ino, image.Lblk(l), bs)) {
					t.Fatalf("file%d: block %d is not what was written: %q", i, l, data[l*bs:][:16])
				}
			}
		}
	})
}

// removeFiles removes the files and compares what is free with an audit.
func removeFiles(t testing.TB, fs *FS, files []image.Ino) {
	t.Helper()
	free := fs.sb.freeBlocks()
	for i, ino := range files {
		must(t, fs.Remove(inoRoot, fmt.Appendf(nil, "file%d", i)))
		if _, err := fs.Stat(ino); !errors.Is(err, image.ErrNotExist) {
			t.Errorf("inode %d after it was removed: %v", ino, err)
		}
	}
	if fs.sb.freeBlocks() <= free {
		t.Error("no block was freed")
	}
	must(t, fs.Flush())
	audit(t, fs)
}
