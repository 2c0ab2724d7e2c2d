package extract

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/crypt"
	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/imagetest/manifest"
	"fsenc/internal/image/probe"
	"fsenc/internal/store/storetest"
	"fsenc/internal/tree"
	"fsenc/test/goldenkeys"
)

// golden opens a golden image with the given keys of its manifest, all if
// none is named.
func golden(t *testing.T, name string, keys ...string) (*tree.Tree, *manifest.Golden) {
	t.Helper()
	m := imagetest.Manifest(t, name)
	fs, err := probe.Open(storetest.NewMem(imagetest.GoldenBytes(t, name)), probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var ring crypt.Keyring
	for _, k := range m.Keys {
		if len(keys) > 0 && !strings.Contains(strings.Join(keys, " "), k.Name) {
			continue
		}
		ring.Add(goldenkeys.Key(t, k.MasterKey))
	}
	t.Cleanup(ring.Wipe)
	tr := tree.New(fs, &ring)
	t.Cleanup(tr.Close)
	return tr, m
}

func lookup(t *testing.T, tr *tree.Tree, path string) []tree.Node {
	t.Helper()
	n, err := tr.Lookup(path)
	if err != nil {
		t.Fatal(err)
	}
	return []tree.Node{n}
}

// skips collects what was left out, as "path: what".
type skips []string

func (s *skips) add(x Skipped) {
	*s = append(*s, strings.TrimSuffix(fmt.Sprintf("%s: %s", x.Path, x.What), ": "))
}

// A tar archive holds the tree of the manifest.
func TestTar(t *testing.T) {
	for _, name := range []string{"ext4-features", "ext4-4k", "ext4-lblk"} {
		t.Run(name, func(t *testing.T) {
			tr, m := golden(t, name)
			var out bytes.Buffer
			var left skips
			res, err := ToTar(t.Context(), tr, []tree.Node{tr.Root()}, &out, Options{Skip: left.add})
			if err != nil {
				t.Fatal(err)
			}
			sockets := 0
			for _, e := range m.Entries {
				if e.Type == manifest.Socket {
					sockets++
				}
			}
			if len(left) != sockets || int(res.Skipped) != sockets {
				t.Errorf("skipped %q, want the %d sockets", left, sockets)
			}
			compareTar(t, m, readTar(t, &out))
		})
	}
}

// member is a member of an archive as the test wants to see it.
type member struct {
	h   *tar.Header
	sum string
}

func readTar(t *testing.T, r io.Reader) map[string]member {
	t.Helper()
	out := map[string]member{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, in); err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(h.Name, "/")] = member{h, hex.EncodeToString(sum.Sum(nil))}
	}
}

func compareTar(t *testing.T, m *manifest.Golden, got map[string]member) {
	t.Helper()
	for _, e := range m.Entries {
		if e.Path == "." || e.Type == manifest.Socket {
			continue
		}
		g, ok := got[e.Path]
		if !ok {
			t.Errorf("%q is missing", e.Path)
			continue
		}
		for g.h.Typeflag == tar.TypeLink {
			g = got[g.h.Linkname]
		}
		h := g.h
		if h.Mode != int64(e.Mode) || h.Uid != int(e.UID) || h.Gid != int(e.GID) ||
			h.ModTime.Unix() != e.Mtime.Sec || int64(h.ModTime.Nanosecond()) != e.Mtime.Nsec {
			t.Errorf("%q: mode %o, %d:%d, %v", e.Path, h.Mode, h.Uid, h.Gid, h.ModTime)
		}
		if h.Linkname != e.Target || e.Type == manifest.File && g.sum != e.SHA256 {
			t.Errorf("%q: target %q, digest %s", e.Path, h.Linkname, g.sum)
		}
		if e.Rdev != "" && fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor) != e.Rdev {
			t.Errorf("%q: device %d:%d, want %s", e.Path, h.Devmajor, h.Devminor, e.Rdev)
		}
		for k, v := range e.Xattrs {
			k = "SCHILY.xattr." + strings.ReplaceAll(strings.ReplaceAll(k, "%", "%25"), "=", "%3D")
			if h.PAXRecords[k] != string(v) {
				t.Errorf("%q: %s is %q", e.Path, k, h.PAXRecords[k])
			}
		}
	}
}

// Files whose key is missing are left out and named; the rest comes.
func TestMissingKey(t *testing.T) {
	tr, m := golden(t, "ext4-check", "b")
	dir := t.TempDir()
	var left skips
	if _, err := ToDir(t.Context(), tr, []tree.Node{tr.Root()}, dir, Options{Skip: left.add}); err != nil {
		t.Fatal(err)
	}
	if strings.Join(left, " ") != "/enc" {
		t.Errorf("skipped %q", left)
	}
	for _, e := range m.Entries {
		if e.Type != manifest.File {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Path))
		if locked := strings.HasPrefix(e.Path, "enc/"); locked != errors.Is(err, os.ErrNotExist) || !locked && imagetest.Sum(b) != e.SHA256 {
			t.Errorf("%q: %v", e.Path, err)
		}
	}
}

