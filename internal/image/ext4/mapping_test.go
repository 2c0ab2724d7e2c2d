package ext4

import (
	"slices"
	"testing"

	"fsenc/internal/image"
	"fsenc/test/mkimage"
)

// makeRow makes the empty image of a layout.
func makeRow(t testing.TB, name string) string {
	t.Helper()
	rows := allRows()
	i := slices.IndexFunc(rows, func(r mkimage.Row) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("no row is called %s", name)
	}
	return mkimage.Make(t, rows[i])
}

// scattered takes n clusters of which none touches another.
func scattered(t testing.TB, fs *FS, n int) []image.Pblk {
	t.Helper()
	var keep, drop []image.Pblk
	goal := image.Pblk(0)
	for range n {
		p, err := fs.allocCluster(goal)
		must(t, err)
		q, err := fs.allocCluster(p + 1)
		must(t, err)
		keep, drop, goal = append(keep, p), append(drop, q), q+1
	}
	for _, p := range drop {
		must(t, fs.freeCluster(p))
	}
	return keep
}

// A tree of depth 3, with unwritten extents and holes in it, and a block map
// with all three levels of indirection: each is read back as it was written
// and satisfies e2fsck, and so does what is left after cutting it.
func TestDeepMapping(t *testing.T) {
	for _, tt := range []struct {
		name    string
		size    int64 // of the image, in bytes
		args    []string
		extents int
		step    uint64 // blocks of the file from one extent to the next
	}{
		{"extents", 80 << 20, nil, 84*84*4 + 100, 2},
		{"block map", 16 << 20, []string{"-O", "^extent,^64bit,^flex_bg"}, 3000, 37},
		{"clusters", 128 << 20, []string{"-O", "bigalloc", "-C", "65536"}, 700, 128},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := mkimage.Make(t, mkimage.Row{Name: "deep", Size: tt.size, Args: append([]string{"-b", "1024"}, tt.args...)})
			var want []image.Extent
			var ino image.Ino
			edit(t, path, func(fs *FS) {
				in := newFile(t, fs, 0, 0)
				for i, p := range scattered(t, fs, tt.extents) {
					want = append(want, image.Extent{Lblk: image.Lblk(uint64(i) * tt.step), Pblk: p, Len: 1,
						Unwritten: i%3 == 1 && in.raw.hasFlag(flExtents)})
				}
				must(t, fs.charge(in, int64(len(want))))
				must(t, fs.setMapping(in, want, nil))
				in.raw.setSize((uint64(want[len(want)-1].Lblk) + 1) * uint64(fs.bs))
				must(t, fs.putInode(in))
				ino = in.ino
			})
			clean(t, path)
			edit(t, path, func(fs *FS) { checkDeep(t, fs, ino, want) })
			clean(t, path)
		})
	}
}

// checkDeep reads the mapping in all ways and cuts it in its middle.
func checkDeep(t *testing.T, fs *FS, ino image.Ino, want []image.Extent) {
	t.Helper()
	got, err := fs.Extents(ino)
	must(t, err)
	if !slices.Equal(got, want) {
		t.Fatalf("%d extents, want %d, or others", len(got), len(want))
	}
	in, err := fs.inode(ino)
	must(t, err)
	for i := 0; i < len(want); i += 97 {
		p, ok, err := fs.blockAt(in, want[i].Lblk)
		if err != nil || !ok || p != want[i].Pblk {
			t.Errorf("block %d: at %d, %v, %v, want %d", want[i].Lblk, p, ok, err, want[i].Pblk)
		}
		if p, ok, err := fs.blockAt(in, want[i].Lblk+1); ok || err != nil {
			t.Errorf("block %d: at %d, %v, want a hole", want[i].Lblk+1, p, err)
		}
	}
	data, err := fs.DataExtents(ino)
	must(t, err)
	written := slices.DeleteFunc(slices.Clone(want), func(x image.Extent) bool { return x.Unwritten })
	if !slices.Equal(data, written) {
		t.Errorf("%d data extents, want %d", len(data), len(written))
	}
	middle := want[len(want)/2].Lblk
	must(t, fs.truncateBlocks(in, middle))
	in.raw.setSize(uint64(middle) * uint64(fs.bs))
	must(t, fs.putInode(in))
	if got, err = fs.mapping(in); err != nil || !slices.Equal(got, want[:len(want)/2]) {
		t.Errorf("after the cut: %d extents, %v, want %d", len(got), err, len(want)/2)
	}
}

// DataExtents are what is written, also where a file ends before.
func TestDataExtents(t *testing.T) {
	fs, _ := openFile(t, makeRow(t, "def4k"), Options{Write: true})
	in := newFile(t, fs, 0, 0)
	p := scattered(t, fs, 3)
	must(t, fs.setMapping(in, []image.Extent{
		{Lblk: 0, Pblk: p[0], Len: 1},
		{Lblk: 2, Pblk: p[1], Len: 1, Unwritten: true},
		{Lblk: 5, Pblk: p[2], Len: 1},
	}, nil))
	for _, tt := range []struct {
		size  uint64
		flags uint32
	}{
		{0, 0},
		{1, 0},
		{5 * 4096, 0},
		{5*4096 + 1, 0},
		{1, flVerity},
	} {
		in.raw.setSize(tt.size)
		in.raw.setFlags(flExtents | tt.flags)
		must(t, fs.putInode(in))
		exts, err := fs.DataExtents(in.ino)
		must(t, err)
		var got []image.Lblk
		for _, x := range exts {
			got = append(got, x.Lblk)
		}
		if want := []image.Lblk{0, 5}; !slices.Equal(got, want) {
			t.Errorf("size %d, flags %#x: %v, want %v", tt.size, tt.flags, got, want)
		}
	}
}
