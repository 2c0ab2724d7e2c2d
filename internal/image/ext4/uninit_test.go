package ext4

import (
	"bytes"
	"fmt"
	"testing"

	"fsenc/internal/image"
	"fsenc/test/mkimage"
)

// layoutsWithGroups have many groups, most of which were never used.
var layoutsWithGroups = []mkimage.Row{
	{Name: "plain", Size: 600 << 20, Args: []string{"-b", "1024"}},
	{Name: "no flex_bg", Size: 600 << 20, Args: []string{"-b", "1024", "-O", "^flex_bg"}},
	{Name: "meta_bg", Size: 600 << 20, Args: []string{"-b", "1024", "-O", "meta_bg,^resize_inode,^flex_bg"}},
	{Name: "meta_bg with 32-byte descriptors", Size: 600 << 20, Args: []string{"-b", "1024", "-O", "meta_bg,^resize_inode,^flex_bg,^64bit"}},
	{Name: "sparse_super2", Size: 600 << 20, Args: []string{"-b", "1024", "-O", "sparse_super2,^flex_bg"}},
	{Name: "no sparse_super", Size: 600 << 20, Args: []string{"-b", "1024", "-O", "^sparse_super,^resize_inode,^flex_bg"}},
	{Name: "uninit_bg", Size: 600 << 20, Args: []string{"-b", "1024", "-O", "^metadata_csum,uninit_bg,^flex_bg"}},
	{Name: "bigalloc", Size: 600 << 20, Args: []string{"-b", "1024", "-C", "2048", "-O", "bigalloc,^resize_inode"}},
	{Name: "bigalloc and meta_bg", Size: 600 << 20, Args: []string{"-b", "1024", "-C", "2048", "-O", "bigalloc,meta_bg,^resize_inode"}},
	{Name: "short groups", Size: 64 << 20, Args: []string{"-b", "4096", "-g", "1024", "-O", "^flex_bg"}},
	{Name: "large blocks", Size: 600 << 20, Args: []string{"-b", "65536", "-g", "1024"}},
}

// A block and an inode of each group are put to use. Where nothing was used
// before, bitmaps and tables are garbage on disk, and here really are.
func TestUninitGroups(t *testing.T) {
	for _, r := range layoutsWithGroups {
		t.Run(r.Name, func(t *testing.T) {
			path := mkimage.Make(t, r)
			edit(t, path, scribble)
			edit(t, path, func(fs *FS) { useEachGroup(t, fs) })
			clean(t, path)
			edit(t, path, func(fs *FS) {
				for n := range fs.geo.groups {
					must(t, fs.Remove(inoRoot, fmt.Appendf(nil, "in-group-%d", n)))
				}
				must(t, fs.Remove(inoRoot, []byte("file0")))
				must(t, fs.SetFeatures([]string{"encrypt"}, nil))
			})
			clean(t, path)
			edit(t, path, func(fs *FS) { audit(t, fs) })
		})
	}
}

// scribble fills what is not initialised with ones.
func scribble(fs *FS) {
	for n := range fs.geo.groups {
		gr, err := fs.group(n)
		if err != nil {
			panic(err)
		}
		ones := bytes.Repeat([]byte{0xFF}, fs.bs)
		if fs.uninit(gr, bgBlockUninit) {
			err = fs.writeBlock(gr.desc.blockBitmap(), ones)
		}
		if fs.uninit(gr, bgInodeUninit) && err == nil {
			if err = fs.writeBlock(gr.desc.inodeBitmap(), ones); err == nil {
				err = fs.writeBlock(gr.desc.inodeTable(), ones)
			}
		}
		if err != nil {
			panic(err)
		}
	}
}

func useEachGroup(t *testing.T, fs *FS) {
	t.Helper()
	in := newFile(t, fs, 0, 0)
	var exts []image.Extent
	for n := range fs.geo.groups {
		p, err := fs.allocCluster(image.Pblk(fs.geo.firstBlock(n)))
		must(t, err)
		l := image.Lblk(uint64(len(exts)) * 2 * fs.geo.ratio)
		exts = append(exts, image.Extent{Lblk: l, Pblk: p, Len: 1})

		near := image.Ino(n)*image.Ino(fs.geo.inodesPerGroup) + 1
		ino, err := fs.allocInode(near, false)
		must(t, err)
		if g, _ := fs.inodeGroup(ino); g != n {
			t.Errorf("inode %d is not in group %d", ino, n)
		}
		other := &inode{ino: ino, raw: bytes.Clone(in.raw)}
		root, err := fs.inode(inoRoot)
		must(t, err)
		must(t, fs.enter(root, fmt.Appendf(nil, "in-group-%d", n), other, fs.now()))
	}
	must(t, fs.setMapping(in, exts, nil))
	must(t, fs.charge(in, int64(len(exts))))
	in.raw.setSize((uint64(exts[len(exts)-1].Lblk) + 1) * uint64(fs.bs))
	must(t, fs.putInode(in))
}

// A cluster that two extents share is freed once, with the last of them.
func TestSharedCluster(t *testing.T) {
	path := makeRow(t, "big")
	edit(t, path, func(fs *FS) {
		in := newFile(t, fs, 0, 0)
		free := fs.sb.freeBlocks()
		grow(t, fs, in, 12)
		exts, err := fs.mapping(in)
		must(t, err)
		p := exts[0].Pblk
		must(t, fs.setMapping(in, []image.Extent{
			{Lblk: 0, Pblk: p, Len: 1},
			{Lblk: 1, Pblk: p + 1, Len: 2, Unwritten: true},
			{Lblk: 3, Pblk: p + 3, Len: 6},
			{Lblk: 9, Pblk: p + 9, Len: 1, Unwritten: true},
			{Lblk: 11, Pblk: p + 11, Len: 1},
		}, nil))
		for _, tt := range []struct {
			from image.Lblk
			left uint64 // clusters
		}{{11, 3}, {10, 3}, {9, 3}, {8, 2}, {5, 2}, {4, 1}, {2, 1}, {1, 1}, {0, 0}} {
			must(t, fs.truncateBlocks(in, tt.from))
			got := (free - fs.sb.freeBlocks()) / fs.geo.ratio
			if charged := in.raw.rawBlocks() * 512 / uint64(fs.bs) / fs.geo.ratio; got != tt.left || charged != got {
				t.Errorf("cut at %d: %d clusters in use, %d charged, want %d", tt.from, got, charged, tt.left)
			}
		}
		must(t, fs.putInode(in))
	})
	clean(t, path)
}
