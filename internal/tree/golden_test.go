package tree_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
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

func open(t testing.TB, name string) image.FS {
	t.Helper()
	fs, err := probe.Open(storetest.NewMem(imagetest.GoldenBytes(t, name)), probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// images are those that can be read as they are: ext4-journal must be
// recovered first.
func images(t testing.TB) []string {
	var out []string
	for _, n := range imagetest.Names(t, "ext4-") {
		if n != "ext4-journal" {
			out = append(out, n)
		}
	}
	return out
}

// list reads a whole tree as a manifest has it.
func list(t testing.TB, tr *tree.Tree, top tree.Node) []manifest.Entry {
	t.Helper()
	var out []manifest.Entry
	err := tr.Walk(top, func(n tree.Node) error {
		if n.Err != nil {
			t.Errorf("%s: %v", n.Path, n.Err)
			return tree.SkipDir
		}
		out = append(out, entry(t, tr, n))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest.Sort(out)
	// The first name in order is that of the inode.
	first := map[uint64]string{}
	for i := range out {
		if out[i].Type == manifest.Dir {
			continue
		}
		out[i].SameAs = first[out[i].Ino]
		if out[i].SameAs == "" {
			first[out[i].Ino] = out[i].Path
		}
	}
	return out
}

// topOf is the first component of a path.
func topOf(path string) string {
	top, _, _ := strings.Cut(path, "/")
	return top
}

func entry(t testing.TB, tr *tree.Tree, n tree.Node) manifest.Entry {
	a, err := tr.Attr(n)
	if err != nil {
		t.Fatal(err)
	}
	e := manifest.Entry{Path: strings.TrimPrefix(n.Path, "/"), Type: a.Type.String(), Mode: a.Mode & 0o7777,
		UID: a.UID, GID: a.GID, Ino: uint64(a.Ino), Nlink: a.Links, Encrypted: a.Encrypted,
		Mtime: manifest.Time{Sec: a.Mtime.Unix(), Nsec: int64(a.Mtime.Nanosecond())}, Flags: a.Flags}
	if e.Path == "" {
		e.Path = "."
	}
	if c, err := tr.Context(n); err != nil {
		t.Errorf("%s: %v", n.Path, err)
	} else if c != nil {
		e.Nonce = hex.EncodeToString(c.Nonce[:])
	}
	switch a.Type {
	case image.TypeRegular:
		e.Size = a.Size
		sum := sha256.New()
		if err := tr.ReadFile(n, sum); err != nil {
			t.Errorf("%s: %v", n.Path, err)
		}
		e.SHA256 = hex.EncodeToString(sum.Sum(nil))
	case image.TypeSymlink:
		target, err := tr.Readlink(n)
		if err != nil {
			t.Errorf("%s: %v", n.Path, err)
		}
		e.Target, e.Size = string(target), int64(len(target))
	case image.TypeChar, image.TypeBlock:
		e.Rdev = fmt.Sprintf("%d:%d", a.RdevMajor, a.RdevMinor)
	}
	return e
}

// Every tree that the kernel wrote reads as the kernel saw it.
func TestGolden(t *testing.T) {
	for _, name := range images(t) {
		t.Run(name, func(t *testing.T) {
			m := imagetest.Manifest(t, name)
			tr := tree.New(open(t, name), goldenkeys.Ring(t, m))
			defer tr.Close()
			got := list(t, tr, tr.Root())
			want := m.Entries
			known := map[string]bool{}
			for i := range want {
				want[i].Xattrs, want[i].Verity, want[i].Project = nil, "", 0
				known[topOf(want[i].Path)] = true
			}
			// lost+found is in no manifest, and the root not in all.
			got = slices.DeleteFunc(got, func(e manifest.Entry) bool { return !known[topOf(e.Path)] })
			for _, line := range manifest.Compare(want, got, 0) {
				t.Error(line)
			}
		})
	}
}

// Each path of the manifest is found by the names in it, and with no-key names
// where the manifest has them.
func TestLookup(t *testing.T) {
	for _, name := range images(t) {
		t.Run(name, func(t *testing.T) {
			m := imagetest.Manifest(t, name)
			tr := tree.New(open(t, name), goldenkeys.Ring(t, m))
			defer tr.Close()
			for _, e := range m.Entries {
				n, err := tr.Lookup("/" + e.Path)
				if err != nil || uint64(n.Ino) != e.Ino {
					t.Errorf("%q: inode %d, %v, want %d", e.Path, n.Ino, err, e.Ino)
				}
			}
			for _, d := range m.NoKey {
				for _, x := range d.Names {
					n, err := tr.Lookup("/" + d.Path + "/" + x.NoKey)
					if err != nil || uint64(n.Ino) != x.Ino {
						t.Errorf("%q in %q: inode %d, %v, want %d", x.NoKey, d.Path, n.Ino, err, x.Ino)
					}
				}
			}
		})
	}
}

// Without keys the tree looks as the kernel shows it.
func TestWithoutKey(t *testing.T) {
	for _, name := range images(t) {
		t.Run(name, func(t *testing.T) {
			m := imagetest.Manifest(t, name)
			fs := open(t, name)
			keyed := tree.New(fs, goldenkeys.Ring(t, m))
			defer keyed.Close()
			bare := tree.New(fs, nil)
			for _, d := range m.NoKey {
				dir, err := keyed.Lookup("/" + d.Path)
				if err != nil {
					t.Fatal(err)
				}
				checkNoKey(t, bare, dir, d)
			}
		})
	}
}

func checkNoKey(t *testing.T, bare *tree.Tree, dir tree.Node, d manifest.NoKeyDir) {
	t.Helper()
	want := map[string]manifest.NoKeyName{}
	for _, x := range d.Names {
		want[x.NoKey] = x
	}
	if err := bare.Locked(dir); !errors.Is(err, crypt.ErrNoKey) {
		t.Errorf("%s: %v", d.Path, err)
	}
	err := bare.ReadDir(dir, func(n tree.Node) error {
		x, ok := want[string(n.Name)]
		delete(want, string(n.Name))
		if !ok || x.Ino != uint64(n.Ino) || !errors.Is(n.Err, crypt.ErrNoKey) {
			t.Errorf("%q in %q: inode %d, %v", n.Name, d.Path, n.Ino, n.Err)
		}
		switch n.Type {
		case image.TypeSymlink:
			target, err := bare.Readlink(n)
			if string(target) != x.Target || !errors.Is(err, crypt.ErrNoKey) {
				t.Errorf("%q: target %q, %v, want %q", n.Name, target, err, x.Target)
			}
		case image.TypeRegular:
			if f, err := bare.Open(n); !errors.Is(err, crypt.ErrNoKey) {
				f.Close()
				t.Errorf("%q opens without a key: %v", n.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for name := range want {
		t.Errorf("%q is missing in %q", name, d.Path)
	}
	for _, x := range d.Names[:min(3, len(d.Names))] {
		n, err := bare.Child(dir, []byte(x.NoKey))
		if err != nil || uint64(n.Ino) != x.Ino {
			t.Errorf("lookup of %q: inode %d, %v", x.NoKey, n.Ino, err)
		}
	}
}

// The ciphertext of files is what the manifest has.
func TestOpenStored(t *testing.T) {
	for _, name := range images(t) {
		m := imagetest.Manifest(t, name)
		tr := tree.New(open(t, name), goldenkeys.Ring(t, m))
		for _, c := range m.Ciphertext {
			n, err := tr.Lookup("/" + c.Path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := tr.OpenStored(n)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range c.Blocks {
				p := make([]byte, b.Len)
				if off := int64(b.Lblk) * int64(b.Len); off+int64(b.Len) > f.Size() {
					continue // a block of a Merkle tree, behind the contents
				} else if _, err := f.ReadAt(p, off); err != nil {
					t.Fatal(err)
				}
				if imagetest.Sum(p) != b.SHA256 {
					t.Errorf("%s: %s: block %d differs", name, c.Path, b.Lblk)
				}
			}
			f.Close()
		}
		tr.Close()
	}
}

// A v1 key whose descriptor is not the customary one is found by what it
// decodes, and another key is not taken for it.
func TestForeignDescriptor(t *testing.T) {
	const name = "ext4-modes"
	m := imagetest.Manifest(t, name)
	fs := open(t, name)
	for _, dir := range m.Tops {
		if dir.Policy == nil || dir.Policy.Version != 1 {
			continue
		}
		right := m.Key(dir.Policy.Key)
		key, err := crypt.NewMasterKey(bytes.Clone(right.MasterKey))
		if err != nil {
			t.Fatal(err)
		}
		wrong, err := crypt.NewMasterKey(bytes.Repeat([]byte{7, 9, 3, 1}, 16))
		if err != nil {
			t.Fatal(err)
		}
		tr := tree.New(forged{fs, right.Descriptor}, ring(t, wrong, key))
		n, err := tr.Lookup("/" + dir.Path)
		if err != nil || tr.Locked(n) != nil {
			t.Errorf("%s: %v, locked: %v", dir.Path, err, tr.Locked(n))
		}
		tr = tree.New(forged{fs, right.Descriptor}, ring(t, wrong))
		if err := tr.Locked(n); !errors.Is(err, crypt.ErrNoKey) {
			t.Errorf("%s opens with a wrong key: %v", dir.Path, err)
		}
	}
}

func ring(t *testing.T, keys ...*crypt.MasterKey) *crypt.Keyring {
	var r crypt.Keyring
	r.Add(keys...)
	return &r
}

// forged is a filesystem whose v1 contexts have another descriptor.
type forged struct {
	image.FS
	descriptor []byte
}

func (f forged) Context(ino image.Ino) ([]byte, error) {
	c, err := f.FS.Context(ino)
	if len(c) == 28 && bytes.Equal(c[4:12], f.descriptor) {
		copy(c[4:12], "homebrew")
	}
	return c, err
}
