package btrfs

import (
	"bytes"
	"slices"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// The tests below change images as a conversion does, with a cipher that is
// none: it flips bits of names, targets and contents.

const flip = 0x80

func flipped(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[i] = b[i] ^ flip
	}
	return out
}

// sealName pads a name as policies do; unsealName takes that back.
func sealName(name []byte) []byte {
	n := min(max(16, (len(name)+15)/16*16), maxNameLen)
	return flipped(append(bytes.Clone(name), bytes.Repeat([]byte{1}, n-len(name))...))
}

func unsealName(name []byte) []byte { return bytes.TrimRight(flipped(name), "\x01") }

func sealLink(target []byte) []byte {
	return append([]byte{byte(len(target)), byte(len(target) >> 8)}, flipped(target)...)
}

// inodeContext and extentContext have the form of real ones.
func inodeContext(ino image.Ino) []byte {
	b := make([]byte, ctxSize)
	b[0], b[1], b[2] = 2, 1, 4
	copy(b[offCtxID:], "key identifier..")
	le.PutUint64(b[24:], uint64(ino))
	return b
}

func extentContext(at image.Pblk) []byte {
	b := make([]byte, contextSize)
	b[0], b[1] = 1, 1
	copy(b[offExtCtxID:], "key identifier..")
	le.PutUint64(b[offExtNonce:], uint64(at))
	return b
}

