package f2fs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

const mib = 1 << 20

// mkfs makes an image with mkfs.f2fs and returns its path.
func mkfs(t *testing.T, size int64, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "img")
	tool(t, "mkfs.f2fs", append(append([]string{"-q", "-f"}, args...), sparse(t, path, size))...)
	return path
}

func sparse(t *testing.T, path string, size int64) string {
	t.Helper()
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command("/usr/sbin/"+name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func openFile(t *testing.T, path string) (*FS, error) {
	t.Helper()
	f, err := store.OpenFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return Open(f, image.Options{})
}

// writableFile tries to open an image for writing.
func writableFile(t *testing.T, path string) error {
	t.Helper()
	f, err := store.OpenFile(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = Open(f, image.Options{Write: true})
	return err
}

// Layouts that no golden image has, filled by sload.f2fs: inodes with short extra
// attributes, packs of equal versions, large sections, zones, the large bitmap of
// the NAT, and images for reading only.
func TestMkfs(t *testing.T) {
	src := t.TempDir()
	big := bytes.Repeat([]byte("0123456789abcdef!"), 200000)
	files := map[string][]byte{"big": big, "small": []byte("small\n"), "empty": nil}
	for i := range 300 {
		files[fmt.Sprintf("a file with a long name %d", i)] = fmt.Append(nil, i)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(src, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		size     int64
		args     string
		readOnly bool
	}{
		{64 * mib, "", false},
		{64 * mib, "-O encrypt,extra_attr", false},
		{64 * mib, "-O encrypt,extra_attr,inode_checksum,inode_crtime,lost_found,sb_checksum", false},
		{256 * mib, "-O encrypt -s 4", false},
		{256 * mib, "-O encrypt -s 2 -z 2", false},
		{64 * mib, "-O encrypt -i", false},
		{128 * mib, "-g android", false},
		{64 * mib, "-O ro,encrypt", true},
	} {
		t.Run(tt.args, func(t *testing.T) {
			path := mkfs(t, tt.size, strings.Fields(tt.args)...)
			tool(t, "sload.f2fs", "-f", src, path)
			if err := writableFile(t, path); tt.readOnly != errors.Is(err, image.ErrUnsupported) || !tt.readOnly && err != nil {
				t.Fatalf("for writing: %v", err)
			}
			fs, err := openFile(t, path)
			if err != nil {
				t.Fatal(err)
			}
			if err := use(fs); err != nil {
				t.Fatal(err)
			}
			if ids := findings(fs); len(ids) > 0 {
				t.Errorf("findings: %v", ids)
			}
			for name, want := range files {
				if got := contents(t, fs, name); !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, want %d", name, len(got), len(want))
				}
			}
		})
	}
}

// contents reads a file in the root directory.
func contents(t *testing.T, fs *FS, name string) []byte {
	t.Helper()
	d, err := fs.Lookup(fs.Root(), []byte(name))
	if err != nil {
		t.Fatal(err)
	}
	a, err := fs.Stat(d.Ino)
	if err != nil {
		t.Fatal(err)
	}
	if a.Inline {
		b, err := fs.Inline(d.Ino)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	list, err := fs.Extents(d.Ino)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, (a.Size+blockSize-1)/blockSize*blockSize)
	for _, x := range list {
		if err := fs.ReadBlocks(b[x.Lblk*blockSize:][:x.Len*blockSize], x.Pblk); err != nil {
			t.Fatal(err)
		}
	}
	return b[:a.Size]
}

// The payload blocks of a checkpoint hold a bitmap that its first block has no
// room for: that takes terabytes, and no more than the tables on disk.
func TestPayload(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a quarter of a gigabyte")
	}
	fs, err := openFile(t, mkfs(t, 3600<<30, "-O", "encrypt", "-t", "0"))
	if err != nil {
		t.Fatal(err)
	}
	if n := fs.geo.payload; n == 0 {
		t.Error("the checkpoint has no payload")
	}
	if err := use(fs); err != nil || len(findings(fs)) > 0 {
		t.Errorf("%v, findings %v", err, findings(fs))
	}
}

// One device of several is refused, and named.
func TestDevices(t *testing.T) {
	dir := t.TempDir()
	second := sparse(t, filepath.Join(dir, "second"), 96*mib)
	path := mkfs(t, 64*mib, "-O", "encrypt", "-c", second)
	_, err := openFile(t, path)
	if !errors.Is(err, image.ErrUnsupported) || !strings.Contains(err.Error(), "several devices") {
		t.Error(err)
	}
}
