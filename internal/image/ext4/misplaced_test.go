package ext4

import (
	"errors"
	"fmt"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store/storetest"
	"fsenc/test/mkimage"
)

// misplaced counts the entries of a directory that are said to be misplaced,
// and checks that Lookup says the same.
func misplaced(t *testing.T, fs *FS, dir image.Ino) int {
	t.Helper()
	n := 0
	must(t, fs.ReadDir(dir, func(e image.Dirent) error {
		found, err := fs.Lookup(dir, e.Name)
		if err != nil && !errors.Is(err, image.ErrNotExist) {
			t.Fatal(err)
		}
		if missing := err != nil; missing != e.Misplaced || !missing && found.Misplaced {
			t.Fatalf("%q: misplaced %v, lookup %v", e.Name, e.Misplaced, err)
		}
		if e.Misplaced {
			n++
		}
		return nil
	}))
	return n
}

func TestNothingIsMisplaced(t *testing.T) {
	for _, name := range imagetest.Names(t, "ext4-") {
		fs, err := Open(storetest.NewMem(imagetest.GoldenBytes(t, name)), Options{AllowDirty: true})
		must(t, err)
		must(t, fs.Inodes(func(a image.Attr, err error) error {
			if err == nil && a.Type == image.TypeDirectory {
				if n := misplaced(t, fs, a.Ino); n > 0 {
					t.Errorf("%s: %d entries of inode %d", name, n, a.Ino)
				}
			}
			return err
		}))
	}
}

// An index whose slots begin elsewhere loses the names between, whether the
// slots are those of the root or of a node, and no others.
func TestMisplaced(t *testing.T) {
	for _, leaves := range []int{5, 300} {
		t.Run(fmt.Sprint(leaves), func(t *testing.T) {
			path := mkimage.Make(t, rawRow("misplaced", 64, "-b", "1024"))
			edit(t, path, func(fs *FS) {
				dir := linkFarm(t, fs, longNames(3*leaves))
				if n := misplaced(t, fs, dir); n != 0 {
					t.Fatalf("%d of a sound directory", n)
				}
				in, err := fs.inode(dir)
				must(t, err)
				d, err := fs.openDir(in)
				must(t, err)
				off := offDxRootSlots
				l, buf := uint32(0), make([]byte, fs.bs)
				r, err := d.readRoot(buf)
				must(t, err)
				if r.levels > 0 {
					off, l = offDxNodeSlots, r.table.slot(1).block
					_, err = d.readNode(l, buf)
					must(t, err)
				}
				// The third leaf begins where the second does.
				table := dxTable(buf[off:])
				le.PutUint32(table[2*dxSlotLen:], table.slot(1).hash)
				le.PutUint32(dxStoredChecksum(buf, off), dxChecksum(d.seed, buf, off))
				must(t, fs.writeBlock(d.pblk(l), buf))
				if n := misplaced(t, fs, dir); n < 2 || n > 3 {
					t.Errorf("%d entries, want those of the second leaf", n)
				}
			})
		})
	}
}
