package fsck_test

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"fsenc/internal/crypt"
	"fsenc/internal/fsck"
	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/probe"
	"fsenc/internal/store/storetest"
	"fsenc/test/goldenkeys"
)

// altered is a filesystem that answers wrong in one respect. A nil function
// changes nothing.
type altered struct {
	image.FS
	attr    func(*image.Attr)
	context func(image.Ino, []byte) []byte
	entry   func(dir image.Ino, e *image.Dirent) bool // false drops it
	link    func(image.Ino, []byte) []byte
	blocks  func(p []byte) // what is read
	err     error          // of whatever fails names
	fails   string
}

func (a *altered) Inodes(f func(image.Attr, error) error) error {
	return a.FS.Inodes(func(at image.Attr, err error) error {
		if a.fails == "inode" && at.Ino == fileTwo {
			err = a.err
		}
		a.change(&at)
		return f(at, err)
	})
}

func (a *altered) change(at *image.Attr) {
	if a.attr != nil {
		a.attr(at)
	}
}

func (a *altered) Stat(ino image.Ino) (image.Attr, error) {
	at, err := a.FS.Stat(ino)
	a.change(&at)
	return at, err
}

func (a *altered) Context(ino image.Ino) ([]byte, error) {
	c, err := a.FS.Context(ino)
	if a.context != nil {
		c = a.context(ino, c)
	}
	return c, err
}

func (a *altered) ReadDir(dir image.Ino, f func(image.Dirent) error) error {
	if a.fails == "dir" && dir == dirSub {
		return a.err
	}
	return a.FS.ReadDir(dir, func(e image.Dirent) error {
		e.Name = bytes.Clone(e.Name)
		if a.entry != nil && !a.entry(dir, &e) {
			return nil
		}
		return f(e)
	})
}

func (a *altered) ReadLink(ino image.Ino) ([]byte, error) {
	if a.fails == "link" && ino == shortLink {
		return nil, a.err
	}
	b, err := a.FS.ReadLink(ino)
	if a.link != nil {
		b = a.link(ino, b)
	}
	return b, err
}

func (a *altered) Extents(ino image.Ino) ([]image.Extent, error) {
	if a.fails == "extents" && ino == fileTwo {
		return nil, a.err
	}
	return a.FS.Extents(ino)
}

func (a *altered) Xattrs(ino image.Ino) ([]image.Xattr, error) {
	if a.fails == "xattrs" && ino == fileTwo {
		return nil, a.err
	}
	return a.FS.Xattrs(ino)
}

func (a *altered) ReadBlocks(p []byte, at image.Pblk) error {
	if a.fails == "blocks" {
		return a.err
	}
	err := a.FS.ReadBlocks(p, at)
	if a.blocks != nil {
		a.blocks(p)
	}
	return err
}

// Inodes of ext4-check.
const (
	dirEnc    image.Ino = 12
	fileOne   image.Ino = 13
	fileTwo   image.Ino = 14
	dirSub    image.Ino = 15
	shortLink image.Ino = 21
	longLink  image.Ino = 22
	plainFile image.Ino = 36
)

// unpacked are the images that were unpacked; the checks only read them.
var unpacked = map[string][]byte{}

// findings checks an altered image with its keys and returns all IDs.
func findings(t *testing.T, name string, a *altered, more ...*crypt.MasterKey) map[string]fsck.Finding {
	t.Helper()
	var err error
	if unpacked[name] == nil {
		unpacked[name] = imagetest.GoldenBytes(t, name)
	}
	if a.FS, err = probe.Open(storetest.NewMem(unpacked[name]), probe.Options{}); err != nil {
		t.Fatal(err)
	}
	ring := goldenkeys.Ring(t, imagetest.Manifest(t, name))
	ring.Add(more...)
	out := map[string]fsck.Finding{}
	_, err = fsck.Check(context.Background(), a, fsck.Options{Keys: ring, Content: true,
		Report: func(f fsck.Finding) { out[f.ID] = f }})
	if err != nil {
		t.Error(err)
	}
	return out
}

// on changes the attributes of one inode.
func on(ino image.Ino, change func(*image.Attr)) *altered {
	return &altered{attr: func(a *image.Attr) {
		if a.Ino == ino {
			change(a)
		}
	}}
}

// entryOf changes the entries of one inode.
func entryOf(ino image.Ino, change func(*image.Dirent)) *altered {
	return &altered{entry: func(_ image.Ino, e *image.Dirent) bool {
		if e.Ino == ino {
			change(e)
		}
		return true
	}}
}

func failing(what string) *altered {
	return &altered{fails: what, err: &image.CorruptError{What: "test", Ino: fileTwo, Pblk: 77, Why: "damaged on purpose"}}
}

