package btrfs

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
)

// overlay keeps what is written to it in memory, page by page.
type overlay struct {
	store.Store
	pages map[int64][]byte
}

const page = 4096

func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.Store.ReadAt(p, off)
	for at := off / page * page; at < off+int64(n); at += page {
		if b := o.pages[at]; b != nil {
			copy(p[max(0, at-off):n], b[max(0, off-at):])
		}
	}
	return n, err
}

func (o *overlay) WriteAt(p []byte, off int64) (int, error) {
	for at := off / page * page; at < off+int64(len(p)); at += page {
		b := o.pages[at]
		if b == nil {
			b = make([]byte, page)
			if _, err := o.Store.ReadAt(b, at); err != nil {
				return 0, err
			}
			o.pages[at] = b
		}
		copy(b[max(0, off-at):], p[max(0, at-off):])
	}
	return len(p), nil
}

// Whatever a tree block says, with a checksum that fits, editing the image ends
// with an error or without one.
func TestDamage(t *testing.T) {
	rounds := 1500
	if testing.Short() {
		rounds = 150
	}
	for _, name := range []string{"oracle/btrfs-v6-extents", "oracle/btrfs-v6-sha256-node4k"} {
		m := storetest.NewMem(imagetest.GoldenBytes(t, name))
		sound := reopen(t, m)
		blocks := allBlocks(t, sound)
		rng := rand.New(rand.NewPCG(3, 4))
		failed := 0
		for i := range rounds {
			o := &overlay{Store: m, pages: make(map[int64][]byte)}
			addr := blocks[rng.IntN(len(blocks))]
			damage(t, sound, o, addr, rng)
			if err := editAll(o); err != nil {
				failed++
				if errors.Is(err, errPanic) {
					t.Fatalf("%s, round %d, block at %d: %v", name, i, addr, err)
				}
			}
		}
		if failed == 0 {
			t.Errorf("%s: no damage was met", name)
		}
	}
}

// allBlocks lists the addresses of all tree blocks.
func allBlocks(t testing.TB, fs *FS) []uint64 {
	t.Helper()
	var out []uint64
	ext, err := fs.treeOf(treeExtent)
	if err == nil {
		err = fs.each(ext, key{}, func(k key, _ []byte) (bool, error) {
			if k.kind == keyMetadata {
				out = append(out, k.obj)
			}
			return true, nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// damage changes a few bytes of a block, most of them where it has something.
func damage(t testing.TB, fs *FS, o *overlay, addr uint64, rng *rand.Rand) {
	t.Helper()
	raw := make([]byte, fs.ns)
	if _, err := fs.readMirror(raw, addr, 0); err != nil {
		t.Fatal(err)
	}
	b := &block{addr: addr, raw: raw}
	used, low := b.items()*ptrSize, fs.ns
	if b.level() == 0 {
		used, low = b.items()*itemSize, fs.leafLow(b)
	}
	for range 1 + rng.IntN(3) {
		at := headerSize + rng.IntN(max(used, 1))
		if low < fs.ns && rng.IntN(2) == 0 {
			at = low + rng.IntN(fs.ns-low)
		}
		if rng.IntN(20) == 0 {
			at = offHdrItems + rng.IntN(5)
		}
		raw[at] ^= byte(1 << rng.IntN(8))
		if rng.IntN(3) == 0 {
			raw[at] = byte(rng.UintN(256))
		}
	}
	fs.sum.seal(raw)
	home := fs.s
	fs.s = o
	err := fs.writeLogical(raw, addr)
	if fs.s = home; err != nil {
		t.Fatal(err)
	}
}

var errPanic = errors.New("panic")

// editAll makes every kind of edit wherever it can be made.
func editAll(s store.Store) (err error) {
	defer func() {
		if e := recover(); e != nil {
			err = errors.Join(errPanic, errors.New(string(debug.Stack())))
		}
	}()
	fs, err := Open(s, image.Options{Write: true})
	if err != nil {
		return err
	}
	fs.CheckVolume(func(image.Finding) {})
	errs := []error{fs.Residue(func(int64, int64) error { return nil })}
	note := func(err error) { errs = append(errs, err) }
	var all []image.Attr
	note(fs.Inodes(func(a image.Attr, err error) error {
		if err == nil {
			all = append(all, a)
		}
		return err
	}))
	for _, a := range all {
		editOne(fs, a, note)
	}
	referers := make(map[image.Pblk]image.Ino)
	note(fs.Referers(nil, func(at image.Pblk) bool { return at%3 == 0 }, func(at image.Pblk, by image.Ino) error {
		referers[at] = by
		return nil
	}))
	for at, by := range referers {
		_, err := fs.Unshare(at, []image.Ino{by})
		note(err)
	}
	note(fs.WipeGaps(fs.Generation(), func() error { return nil }))
	note(fs.Flush())
	return errors.Join(errs...)
}

func editOne(fs *FS, a image.Attr, note func(error)) {
	fs.CheckInode(a.Ino, func(image.Finding) {})
	note(fs.SetContext(a.Ino, inodeContext(a.Ino)))
	switch a.Type {
	case image.TypeRegular:
		if a.Inline {
			note(fs.Uninline(a.Ino))
		}
		note(fs.SetExtents(a.Ino, extentContext))
		note(fs.SetFile(a.Ino, []byte("new")))
	case image.TypeSymlink:
		note(fs.SetLink(a.Ino, []byte("elsewhere"), true))
	case image.TypeDirectory:
		var list []image.Dirent
		note(fs.ReadDir(a.Ino, func(d image.Dirent) error {
			d.Name = append(bytes.Clone(d.Name[:len(d.Name)/2]), "renamed"...)
			list = append(list, d)
			return nil
		}))
		_, err := fs.Create(a.Ino, []byte("made"), []byte("contents"), image.NewFile{Perm: 0o600})
		note(err)
		note(fs.SetDir(a.Ino, list, false))
	}
}