// What is in the directory already is never written over or gone through.
func TestExistingFiles(t *testing.T) {
	tr, _ := golden(t, "ext4-check")
	dir, outside := t.TempDir(), t.TempDir()
	for _, err := range []error{
		os.Symlink(outside, filepath.Join(dir, "enc")),
		os.MkdirAll(filepath.Join(dir, "other"), 0o755),
		os.Symlink(filepath.Join(outside, "file"), filepath.Join(dir, "other", "one")),
		os.WriteFile(filepath.Join(dir, "other", "two"), []byte("mine"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var left skips
	if _, err := ToDir(t.Context(), tr, []tree.Node{tr.Root()}, dir, Options{Skip: left.add}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(left, " "); got != "/enc /other/two /other/one" && got != "/enc /other/one /other/two" {
		t.Errorf("skipped %q", left)
	}
	if list, err := os.ReadDir(outside); err != nil || len(list) > 0 {
		t.Errorf("outside: %v, %v", list, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "other", "two")); err != nil || string(b) != "mine" {
		t.Errorf("existing file: %q, %v", b, err)
	}
}

func TestOneFile(t *testing.T) {
	tr, m := golden(t, "ext4-check")
	dir := t.TempDir()
	res, err := ToDir(t.Context(), tr, lookup(t, tr, "/enc/sub/three"), dir, Options{})
	if err != nil || res.Files != 1 || res.Skipped != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "three"))
	if err != nil || imagetest.Sum(b) != m.Entry("enc/sub/three").SHA256 {
		t.Errorf("%v", err)
	}
}

func TestCancelled(t *testing.T) {
	tr, _ := golden(t, "ext4-check")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ToDir(ctx, tr, []tree.Node{tr.Root()}, t.TempDir(), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A full disk ends a tar archive with an error, and is not taken for a file
// that cannot be read.
func TestTarWriteError(t *testing.T) {
	tr, _ := golden(t, "ext4-check")
	full := errors.New("full")
	w := writerFunc(func(p []byte) (int, error) { return 0, full })
	if _, err := ToTar(t.Context(), tr, []tree.Node{tr.Root()}, w, Options{}); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// hostile is a filesystem whose names try to lead outside: its root holds a
// symlink to the parent directory and a directory of the same name.
type hostile struct{ image.FS }

func (hostile) Super() image.Super { return image.Super{Kind: "hostile", BlockSize: 1024} }
func (hostile) Root() image.Ino    { return 1 }

func (hostile) Stat(ino image.Ino) (image.Attr, error) {
	kind := map[image.Ino]image.FileType{1: image.TypeDirectory, 2: image.TypeDirectory, 3: image.TypeSymlink}[ino]
	if kind == image.TypeUnknown {
		kind = image.TypeRegular
	}
	return image.Attr{Ino: ino, Type: kind, Mode: 0o777, Size: 4, Inline: true}, nil
}

func (hostile) ReadDir(dir image.Ino, f func(image.Dirent) error) error {
	list := []image.Dirent{{Name: []byte("evil"), Ino: 4, Type: image.TypeRegular}}
	if dir == 1 {
		list = []image.Dirent{
			{Name: []byte("link"), Ino: 3, Type: image.TypeSymlink},
			{Name: []byte("link"), Ino: 2, Type: image.TypeDirectory},
			{Name: []byte("../evil"), Ino: 5, Type: image.TypeRegular},
			{Name: []byte(".."), Ino: 6, Type: image.TypeRegular},
			{Name: []byte("evil\x00"), Ino: 7, Type: image.TypeRegular},
			{Name: []byte("good"), Ino: 8, Type: image.TypeRegular},
		}
	}
	for _, e := range list {
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

func (hostile) ReadLink(image.Ino) ([]byte, error)        { return []byte(".."), nil }
func (hostile) Inline(image.Ino) ([]byte, error)          { return []byte("evil"), nil }
func (hostile) Xattrs(image.Ino) ([]image.Xattr, error)   { return nil, nil }
func (hostile) Extents(image.Ino) ([]image.Extent, error) { return nil, nil }
func (hostile) Context(image.Ino) ([]byte, error)         { return nil, nil }

func TestNothingOutside(t *testing.T) {
	parent := t.TempDir()
	tr := tree.New(hostile{}, nil)
	var left skips
	if _, err := ToDir(t.Context(), tr, []tree.Node{tr.Root()}, filepath.Join(parent, "dir"), Options{Skip: left.add}); err != nil {
		t.Fatal(err)
	}
	if list, err := os.ReadDir(parent); err != nil || len(list) != 1 {
		t.Errorf("beside the directory: %v, %v", list, err)
	}
	list, err := os.ReadDir(filepath.Join(parent, "dir"))
	if err != nil || len(list) != 2 || list[0].Name() != "good" || list[1].Name() != "link" {
		t.Errorf("in the directory: %v, %v", list, err)
	}
	if len(left) != 4 {
		t.Errorf("skipped %q, want the second link and three names", left)
	}
	left = nil
	var out bytes.Buffer
	if _, err := ToTar(t.Context(), tr, []tree.Node{tr.Root()}, &out, Options{Skip: left.add}); err != nil {
		t.Fatal(err)
	}
	for name := range readTar(t, &out) {
		if name != "good" && name != "link" && name != "link/evil" {
			t.Errorf("archive has %q", name)
		}
	}
}
