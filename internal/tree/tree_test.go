package tree_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/imagetest/manifest"
	"fsenc/internal/tree"
	"fsenc/test/goldenkeys"
)

// ReadAt at any place gives what reading from the start gives, across holes,
// unwritten extents and the end.
func TestReadAt(t *testing.T) {
	for _, name := range []string{"ext4-features", "ext4-subblock", "ext4-indirect"} {
		m := imagetest.Manifest(t, name)
		tr := tree.New(open(t, name), goldenkeys.Ring(t, m))
		for _, e := range m.Entries {
			if e.Type == manifest.File && e.SameAs == "" && e.Size < 16<<20 {
				checkReadAt(t, tr, "/"+e.Path)
			}
		}
		tr.Close()
	}
}

func checkReadAt(t *testing.T, tr *tree.Tree, path string) {
	t.Helper()
	n, err := tr.Lookup(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := tr.Open(n)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all bytes.Buffer
	if _, err := f.WriteTo(&all); err != nil || int64(all.Len()) != f.Size() {
		t.Fatalf("%s: %d bytes, %v", path, all.Len(), err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		off := rnd.Int64N(f.Size() + 100)
		p := bytes.Repeat([]byte{0xee}, rnd.IntN(20000))
		k, err := f.ReadAt(p, off)
		want := all.Bytes()[min(off, f.Size()):]
		want = want[:min(len(want), len(p))]
		if !bytes.Equal(p[:k], want) || (k < len(p)) != (err == io.EOF) {
			t.Errorf("%s: %d bytes at %d: %d, %v", path, len(p), off, k, err)
		}
	}
	rest := make([]byte, f.Size())
	copy(rest, all.Bytes())
	for _, r := range f.Ranges() {
		clear(rest[r.Off : r.Off+r.Len])
	}
	if len(bytes.TrimLeft(rest, "\x00")) > 0 {
		t.Errorf("%s: data outside of %v", path, f.Ranges())
	}
}

// A reader that stops early does not leave the one that reads ahead behind.
func TestWriteToStops(t *testing.T) {
	m := imagetest.Manifest(t, "ext4-features")
	tr := tree.New(open(t, "ext4-features"), goldenkeys.Ring(t, m))
	defer tr.Close()
	big := ""
	for _, e := range m.Entries {
		if e.Type == manifest.File && e.Size > 4<<20 {
			big = "/" + e.Path
		}
	}
	n, err := tr.Lookup(big)
	if err != nil || big == "" {
		t.Fatal(big, err)
	}
	full := errors.New("full")
	if err := tr.ReadFile(n, failing{full}); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestErrors(t *testing.T) {
	m := imagetest.Manifest(t, "ext4-4k")
	tr := tree.New(open(t, "ext4-4k"), goldenkeys.Ring(t, m))
	defer tr.Close()
	for path, want := range map[string]error{
		"/no such": image.ErrNotExist, "/lost+found/x": image.ErrNotExist,
	} {
		_, err := tr.Lookup(path)
		var p *tree.PathError
		if !errors.Is(err, want) || !errors.As(err, &p) || p.Path != path {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{"", "/", "/.", "/..", "/lost+found/..", "//./"} {
		if n, err := tr.Lookup(path); err != nil || n.Path != "/" || n.Ino != tr.FS().Root() {
			t.Errorf("%q: %q, %v", path, n.Path, err)
		}
	}
	var file manifest.Entry
	for _, e := range m.Entries {
		if e.Type == manifest.File {
			file = e
		}
	}
	if _, err := tr.Lookup("/" + file.Path + "/x"); !errors.Is(err, image.ErrNotDir) {
		t.Errorf("below a file: %v", err)
	}
	n, err := tr.Lookup("/" + file.Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Readlink(n); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("/%s: inode %d: ", file.Path, file.Ino)) {
		t.Errorf("readlink of a file: %v", err)
	}
	if _, err := tr.Open(tr.Root()); err == nil {
		t.Error("a directory opens as a file")
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"/home/ann": "/home/ann", "a\nb": `a\x0ab`, "\x1b[31m": `\x1b[31m`, "Füße 🐧": "Füße 🐧",
		"bad\xff\xfe": `bad\xff\xfe`, "\u202etxt": `\xe2\x80\xaetxt`, "\u0085": `\xc2\x85`, "\ufffd": "\ufffd",
	} {
		if got := tree.Printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// hostile is a filesystem of plain directories that a checker would refuse:
// each holds itself, its neighbour, and names that no kernel makes.
type hostile struct {
	image.FS
	dirs image.Ino
}

func (h hostile) Super() image.Super { return image.Super{Kind: "hostile", BlockSize: 1024} }
func (h hostile) Root() image.Ino    { return 1 }

func (h hostile) Stat(ino image.Ino) (image.Attr, error) {
	return image.Attr{Ino: ino, Type: image.TypeDirectory}, nil
}

func (h hostile) ReadDir(dir image.Ino, f func(image.Dirent) error) error {
	for name, ino := range map[string]image.Ino{"self": dir, "next": dir + 1, "../../up": dir, "": dir, "a\x00b": dir, "..": dir} {
		if ino > h.dirs {
			continue
		}
		if err := f(image.Dirent{Name: []byte(name), Ino: ino, Type: image.TypeDirectory}); err != nil {
			return err
		}
	}
	return nil
}

func TestWalkEnds(t *testing.T) {
	tr := tree.New(hostile{dirs: 6000}, nil)
	good, bad, unread := 0, 0, 0
	err := tr.Walk(tr.Root(), func(n tree.Node) error {
		switch {
		case n.Unread:
			unread++
		case n.Err != nil:
			bad++
			if !errors.Is(n.Err, image.ErrCorrupt) {
				t.Fatal(n.Err)
			}
			return tree.SkipDir
		default:
			good++
		}
		return nil
	})
	// 4096 directories are read; each has itself as a child that is not gone
	// into, and so has the last one its neighbour.
	if err != nil || good != 2*4096+1 || unread != 4096+1 || bad != 4*4096 {
		t.Errorf("%d good, %d bad, %d unread, %v", good, bad, unread, err)
	}
}
