package btrfs

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store/storetest"
)

// readAll reads what a reader without keys can read, and fails the test only by
// panicking: errors are what damage is for.
func readAll(raw []byte) error {
	fs, err := Open(storetest.NewMem(raw), image.Options{})
	if err != nil {
		return err
	}
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	keep(fs.Inodes(func(a image.Attr, err error) error {
		keep(err)
		if err != nil {
			return nil
		}
		fs.CheckInode(a.Ino, func(image.Finding) {})
		switch a.Type {
		case image.TypeDirectory:
			keep(fs.ReadDir(a.Ino, func(image.Dirent) error { return nil }))
		case image.TypeSymlink:
			_, err := fs.ReadLink(a.Ino)
			keep(err)
		case image.TypeRegular:
			_, err := fs.Extents(a.Ino)
			keep(err)
		}
		if a.Encrypted {
			_, err := fs.Context(a.Ino)
			keep(err)
		}
		return nil
	}))
	fs.CheckVolume(func(image.Finding) {})
	return first
}

// Damage anywhere in the trees is told, never a panic; where a checksum covers
// it, reading fails with ErrCorrupt or goes to the other copy.
func TestDamagedReading(t *testing.T) {
	raw := imagetest.GoldenBytes(t, "oracle/btrfs-v6-basic")
	if err := readAll(bytes.Clone(raw)); err != nil {
		t.Fatal(err)
	}
	var nodes []int
	fsid := raw[superAddrs[0]+32:][:16]
	for at := 1 << 20; at < len(raw); at += 4096 {
		if bytes.Equal(raw[at+32:][:16], fsid) {
			nodes = append(nodes, at)
		}
	}
	if len(nodes) < 10 {
		t.Fatalf("%d blocks of trees found", len(nodes))
	}
	r := rand.New(rand.NewPCG(1, 2))
	told := 0
	for range 20 {
		bad := bytes.Clone(raw)
		for range 1 + r.IntN(40) {
			at := nodes[r.IntN(len(nodes))] + r.IntN(4096)
			bad[at] ^= byte(1 + r.IntN(255))
		}
		switch err := readAll(bad); {
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

// FuzzBlock puts bytes into a block of a tree and seals it again, so that they
// get past the checksums.
func FuzzBlock(f *testing.F) {
	raw := imagetest.GoldenBytes(f, "oracle/btrfs-v6-basic")
	fs, err := Open(storetest.NewMem(raw), image.Options{})
	if err != nil {
		f.Fatal(err)
	}
	var nodes []int
	fsid := raw[superAddrs[0]+32:][:16]
	for at := 1 << 20; at < len(raw); at += fs.ns {
		if bytes.Equal(raw[at+32:][:16], fsid) {
			nodes = append(nodes, at)
		}
	}
	f.Add(uint16(0), uint16(101), []byte{1, 2, 3})
	f.Add(uint16(3), uint16(96), []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(uint16(5), uint16(118), []byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, node, off uint16, patch []byte) {
		bad := bytes.Clone(raw)
		b := bad[nodes[int(node)%len(nodes)]:][:fs.ns]
		copy(b[32+int(off)%(fs.ns-32):], patch)
		fs.sum.seal(b)
		_ = readAll(bad)
	})
}
