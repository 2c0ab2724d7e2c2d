package f2fs

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// The buckets of a hash are blocks of one level each, in ascending order, and
// levelOf and holds say the same of them.
func TestBuckets(t *testing.T) {
	for _, d := range []dirShape{0, 1, 2, 9, 18, 63, 255} {
		for _, hash := range []uint32{0, 1, 0x12345678, 0xffffffff} {
			last := uint64(0)
			for level := range maxDepth {
				first, n := d.bucket(level, hash)
				if level > 0 && first < last || n != blocksInBucket(level) {
					t.Fatalf("i_dir_level %d, level %d: %d blocks at %d, after %d", d, level, n, first, last)
				}
				last = first + n
				for b := first; b < last; b++ {
					if d.levelOf(b) != level || !d.holds(b, hash) {
						t.Errorf("i_dir_level %d: block %d is in level %d, want %d", d, b, d.levelOf(b), level)
					}
				}
				if d.buckets(level) > 1 && d.holds(first, hash+1) {
					t.Errorf("i_dir_level %d: hash %#x is at home in the bucket of %#x", d, hash+1, hash)
				}
			}
			if end := d.first(maxDepth); d.levelOf(end) != maxDepth || d.holds(end, hash) {
				t.Errorf("i_dir_level %d: block %d is in a level", d, end)
			}
		}
	}
	// The layout as the kernel lays it out for i_dir_level 0: 1, 2, 4 buckets of two blocks.
	for level, first := range []uint64{0, 2, 6, 14} {
		if got := dirShape(0).first(level); got != first {
			t.Errorf("level %d begins with block %d, want %d", level, got, first)
		}
	}
}

// Every block of a file has one place in the tree of nodes.
func TestPaths(t *testing.T) {
	s := shape{864, 1016} // a compressed file
	edges := []uint64{0, 863, 864, 864 + 1016, 864 + 2*1016, 864 + 1020*1016, 864 + 2038*1016, 864 + 2038*1016 + 1018*1016, s.blocks() - 1}
	offsets := []uint32{0, 0, 1, 2, 4, 5 + nodeAddrs, 7 + 2*nodeAddrs, 8 + 3*nodeAddrs, 5 + 2*nodeAddrs + nodeAddrs*(nodeAddrs+1)}
	for i, lblk := range edges {
		p, ok := s.pathTo(lblk)
		var ofs uint32
		if p.depth > 0 {
			ofs = p.ofs[p.depth-1]
		}
		if !ok || ofs != offsets[i] {
			t.Errorf("block %d: node offset %d, want %d", lblk, ofs, offsets[i])
		}
	}
	if _, ok := s.pathTo(s.blocks()); ok {
		t.Error("a path behind the largest file")
	}
}

// Capacities as the kernel computes them for inline areas.
func TestInlineCapacities(t *testing.T) {
	for size, want := range map[int][4]int{ // slots, bitmap, reserved, inline encrypted
		3488: {182, 23, 7, 3488}, 3452: {180, 23, 9, 3440}, 3688: {192, 24, 16, 3680},
	} {
		d := inlineDentries(make([]byte, size))
		if got := [4]int{d.slots, d.bitmap, d.entries - d.bitmap, size &^ 15}; got != want {
			t.Errorf("area of %d bytes: %v, want %v", size, got, want)
		}
	}
}

// A stream of LZO-RLE, written by hand after the description of the format:
// literals, a run of zeros with a literal behind it, a match, the end.
func TestLZORLE(t *testing.T) {
	stream := []byte{
		17, 1, // version 1
		17 + 4, 'a', 'b', 'c', 'd', // four literals
		0x18 | 3, 0xfd, 0xff, 2, 'x', // a run of 4 + 3 + 2*8 zeros, then one literal
		3<<5 | 3<<2, 0, // 4 bytes from 4 back, near
		0x11, 0, 0, // the end
	}
	want := append([]byte("abcd"), make([]byte, 23)...)
	want = append(want, 'x', 0, 0, 0, 'x')
	got, err := unpack("lzo-rle", stream, 64)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for n := range len(stream) {
		if out, err := unpack("lzo-rle", stream[:n], 64); err == nil {
			t.Errorf("cut after %d bytes: %q", n, out)
		}
	}
	for _, size := range []int{3, 4, 26, 27, 31} {
		if out, err := unpack("lzo-rle", stream, size); err == nil {
			t.Errorf("into %d bytes: %q", size, out)
		}
	}
	if _, err := unpack("lz77", stream, 64); !errors.Is(err, image.ErrUnsupported) || !strings.Contains(err.Error(), "lz77") {
		t.Errorf("an unknown method: %v", err)
	}
}

// Behind the name that an inode keeps WipeSlack leaves what a casefolded
// directory put there, and nothing of a longer former name.
func TestWipeFormerName(t *testing.T) {
	for name, keep := range map[string]int{sampleImage: 0, "oracle/f2fs-casefold-verity-619": hashCopy} {
		d := newDamager(t, name)
		ino := d.first(func(a image.Attr) bool {
			in, err := d.fs.inode(a.Ino)
			return err == nil && a.Type == image.TypeDirectory && in.advise(advEncName) && (keep > 0) == d.fs.keepsHash(in)
		})
		var n int
		d.inode(uint32(ino), func(in *inode) {
			n = int(in.u32(offNameLen))
			for i := n + keep; i < maxNameLen; i++ {
				in.raw[offName+i] = 'x'
			}
		})
		fs, err := Open(d, image.Options{Write: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := fs.WipeSlack(ino); err != nil {
			t.Fatal(err)
		}
		in, err := fs.inode(ino)
		if err != nil {
			t.Fatal(err)
		}
		rest := in.raw[offName+n : offName+maxNameLen]
		if store.IsZero(rest) != (keep == 0) || !store.IsZero(rest[keep:]) {
			t.Errorf("%s: behind the name of inode %d there is %x", name, ino, rest)
		}
	}
}
