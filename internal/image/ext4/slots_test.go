package ext4

import (
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
)

// Every slot is told from its first byte to its last, and what lies around the
// tables is none.
func TestSlots(t *testing.T) {
	fs, _ := openFile(t, imagetest.Golden(t, "ext4-check"), Options{})
	at, err := fs.Slots()
	must(t, err)
	for ino := image.Ino(1); ino <= image.Ino(fs.geo.inodes); ino++ {
		off, err := fs.inodeOffset(ino)
		must(t, err)
		for _, in := range []int64{0, int64(fs.geo.inodeSize) - 1} {
			if got := at(off + in); got != ino {
				t.Fatalf("byte %d is of inode %d, want %d", off+in, got, ino)
			}
		}
	}
	gr, err := fs.group(0)
	must(t, err)
	table := int64(gr.desc.inodeTable()) * int64(fs.bs)
	end := table + int64(fs.geo.itableBlocks)*int64(fs.bs)
	for _, off := range []int64{0, 1024, table - 1} {
		if got := at(off); got != 0 {
			t.Errorf("byte %d is of inode %d", off, got)
		}
	}
	if got := at(end); got != 0 && uint64(got) <= uint64(fs.geo.inodesPerGroup) {
		t.Errorf("byte %d, behind the table, is of inode %d", end, got)
	}
}
