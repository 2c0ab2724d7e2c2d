package ext4

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fsenc/internal/image"
	"fsenc/test/mkimage"
)

// withXattrs makes an image whose kernel-made files have the given attributes.
func withXattrs(t *testing.T, r mkimage.Row, files map[string]map[string]int) string {
	t.Helper()
	path := mkimage.Make(t, r)
	mkimage.Mounted(t, path, true, func(dir string) {
		for name, attrs := range files {
			full := filepath.Join(dir, name)
			must(t, os.WriteFile(full, nil, 0o644))
			for attr, size := range attrs {
				must(t, unix.Lsetxattr(full, attr, bytes.Repeat([]byte("v"), size), 0))
			}
		}
	})
	return path
}

// Where the context goes depends on the room in the inode and in its block,
// and on who else uses the block. The kernel finds it: the file cannot be
// opened for want of the key, where without a context it would be ENODATA.
func TestContextPlaces(t *testing.T) {
	tests := []struct {
		what  string
		row   mkimage.Row
		attrs map[string]int
		cost  int64
		full  bool
	}{
		{"inode", rawRow("x", 8, "-b", "1024"), nil, 0, false},
		{"inode beside another", rawRow("x", 8, "-b", "1024"), map[string]int{"user.a": 8}, 0, false},
		{"new block", rawRow("x", 8, "-b", "1024"), map[string]int{"user.a": 40}, 1024, false},
		{"block of two", rawRow("x", 8, "-b", "1024"), map[string]int{"user.a": 300}, 0, false},
		{"shared block", rawRow("x", 8, "-b", "1024", "-I", "128"), map[string]int{"user.a": 300}, 1024, false},
		{"small inode", rawRow("x", 8, "-b", "1024", "-I", "128"), nil, 1024, false},
		{"full", rawRow("x", 8, "-b", "1024"), map[string]int{"user.a": 40, "user.b": 940}, 0, true},
		{"value in an inode", rawRow("x", 8, "-b", "1024", "-I", "128", "-O", "ea_inode"), map[string]int{"user.a": 5000}, 0, false},
		{"shared block, value in an inode", rawRow("x", 8, "-b", "1024", "-I", "128", "-O", "ea_inode"), map[string]int{"user.a": 5000, "user.b": 10}, 1024, false},
		{"large inode", rawRow("x", 8, "-b", "1024", "-I", "1024"), map[string]int{"user.a": 500}, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			files := map[string]map[string]int{"file": tt.attrs}
			if strings.HasPrefix(tt.what, "shared") {
				files["other"] = tt.attrs
			}
			tt.row.Args = append(slices.Clone(tt.row.Args), "-N", "64")
			path := withXattrs(t, tt.row, files)
			clean(t, path)
			var nonce []byte
			edit(t, path, func(fs *FS) {
				must(t, fs.SetFeatures([]string{"encrypt"}, nil))
				ino := lookup(t, fs, inoRoot, "file")
				cost, err := fs.CostContext(ino, 40)
				if tt.full {
					if !errors.Is(err, image.ErrUnsupported) {
						t.Errorf("cost of a context without room: %d, %v", cost, err)
					}
					return
				}
				if cost != tt.cost {
					t.Errorf("cost %d, want %d", cost, tt.cost)
				}
				setContext(t, fs, ino)
				c, err := fs.Context(ino)
				must(t, err)
				nonce = c[24:]
			})
			clean(t, path)
			if tt.full {
				return
			}
			mkimage.Mounted(t, path, false, func(dir string) {
				if _, err := os.Open(filepath.Join(dir, "file")); !errors.Is(err, unix.ENOKEY) {
					t.Errorf("open: %v, want ENOKEY", err)
				}
				for attr, size := range tt.attrs {
					if n, err := unix.Lgetxattr(filepath.Join(dir, "file"), attr, nil); n != size || err != nil {
						t.Errorf("%s: %d bytes, %v, want %d", attr, n, err, size)
					}
				}
			})
			edit(t, path, func(fs *FS) { must(t, fs.SetContext(lookup(t, fs, inoRoot, "file"), nil)) })
			clean(t, path)
			img, err := os.ReadFile(path)
			must(t, err)
			if bytes.Contains(img, nonce) {
				t.Error("the nonce is left in the image")
			}
		})
	}
}

// In an inode whose i_extra_isize is 0 the kernel does not look for attributes.
func TestContextExtraIsize(t *testing.T) {
	path := withXattrs(t, rawRow("x", 8, "-b", "1024"), map[string]map[string]int{"file": nil})
	e2tool(t, path, "debugfs", "-w", "-R", "sif file extra_isize 0")
	clean(t, path)
	edit(t, path, func(fs *FS) {
		must(t, fs.SetFeatures([]string{"encrypt"}, nil))
		setContext(t, fs, lookup(t, fs, inoRoot, "file"))
	})
	clean(t, path)
	mkimage.Mounted(t, path, false, func(dir string) {
		if _, err := os.Open(filepath.Join(dir, "file")); !errors.Is(err, unix.ENOKEY) {
			t.Errorf("open: %v, want ENOKEY", err)
		}
	})
}

// An inode with inline contents gets no context: there is no such file.
func TestContextInline(t *testing.T) {
	path := mkimage.Make(t, rawRow("x", 8, "-b", "1024", "-O", "inline_data"))
	mkimage.Mounted(t, path, true, func(dir string) {
		must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("inline"), 0o644))
	})
	edit(t, path, func(fs *FS) {
		ino := lookup(t, fs, inoRoot, "file")
		cost, err := fs.CostContext(ino, 40)
		if cost != 0 || err != nil {
			t.Errorf("cost once the contents have moved: %d, %v", cost, err)
		}
		if err := fs.SetContext(ino, make([]byte, 40)); !errors.Is(err, image.ErrUnsupported) {
			t.Errorf("context on inline contents: %v", err)
		}
		got, err := fs.Inline(ino)
		if string(got) != "inline" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// SetContext takes DAX away: an inode has one or the other.
func TestContextDAX(t *testing.T) {
	path := withXattrs(t, rawRow("x", 8, "-b", "1024"), map[string]map[string]int{"file": nil})
	edit(t, path, func(fs *FS) {
		in, err := fs.inode(lookup(t, fs, inoRoot, "file"))
		must(t, err)
		in.raw.setFlags(in.raw.flags() | flDAX)
		must(t, fs.putInode(in))
		setContext(t, fs, in.ino)
		if a, err := fs.Stat(in.ino); err != nil || a.Flags&flDAX != 0 || !a.Encrypted {
			t.Errorf("%+v, %v", a, err)
		}
	})
}
