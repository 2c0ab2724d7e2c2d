package f2fs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store/storetest"
)

// fsck lets fsck.f2fs look for errors: what it says counts besides its exit code.
func fsck(t testing.TB, img []byte) {
	t.Helper()
	p := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(p, img, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(p)
	out, err := exec.Command("/usr/sbin/fsck.f2fs", "--dry-run", p).CombinedOutput()
	if err != nil {
		t.Fatalf("fsck.f2fs: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		for _, bad := range []string{"ASSERT", "FIX", "[Fail]"} {
			if strings.Contains(line, bad) {
				t.Fatalf("fsck.f2fs: %s\n%s", line, out)
			}
		}
	}
}

// writable are the golden images that can be written to.
func writable(t testing.TB) []string {
	names := append(imagetest.Names(t, "f2fs-"), imagetest.Names(t, "oracle/f2fs-")...)
	return slices.DeleteFunc(names, func(n string) bool { return n == recovery })
}

// some are images that differ most: without any feature, with nearly all, with
// encrypted inline data.
var some = []string{"f2fs-old", "f2fs-full", "f2fs-check", "oracle/f2fs-einline-modes"}

func open(t testing.TB, m *storetest.Mem) *FS {
	t.Helper()
	fs, err := Open(m, image.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// all lists everything that can be read of a filesystem, by inode.
func all(t testing.TB, fs *FS) map[image.Ino]string {
	t.Helper()
	out := make(map[image.Ino]string)
	err := fs.Inodes(func(a image.Attr, err error) error {
		if err != nil {
			return err
		}
		inline := a.Inline
		a.AllocBytes, a.Inline, a.Flags = 0, false, a.Flags&^flagInline
		line := fmt.Sprintf("%+v", a)
		context, err := fs.Context(a.Ino)
		if err != nil {
			return err
		}
		xattrs, err := fs.Xattrs(a.Ino)
		if err != nil {
			return err
		}
		line += fmt.Sprintf(" context %x xattrs %q", context, xattrs)
		switch {
		case a.Reserved: // quota follows the others
		case a.Type == image.TypeRegular:
			sum, err := digest(fs, a, inline)
			if err != nil {
				return fmt.Errorf("inode %d: %w", a.Ino, err)
			}
			line += " " + sum
		case a.Type == image.TypeSymlink:
			target, err := fs.ReadLink(a.Ino)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" -> %q", target)
		case a.Type == image.TypeDirectory:
			var list []string
			err := fs.ReadDir(a.Ino, func(d image.Dirent) error {
				list = append(list, fmt.Sprintf("%q %d %v %v", d.Name, d.Ino, d.Type, d.Misplaced))
				return nil
			})
			if err != nil {
				return err
			}
			slices.Sort(list)
			line += strings.Join(list, ", ")
		}
		out[a.Ino] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// digest is that of contents, or of what is stored where that needs a key.
func digest(fs *FS, a image.Attr, inline bool) (string, error) {
	if !a.Encrypted {
		return imagetest.Digest(fs, a.Ino)
	}
	if inline {
		b, err := fs.Inline(a.Ino)
		return imagetest.Sum(b), err
	}
	list, err := fs.DataExtents(a.Ino)
	if err != nil {
		return "", err
	}
	var all []byte
	for _, x := range list {
		b := make([]byte, x.Len*blockSize)
		if err := fs.ReadBlocks(b, x.Pblk); err != nil {
			return "", err
		}
		all = append(fmt.Appendf(all, "%d ", x.Lblk), b...)
	}
	return imagetest.Sum(all), nil
}

// same compares what all has listed, but for the inodes that were edited.
func same(t testing.TB, what string, got, want map[image.Ino]string, but ...image.Ino) {
	t.Helper()
	for ino, line := range want {
		if got[ino] != line && !slices.Contains(but, ino) {
			t.Fatalf("%s: inode %d is\n%s\nwant\n%s", what, ino, got[ino], line)
		}
	}
	if len(but) == 0 && len(got) != len(want) {
		t.Fatalf("%s: %d inodes, want %d", what, len(got), len(want))
	}
}

// rewrite stores all that it finds again as it is, and thereby moves it: every
// directory, symlink, context and inline file.
func rewrite(t testing.TB, fs *FS) {
	t.Helper()
	var list []image.Attr
	err := fs.Inodes(func(a image.Attr, err error) error {
		if !a.Reserved && a.Type.Encrypts() {
			list = append(list, a)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if err := rewriteOne(fs, a); err != nil {
			t.Fatalf("inode %d: %v", a.Ino, err)
		}
	}
}

func rewriteOne(fs *FS, a image.Attr) error {
	context, err := fs.Context(a.Ino)
	if err != nil {
		return err
	}
	switch a.Type {
	case image.TypeDirectory:
		var entries []image.Dirent
		err = fs.ReadDir(a.Ino, func(d image.Dirent) error {
			d.Name = bytes.Clone(d.Name)
			entries = append(entries, d)
			return nil
		})
		if err == nil {
			err = fs.SetDir(a.Ino, entries, a.Encrypted)
		}
	case image.TypeSymlink:
		var stored []byte
		if stored, err = fs.ReadLink(a.Ino); err == nil {
			err = fs.SetLink(a.Ino, stored, a.Encrypted)
		}
	case image.TypeRegular:
		if a.Inline && !a.Encrypted {
			err = fs.Uninline(a.Ino)
		}
	}
	if err != nil || context == nil {
		return err
	}
	return fs.SetContext(a.Ino, context)
}

// All of an image is written anew, thrice: the tree stays what it is, and so do
// counts, hashes and owners in the eyes of fsck.f2fs.
func TestRewriteGolden(t *testing.T) {
	for _, name := range writable(t) {
		t.Run(name, func(t *testing.T) {
			m := storetest.NewMem(imagetest.GoldenBytes(t, name))
			fs := open(t, m)
			want := all(t, fs)
			for range 3 {
				rewrite(t, fs)
				if err := fs.Flush(); err != nil {
					t.Fatal(err)
				}
				fs = open(t, m)
				same(t, "rewritten", all(t, fs), want)
				fsck(t, m.Bytes())
			}
			before := bytes.Clone(m.Bytes())
			if err := fs.Flush(); err != nil || !bytes.Equal(before, m.Bytes()) {
				t.Errorf("flushing without an edit: %v, or the image has changed", err)
			}
		})
	}
}

// With the last block of the new pack destroyed an image is the old one.
func TestOldCheckpointStays(t *testing.T) {
	for _, name := range some {
		t.Run(name, func(t *testing.T) {
			m := storetest.NewMem(imagetest.GoldenBytes(t, name))
			fs := open(t, m)
			want := all(t, fs)
			version := fs.ckpt.version()
			rewrite(t, fs)
			if _, err := fs.Mkdir(fs.Root(), []byte("new directory"), image.NewFile{Perm: 0o755, Time: time.Unix(1, 0)}); err != nil {
				t.Fatal(err)
			}
			if err := fs.Flush(); err != nil {
				t.Fatal(err)
			}
			if fs.ckpt.version() != version+1 {
				t.Errorf("checkpoint %d, want %d", fs.ckpt.version(), version+1)
			}
			last := fs.geo.packStart(fs.ckpt.pack) + int64(fs.ckpt.u32(offPackTotal)) - 1
			clear(m.Bytes()[last*blockSize:][:blockSize])
			old := open(t, m)
			if old.ckpt.version() != version {
				t.Errorf("checkpoint %d, want %d", old.ckpt.version(), version)
			}
			same(t, "with the new pack destroyed", all(t, old), want)
			fsck(t, m.Bytes())
		})
	}
}

// After Settle both packs are one checkpoint, and all that Residue reports can
// be zeroed.
func TestSettleAndZeroResidue(t *testing.T) {
	for _, name := range some {
		t.Run(name, func(t *testing.T) {
			m := storetest.NewMem(imagetest.GoldenBytes(t, name))
			fs := open(t, m)
			want := all(t, fs)
			rewrite(t, fs)
			if err := fs.Settle(); err != nil {
				t.Fatal(err)
			}
			if err := fs.Flush(); err != nil {
				t.Fatal(err)
			}
			last, total := int64(0), int64(0)
			err := fs.Residue(func(off, n int64) error {
				if off < last || n <= 0 {
					t.Errorf("%d bytes at %d, after %d", n, off, last)
				}
				last, total = off+n, total+n
				return m.Zero(off, n)
			})
			if err != nil || total == 0 {
				t.Fatalf("%d bytes: %v", total, err)
			}
			for pack := range 2 {
				c, err := readPack(m, &fs.geo, pack)
				if err != nil || c.version() != fs.ckpt.version() {
					t.Fatalf("pack %d: %v", pack, err)
				}
				hurt := storetest.NewMem(bytes.Clone(m.Bytes()))
				clear(hurt.Bytes()[fs.geo.packStart(1-pack)*blockSize:][:blockSize])
				same(t, "with one pack", all(t, open(t, hurt)), want)
			}
			fsck(t, m.Bytes())
		})
	}
}

// New files and directories in every layout, replaced and removed again.
func TestCreateAndRemove(t *testing.T) {
	at := time.Unix(1700000000, 5)
	for _, name := range some {
		t.Run(name, func(t *testing.T) {
			m := storetest.NewMem(imagetest.GoldenBytes(t, name))
			fs := open(t, m)
			want := all(t, fs)
			dir, err := fs.Mkdir(fs.Root(), []byte(".fscrypt"), image.NewFile{Perm: 0o755, Time: at})
			if err != nil {
				t.Fatal(err)
			}
			var inos []image.Ino
			for i, n := range []int{0, 1, 3000, 4096, 5000, 5 << 20} {
				ino, err := fs.Create(dir, fmt.Appendf(nil, "file %d", i), bytes.Repeat([]byte{byte(i + 1)}, n), image.NewFile{Perm: 0o600, Time: at})
				if err != nil {
					t.Fatal(err)
				}
				inos = append(inos, ino)
			}
			flush(t, fs, m)
			fs = open(t, m)
			for i, ino := range inos {
				if err := fs.SetFile(ino, bytes.Repeat([]byte("x"), 100*(len(inos)-i))); err != nil {
					t.Fatal(err)
				}
			}
			flush(t, fs, m)
			fs = open(t, m)
			for i := range inos {
				if err := fs.Remove(dir, fmt.Appendf(nil, "file %d", i)); err != nil {
					t.Fatal(err)
				}
			}
			if err := fs.Remove(fs.Root(), []byte(".fscrypt")); err != nil {
				t.Fatal(err)
			}
			flush(t, fs, m)
			got := all(t, open(t, m))
			same(t, "after all was removed", got, want, fs.Root())
			if len(got) != len(want) {
				t.Errorf("%d inodes, want %d", len(got), len(want))
			}
		})
	}
}

func flush(t testing.TB, fs *FS, m *storetest.Mem) {
	t.Helper()
	if err := fs.Flush(); err != nil {
		t.Fatal(err)
	}
	fsck(t, m.Bytes())
}