func openFile(t testing.TB, p string) (*FS, *store.File) {
	t.Helper()
	s, err := store.OpenFile(p, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	fs, err := Open(s, image.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	return fs, s
}

// converter gives a tree the other form.
type converter struct {
	t       testing.TB
	fs      *FS
	encrypt bool
	inline  bool // contents stay inside of items where they fit
	noData  bool // contents outside of items stay as they are
	every   int  // edits between two transactions
	edits   int
	seen    map[image.Ino]bool
	extents map[image.Pblk]bool
}

func (c *converter) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *converter) edited() {
	if c.edits++; c.edits%c.every == 0 {
		c.check(c.fs.Flush())
	}
}

// dir converts a directory and what is below it, children before parents.
func (c *converter) dir(dir image.Ino) {
	var list []image.Dirent
	c.check(c.fs.ReadDir(dir, func(d image.Dirent) error {
		d.Name = bytes.Clone(d.Name)
		list = append(list, d)
		return nil
	}))
	tree, _ := split(dir)
	for i, d := range list {
		if c.encrypt {
			list[i].Name = sealName(d.Name)
		} else {
			list[i].Name = unsealName(d.Name)
		}
		if other, _ := split(d.Ino); other != tree || c.seen[d.Ino] {
			continue
		}
		c.seen[d.Ino] = true
		switch d.Type {
		case image.TypeDirectory:
			c.dir(d.Ino)
		case image.TypeRegular:
			c.file(d.Ino)
		case image.TypeSymlink:
			c.link(d.Ino)
		}
		c.edited()
	}
	c.check(c.fs.SetDir(dir, list, c.encrypt))
	c.context(dir)
	c.edited()
}

func (c *converter) context(ino image.Ino) {
	if c.encrypt {
		c.check(c.fs.SetContext(ino, inodeContext(ino)))
	} else {
		c.check(c.fs.SetContext(ino, nil))
	}
}

func (c *converter) link(ino image.Ino) {
	target, err := c.fs.ReadLink(ino)
	c.check(err)
	if c.encrypt {
		target = sealLink(target)
	} else {
		target = flipped(target[2:])
	}
	c.check(c.fs.SetLink(ino, target, c.encrypt))
	c.context(ino)
}

func (c *converter) file(ino image.Ino) {
	a, err := c.fs.Stat(ino)
	c.check(err)
	if a.Inline && c.within(ino, a) {
		return
	}
	c.check(c.fs.DiskExtents(ino, func(x image.DiskExtent) error {
		if c.noData || c.extents[x.Start] || x.Unwritten {
			return nil
		}
		c.extents[x.Start] = true
		p := make([]byte, int(x.Len)*c.fs.ss)
		if err := c.fs.ReadBlocks(p, x.Start); err != nil {
			return err
		}
		return c.fs.WriteBlocks(flipped(p), x.Start)
	}))
	c.context(ino)
	pick := extentContext
	if !c.encrypt {
		pick = nil
	}
	c.check(c.fs.SetExtents(ino, pick))
}

// within converts what a file has in its item, or moves it out.
func (c *converter) within(ino image.Ino, a image.Attr) bool {
	if !c.inline {
		c.check(c.fs.Uninline(ino))
		return false
	}
	b, err := c.fs.Inline(ino)
	c.check(err)
	p := make([]byte, (len(b)+15)/16*16)
	copy(p, b)
	p = flipped(p)
	if !c.encrypt {
		p = p[:a.Size]
	}
	if fits, err := c.fs.FitsInline(ino, len(p), ctxSize); err != nil || !fits {
		c.check(err)
		c.check(c.fs.Uninline(ino))
		return false
	}
	c.context(ino)
	c.check(c.fs.SetInline(ino, p))
	return true
}

// convert gives the directory a the other form.
func convert(t testing.TB, fs *FS, c converter) {
	t.Helper()
	c.t, c.fs, c.seen, c.extents = t, fs, make(map[image.Ino]bool), make(map[image.Pblk]bool)
	d, err := fs.Lookup(fs.Root(), []byte("a"))
	c.check(err)
	set, clear := []string{"encrypt"}, []string(nil)
	if c.inline {
		set = append(set, "encrypted_inline_data")
	}
	if c.encrypt {
		c.check(fs.SetFeatures(set, clear))
		unshare(t, fs, d.Ino)
	}
	c.dir(d.Ino)
	if !c.encrypt {
		c.check(fs.SetFeatures(nil, []string{"encrypt", "encrypted_inline_data"}))
	}
	c.check(fs.Flush())
}

// unshare gives the subvolume of dir its own copies of what others refer to.
func unshare(t testing.TB, fs *FS, dir image.Ino) {
	t.Helper()
	tree, _ := split(dir)
	inside, outside := make(map[image.Pblk][]image.Ino), make(map[image.Pblk]bool)
	err := fs.Referers(nil, func(image.Pblk) bool { return true }, func(start image.Pblk, by image.Ino) error {
		if id, _ := split(by); id == tree {
			inside[start] = append(inside[start], by)
		} else {
			outside[start] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for start, files := range inside {
		if !outside[start] {
			continue
		}
		if _, err := fs.Unshare(start, files); err != nil {
			t.Fatal(err)
		}
		if n++; n%7 == 0 {
			if err := fs.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n < 5 {
		t.Errorf("%d extents were shared", n)
	}
}

// sound fails if the own checker finds anything but what has the given IDs.
func sound(t testing.TB, fs *FS, when string, but ...string) {
	t.Helper()
	n := 0
	report := func(f image.Finding) {
		if slices.Contains(but, f.ID) {
			return
		}
		if n++; n < 10 {
			t.Errorf("%s: %s: inode %d, block %d: %s", when, f.ID, f.Ino, f.Pblk, f.Text)
		}
	}
	fs.CheckVolume(report)
	err := fs.Inodes(func(a image.Attr, err error) error {
		if err == nil {
			fs.CheckInode(a.Ino, report)
		}
		return err
	})
	if err != nil {
		t.Errorf("%s: %v", when, err)
	}
	if n > 0 {
		t.FailNow()
	}
}

// A tree encrypted and decrypted is as it was, and in between and behind it
// checkers and kernels find nothing.
func TestConvert(t *testing.T) {
	for _, v := range some() {
		t.Run(v.name, func(t *testing.T) { testConvert(t, v, false) })
	}
	t.Run("inline", func(t *testing.T) { testConvert(t, variants[0], true) })
}

func testConvert(t *testing.T, v variant, inline bool) {
	p := build(t, v)
	var before map[string]string
	mounted(t, p, func(dir string) { before = look(t, dir) })

	fs, s := openFile(t, p)
	sound(t, fs, "as the kernel left it")
	sameTree(t, "read", before, readTree(t, fs))
	convert(t, fs, converter{encrypt: true, inline: inline, every: 97})
	sound(t, fs, "encrypted")
	s.Close()
	c := shadow(t, p)
	btrfsCheck(t, c)
	use(t, c)

	fs, s = openFile(t, p)
	sound(t, fs, "encrypted, opened again")
	convert(t, fs, converter{inline: inline, every: 1000})
	sound(t, fs, "decrypted")
	s.Close()
	btrfsCheck(t, p)
	mounted(t, p, func(dir string) { sameTree(t, "decrypted", before, look(t, dir)) })
	use(t, p)
}
