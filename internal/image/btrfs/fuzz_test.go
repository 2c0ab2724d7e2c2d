package btrfs

import (
	"errors"
	"math/rand/v2"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// readAll reads what a reader without keys can read, and all copies of data, and
// fails the test only by panicking: errors are what damage is for.
func readAll(s store.Store) error {
	fs, err := Open(s, image.Options{AllowUnfinished: true, AllowDirty: true})
	if err != nil {
		return err
	}
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	fs.Super()
	keep(fs.Inodes(func(a image.Attr, err error) error {
		keep(err)
		if err == nil {
			keep(readInode(fs, a))
			fs.CheckInode(a.Ino, func(image.Finding) {})
		}
		return nil
	}))
	keep(fs.Referers(nil, func(image.Pblk) bool { return true }, func(image.Pblk, image.Ino) error { return nil }))
	keep(fs.Residue(func(_, n int64) error {
		if n <= 0 || n > s.Size() {
			return errors.New("an impossible range")
		}
		return nil
	}))
	fs.CheckVolume(func(image.Finding) {})
	return first
}

func readInode(fs *FS, a image.Attr) error {
	if _, err := fs.Context(a.Ino); err != nil {
		return err
	}
	if _, err := fs.Xattrs(a.Ino); err != nil {
		return err
	}
	if _, err := fs.Twins(a.Ino); err != nil {
		return err
	}
	switch {
	case a.Type == image.TypeDirectory:
		return fs.ReadDir(a.Ino, func(d image.Dirent) error {
			_, err := fs.Lookup(a.Ino, d.Name)
			if isNotExist(err) {
				err = nil // it is misplaced
			}
			return err
		})
	case a.Type == image.TypeSymlink:
		_, err := fs.ReadLink(a.Ino)
		return err
	case a.Inline:
		_, err := fs.Inline(a.Ino)
		return err
	case a.Type != image.TypeRegular:
		return nil
	}
	if err := fs.DiskExtents(a.Ino, func(image.DiskExtent) error { return nil }); err != nil {
		return err
	}
	all, err := fs.Extents(a.Ino)
	for _, x := range all {
		if err == nil {
			err = readExtent(fs, x)
		}
	}
	return err
}

func readExtent(fs *FS, x image.Extent) error {
	var stream []byte
	for _, part := range x.Stored() {
		p := make([]byte, min(part.Len, 1<<10)*uint64(fs.ss))
		if err := fs.ReadBlocks(p, part.Pblk); err != nil {
			return err
		}
		stream = append(stream, p...)
	}
	if x.Packed == nil {
		return nil
	}
	_, err := fs.Unpack(x.Packed, stream)
	return err
}

// Damage anywhere in the trees is told, never a panic; where a checksum covers
// it, reading fails with ErrCorrupt or goes to the other copy.
func TestDamagedReading(t *testing.T) {
	if err := readAll(overlaid(t, basicImage)); err != nil {
		t.Fatal(err)
	}
	fs, err := Open(overlaid(t, basicImage), image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	nodes := allBlocks(t, fs)
	r := rand.New(rand.NewPCG(1, 2))
	told := 0
	for range 60 {
		s := overlaid(t, basicImage)
		fs.s = s
		for range 1 + r.IntN(40) {
			if err := fs.writeLogical([]byte{byte(r.UintN(256))}, nodes[r.IntN(len(nodes))]+uint64(r.IntN(fs.ns))); err != nil {
				t.Fatal(err)
			}
		}
		switch err := readAll(s); {
		case err == nil:
		case errors.Is(err, image.ErrCorrupt), errors.Is(err, image.ErrUnsupported):
			told++
		default:
			t.Errorf("got %v", err)
		}
	}
	if told == 0 {
		t.Error("no damage was told")
	}
}

// fuzzImages have, one with the other, all kinds of items.
var fuzzImages = []string{basicImage, extentsImage, dupImage}

// FuzzBlock puts bytes into a block of a tree and seals it again, so that they
// get past the checksums.
func FuzzBlock(f *testing.F) {
	var sound []*FS
	var blocks [][]uint64
	for _, name := range fuzzImages {
		fs, err := Open(overlaid(f, name), image.Options{})
		if err != nil {
			f.Fatal(err)
		}
		sound, blocks = append(sound, fs), append(blocks, allBlocks(f, fs))
	}
	f.Add(uint8(0), uint16(0), uint16(101), []byte{1, 2, 3})
	f.Add(uint8(1), uint16(3), uint16(96), []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(uint8(2), uint16(5), uint16(118), []byte{0xff, 0xff})
	for i := range uint16(30) {
		f.Add(uint8(i), i, uint16(300+7*i), []byte{0, 1, 0, 0, 0, 0, 0, 0x80})
		f.Add(uint8(i), i, uint16(16384-17*i), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	}
	f.Fuzz(func(t *testing.T, which uint8, node, off uint16, patch []byte) {
		n := int(which) % len(fuzzImages)
		fs, s := sound[n], overlaid(t, fuzzImages[n])
		addr := blocks[n][int(node)%len(blocks[n])]
		b := make([]byte, fs.ns)
		if _, err := fs.readMirror(b, addr, 0); err != nil {
			t.Fatal(err)
		}
		copy(b[32+int(off)%(fs.ns-32):], patch)
		fs.sum.seal(b)
		(&damager{TB: t, s: s, fs: fs}).write(b, addr)
		_ = readAll(s)
	})
}

// FuzzSuper does the same with superblocks.
func FuzzSuper(f *testing.F) {
	f.Add(uint16(offRoot), []byte{1})
	f.Add(uint16(offChunkArray), []byte{1, 0xff})
	f.Add(uint16(offNodeSize), []byte{0, 16, 0, 0})
	f.Add(uint16(offIncompat), []byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, off uint16, patch []byte) {
		d := newDamager(t, basicImage)
		d.supers(func(sb *super) {
			at := sb.u64(offBytenr)
			copy(sb.raw[32+int(off)%(superSize-32):], patch)
			sb.set64(offBytenr, at)
		})
		_ = readAll(d.s)
	})
}

// FuzzUnpack unpacks streams of all methods.
func FuzzUnpack(f *testing.F) {
	f.Add(uint8(1), uint32(4096), []byte{0x78, 0x9c, 3, 0, 0, 0, 0, 1})
	f.Add(uint8(2), uint32(4096), []byte{12, 0, 0, 0, 4, 0, 0, 0, 0x11, 0, 0, 0})
	f.Add(uint8(3), uint32(4096), []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 1, 9, 0, 0, 'x'})
	f.Fuzz(func(t *testing.T, method uint8, size uint32, stream []byte) {
		n := int(size) % (maxPacked + 1)
		if out, err := unpack(methods[int(method)%len(methods)], stream, n, 4096); err == nil && len(out) != n {
			t.Errorf("%d bytes, want %d", len(out), n)
		}
	})
}