// Each finding comes when what it is about is there, on the inode concerned.
func TestFindings(t *testing.T) {
	set := func(flag uint32) func(*image.Attr) { return func(a *image.Attr) { a.Flags |= flag } }
	encrypt := func(a *image.Attr) { a.Encrypted = true }
	for _, c := range []struct {
		id      string
		ino     image.Ino
		altered *altered
	}{
		{"root-encrypted", 2, on(2, encrypt)},
		{"lost-found-encrypted", 11, on(11, encrypt)},
		{"reserved-inode-encrypted", 8, on(8, encrypt)},
		{"special-file-encrypted", fileTwo, on(fileTwo, func(a *image.Attr) { a.Type = image.TypeFifo })},
		{"special-file-context", fileTwo, on(fileTwo, func(a *image.Attr) { a.Type, a.Encrypted = image.TypeChar, false })},
		{"inline-encrypted", fileTwo, on(fileTwo, func(a *image.Attr) { a.Inline = true })},
		{"dax-encrypted", fileTwo, on(fileTwo, set(0x02000000))},
		{"data-journal-encrypted", fileTwo, on(fileTwo, set(0x4000))},
		{"casefold-not-dir", plainFile, on(plainFile, func(a *image.Attr) { a.Casefold = true })},
		{"casefold-feature-missing", dirSub, on(dirSub, func(a *image.Attr) { a.Casefold = true })},
		{"blocks-past-eof", fileTwo, on(fileTwo, func(a *image.Attr) { a.Size = 1 })},
		{"size-invalid", fileTwo, on(fileTwo, func(a *image.Attr) { a.Size = -1 })},
		{"name-length", fileOne, entryOf(fileOne, func(e *image.Dirent) { e.Name = append(e.Name, 1, 2, 3, 4) })},
		{"name-duplicate", 0, entryOf(fileOne, func(e *image.Dirent) { copy(e.Name, bytes.Repeat([]byte{7}, 16)) }).and(
			entryOf(fileTwo, func(e *image.Dirent) { copy(e.Name, bytes.Repeat([]byte{7}, 16)) }))},
		{"entry-dangling", 95, entryOf(fileOne, func(e *image.Dirent) { e.Ino = 95 })},
		{"entry-type", fileOne, entryOf(fileOne, func(e *image.Dirent) { e.Type = image.TypeSymlink })},
		{"encrypted-unreachable", fileOne, &altered{entry: func(_ image.Ino, e *image.Dirent) bool { return e.Ino != fileOne }}},
		{"name-damaged", plainFile, entryOf(plainFile, func(e *image.Dirent) { e.Name = []byte("a/b") })},
		{"lookup-misses", fileOne, entryOf(fileOne, func(e *image.Dirent) { e.Misplaced = true })},
		{"inode-damaged", fileTwo, failing("inode")},
		{"xattr-damaged", fileTwo, failing("xattrs")},
		{"mapping-damaged", fileTwo, failing("extents")},
		{"symlink-damaged", shortLink, failing("link")},
		{"directory-damaged", dirSub, failing("dir")},
		{"content-unreadable", 0, failing("blocks")},
		{"tail-not-zero", 0, &altered{blocks: func(p []byte) { p[4095] ^= 1 }}},
	} {
		f, ok := findings(t, "ext4-check", c.altered)[c.id]
		if !ok || c.ino != 0 && f.Ino != c.ino {
			t.Errorf("%s: %v, %+v, want inode %d", c.id, ok, f, c.ino)
		}
		if c.altered.fails != "" && c.altered.err != nil && f.Pblk != 77 {
			t.Errorf("%s: block %d is not told", c.id, f.Pblk)
		}
	}
}

// and joins two changes of entries.
func (a *altered) and(b *altered) *altered {
	first := a.entry
	a.entry = func(dir image.Ino, e *image.Dirent) bool { return first(dir, e) && b.entry(dir, e) }
	return a
}

// A damaged cipher block makes a random name or end of a target: soon one
// whose padding is not zero, and one that no name can be.
func TestDamagedCipher(t *testing.T) {
	missing := map[string]image.Ino{"name-padding": fileOne, "name-undecodable": fileOne, "symlink-padding": longLink}
	for v := range byte(255) {
		a := entryOf(fileOne, func(e *image.Dirent) { e.Name[0] ^= v + 1 })
		a.link = func(ino image.Ino, b []byte) []byte {
			if ino == longLink {
				b[len(b)-32] ^= v + 1 // of the last cipher block, which CTS puts before the other
			}
			return b
		}
		for id, f := range findings(t, "ext4-check", a) {
			if missing[id] == f.Ino {
				delete(missing, id)
			}
		}
		if len(missing) == 0 {
			return
		}
	}
	t.Errorf("never found: %v", missing)
}

func TestCasefoldFindings(t *testing.T) {
	const name = "ext4-casefold"
	hash := &altered{entry: func(_ image.Ino, e *image.Dirent) bool {
		e.Hash ^= 2
		return true
	}}
	if _, ok := findings(t, name, hash)["name-hash"]; !ok {
		t.Error("wrong hashes are not noticed")
	}
}

func TestVerityFindings(t *testing.T) {
	longer := &altered{attr: func(a *image.Attr) {
		if a.Verity && a.Size > 0 {
			a.Size--
		}
	}}
	f, ok := findings(t, "ext4-verity", longer)["verity-descriptor"]
	if !ok || f.Severity != image.Error {
		t.Errorf("%+v", f)
	}
	if _, ok := findings(t, "ext4-verity", &altered{blocks: func(p []byte) { clear(p) }})["verity-descriptor"]; !ok {
		t.Error("a missing descriptor is not noticed")
	}
}

// A key that is too short for the mode of an inode is told as such.
func TestUnusableKey(t *testing.T) {
	key, err := crypt.NewMasterKey(bytes.Repeat([]byte{5, 1}, 8))
	if err != nil {
		t.Fatal(err)
	}
	id := key.Identifier()
	a := &altered{context: func(ino image.Ino, c []byte) []byte {
		if ino == fileTwo {
			c = slices.Concat(c[:8], id[:], c[24:])
		}
		return c
	}}
	if f, ok := findings(t, "ext4-check", a, key)["key-unusable"]; !ok || f.Ino != fileTwo || f.Path != "/enc/two" {
		t.Errorf("%+v", f)
	}
}
