package f2fs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"fsenc/internal/image"
)

// names makes entries of all lengths, with hashes of a few values only where
// crowded, so that buckets overflow into further levels.
func names(r *rand.Rand, n int, crowded bool) []image.Dirent {
	list := make([]image.Dirent, n)
	for i := range list {
		b := fmt.Appendf(nil, "%d", i)
		for range r.IntN(maxNameLen - len(b)) {
			b = append(b, byte(r.Uint32())|1)
		}
		list[i] = image.Dirent{Name: b, Ino: image.Ino(1000 + i), Type: image.TypeRegular, Hash: nameHash(b)}
		if crowded {
			list[i].Hash = uint32(r.IntN(3)) << 9
		}
	}
	return list
}

// Whatever is laid out lies where a lookup looks, once, and in no more blocks
// than CostDir tells.
func TestDirBuilder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		n, shape := r.IntN(1+round*20), dirShape(r.IntN(4))
		list := names(r, n, round%3 == 0)
		b := newDirBuilder(shape, func() []byte { return make([]byte, blockSize) })
		for _, d := range dots(7, 3) {
			b.add(&d)
		}
		slots, most := 2, 1
		for i := range list {
			if !b.add(&list[i]) {
				t.Fatalf("no room for name %d", i)
			}
			slots += slotsFor(len(list[i].Name))
			most = max(most, slotsFor(len(list[i].Name)))
		}
		found := make(map[string]image.Ino)
		for l, p := range b.blocks {
			first := 0
			err := p.each(func(e dentry) error {
				if l == 0 && e.slot < 2 {
					first++
					return nil
				}
				if !shape.holds(l, e.Hash) || shape.levelOf(l) >= b.depth {
					return fmt.Errorf("hash %#x in block %d of %d levels", e.Hash, l, b.depth)
				}
				if found[string(e.Name)] != 0 {
					return fmt.Errorf("%q is there twice", e.Name)
				}
				found[string(e.Name)] = e.Ino
				return nil
			})
			if err != nil || l == 0 && first != 2 {
				t.Fatalf("block %d: %v, %d dots", l, err, first)
			}
			old := bytes.Clone(p.b)
			if changed, err := p.wipe(); changed || err != nil || !bytes.Equal(old, p.b) {
				t.Fatalf("block %d has slack: %v", l, err)
			}
		}
		for _, e := range list {
			if found[string(e.Name)] != e.Ino {
				t.Fatalf("%q is not there", e.Name)
			}
		}
		full := slots / (bucketBlocks * (dentriesInBlock + 1 - most))
		if limit := dirBlocksFor(shape, n, full); len(b.blocks) > limit {
			t.Errorf("%d names with i_dir_level %d take %d blocks, at most %d were expected", n, shape, len(b.blocks), limit)
		}
	}
}

// A string of attributes that is built is parsed to what it was built of, also
// where it ends with its room.
func TestXattrString(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var list []xattr
		for range r.IntN(6) {
			x := xattr{index: uint8(1 + r.IntN(11)), name: make([]byte, r.IntN(30)), value: make([]byte, 1+r.IntN(90))}
			for i := range x.name {
				x.name[i] = byte('a' + r.IntN(26))
			}
			for i := range x.value {
				x.value[i] = byte(r.Uint32())
			}
			list = append(list, x)
		}
		size := 0
		if len(list) > 0 {
			size = xattrsSize(list)
		}
		for _, room := range []int{size, size + 4, size + 200} {
			got, err := parseXattrs(buildXattrs(list, room))
			if err != nil || len(got) != len(list) {
				t.Fatalf("%d of %d attributes in %d bytes: %v", len(got), len(list), room, err)
			}
			for i := range got {
				if got[i].index != list[i].index || !bytes.Equal(got[i].name, list[i].name) || !bytes.Equal(got[i].value, list[i].value) {
					t.Fatalf("attribute %d is %v, want %v", i, got[i], list[i])
				}
			}
		}
	}
}
