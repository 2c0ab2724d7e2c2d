package ext4

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
)

// goldenFile copies a golden image that can be edited; nil for one that needs
// its journal replayed first.
func goldenFile(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(name)+".img")
	must(t, os.WriteFile(path, imagetest.GoldenBytes(t, name), 0o600))
	return path
}

// Golden images, among them casefolded and verity ones: every directory laid
// out again, every symlink and context stored again. e2fsck, which checks the
// hashes, finds nothing, and what we read is the same.
func TestRelayGolden(t *testing.T) {
	for _, name := range imagetest.Names(t, "ext4-") {
		if name == "ext4-journal" {
			continue // is refused for writing: see TestGolden for reading
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := goldenFile(t, name)
			want := map[image.Ino]string{}
			edit(t, path, func(fs *FS) {
				must(t, fs.Inodes(func(a image.Attr, err error) error {
					must(t, err)
					want[a.Ino] = describe(t, fs, a)
					return nil
				}))
				for ino := range want {
					relay(t, fs, ino)
				}
			})
			clean(t, path)
			fs, _ := openFile(t, path, Options{})
			for ino, w := range want {
				a, err := fs.Stat(ino)
				must(t, err)
				if got := describe(t, fs, a); got != w {
					t.Errorf("inode %d: %.300s, want %.300s", ino, got, w)
				}
			}
		})
	}
}

// describe is what of an inode must survive, blocks and their order left out.
func describe(t testing.TB, fs *FS, a image.Attr) string {
	t.Helper()
	if a.Reserved {
		return ""
	}
	a.Size, a.AllocBytes, a.Flags = 0, 0, a.Flags&^(flIndex|flInlineData|flExtents)
	a.Inline = false
	c, err := fs.Context(a.Ino)
	must(t, err)
	x, err := fs.Xattrs(a.Ino)
	must(t, err)
	sum := 0
	if a.Type == image.TypeDirectory {
		must(t, fs.ReadDir(a.Ino, func(d image.Dirent) error {
			for i, b := range fmt.Appendf(nil, "%q %d %d", d.Name, d.Ino, d.Type) {
				sum += int(b) * (i + 1) * int(d.Ino)
			}
			return nil
		}))
	}
	var target []byte
	if a.Type == image.TypeSymlink {
		target, err = fs.ReadLink(a.Ino)
		must(t, err)
	}
	return fmt.Sprintf("%v %x %v %d %x", a, c, x, sum, target)
}

func relay(t testing.TB, fs *FS, ino image.Ino) {
	t.Helper()
	a, err := fs.Stat(ino)
	must(t, err)
	if a.Reserved {
		return
	}
	switch a.Type {
	case image.TypeDirectory:
		es, err := fs.entries(ino)
		must(t, err)
		setDir(t, fs, ino, es, a.Encrypted)
	case image.TypeSymlink:
		target, err := fs.ReadLink(ino)
		must(t, err)
		must(t, fs.SetLink(ino, bytes.Repeat([]byte("x"), fs.bs-1), false))
		must(t, fs.SetLink(ino, []byte("x"), false))
		must(t, fs.SetLink(ino, target, a.Encrypted))
	case image.TypeRegular:
		if a.Inline {
			must(t, fs.Uninline(ino))
		}
	}
	c, err := fs.Context(ino)
	must(t, err)
	if c != nil && a.Encrypted {
		must(t, fs.SetContext(ino, nil))
		must(t, fs.SetContext(ino, c))
	}
}
