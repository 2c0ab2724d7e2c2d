package ext4

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store/storetest"
)

// deepFile finds a file of ext4-1k with a tree of depth 1, its first leaf and
// where that lies in the image.
func deepFile(t *testing.T, fs *FS, img []byte) (in *inode, p image.Pblk, leaf extentNode) {
	t.Helper()
	must(t, fs.Inodes(func(a image.Attr, err error) error {
		must(t, err)
		if in != nil || a.Type != image.TypeRegular || a.Reserved || a.Inline {
			return nil
		}
		x, err := fs.inode(a.Ino)
		must(t, err)
		if root := extentNode(x.raw.iblock()); root.depth() == 1 {
			in = x
			_, p = parseIndex(root.entry(0))
		}
		return nil
	}))
	if in == nil {
		t.Fatal("no file with a tree")
	}
	return in, p, extentNode(img[int(p)*fs.bs:][:fs.bs])
}

// Damage in an extent tree is told with its place, whichever field it is in,
// also under a right checksum.
func TestCorruptExtents(t *testing.T) {
	base := imagetest.GoldenBytes(t, "ext4-1k")
	for _, tt := range []struct {
		name     string
		edit     func(root, leaf extentNode)
		unsealed bool
		what     string
		why      string
		inBlock  bool // the error names the block of the leaf
	}{
		{name: "root magic", edit: func(r, _ extentNode) { r[0] = 0 }, what: "extent header", why: "magic 0xf300, want 0xf30a"},
		{name: "root entries", edit: func(r, _ extentNode) { r[offEhEntries] = 5 }, what: "extent header", why: "5 entries of at most 4"},
		{name: "root max", edit: func(r, _ extentNode) { r[offEhMax] = 5 }, what: "extent header", why: "of at most 5, want at most 4"},
		{name: "root depth", edit: func(r, _ extentNode) { r[offEhDepth] = 6 }, what: "extent header", why: "depth 6"},
		{name: "root without entries", edit: func(r, _ extentNode) { r[offEhEntries] = 0 }, what: "extent header", why: "without entries"},
		{name: "child outside", edit: func(r, _ extentNode) { le.PutUint32(r.entry(0)[offEiLeafLo:], 1<<30) }, what: "extent index", why: "outside"},
		{name: "child is a bitmap", edit: func(r, _ extentNode) { le.PutUint32(r.entry(0)[offEiLeafLo:], 3) }, what: "extent header", why: "magic"},
		{name: "child starts elsewhere", edit: func(r, _ extentNode) { r.entry(0)[0] = 0; r.entry(0)[3] = 1 }, what: "extent", why: ""},
		{name: "leaf checksum", edit: func(_, l extentNode) { l[20]++ }, unsealed: true, what: "extent block", why: "checksum", inBlock: true},
		{name: "leaf magic", edit: func(_, l extentNode) { l[1] = 0 }, what: "extent header", why: "magic 0xa", inBlock: true},
		{name: "leaf depth", edit: func(_, l extentNode) { l[offEhDepth] = 1 }, what: "extent header", why: "depth 1", inBlock: true},
		{name: "leaf max", edit: func(_, l extentNode) { l[offEhMax] = 85 }, what: "extent header", why: "85", inBlock: true},
		{name: "length 0", edit: func(_, l extentNode) { le.PutUint16(l.entry(1)[offEeLen:], 0) }, what: "extent", why: "maps 0 blocks", inBlock: true},
		{name: "overlap", edit: func(_, l extentNode) { copy(l.entry(1)[:4], l.entry(0)[:4]) }, what: "extent", why: "out of order", inBlock: true},
		{name: "outside", edit: func(_, l extentNode) { le.PutUint16(l.entry(1)[offEeStartHi:], 1) }, what: "mapping", why: "outside"},
		{name: "over a bitmap", edit: func(_, l extentNode) { le.PutUint32(l.entry(1)[offEeStartLo:], 3) }, what: "mapping", why: "metadata"},
		{name: "into free space", edit: func(_, l extentNode) { le.PutUint32(l.entry(1)[offEeStartLo:], 16000) }, what: "block bitmap", why: "marked free"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := bytes.Clone(base)
			fs, err := Open(storetest.NewMem(img), Options{Write: true})
			must(t, err)
			in, p, leaf := deepFile(t, fs, img)
			tt.edit(in.raw.iblock(), leaf)
			if !tt.unsealed && int(leaf.max()) <= fs.extentBlockMax() {
				c, off := fs.extentChecksum(fs.inodeSeed(in), leaf)
				le.PutUint32(leaf[off:], c)
			}
			fs, err = Open(storetest.NewMem(img), Options{Write: true})
			must(t, err)
			_, err = fs.mapping(in)
			var bad *image.CorruptError
			if !errors.As(err, &bad) {
				t.Fatalf("%v", err)
			}
			if !strings.HasPrefix(bad.What, tt.what) || !strings.Contains(bad.Why, tt.why) || bad.Ino != in.ino {
				t.Errorf("%v, want %s of inode %d: %s", err, tt.what, in.ino, tt.why)
			}
			if tt.inBlock && bad.Pblk != p {
				t.Errorf("%v, want block %d", err, p)
			}
		})
	}
}

// An indirect block that contains itself, and one that two slots share.
func TestCorruptBlockMap(t *testing.T) {
	base := imagetest.GoldenBytes(t, "ext4-indirect")
	fs, err := Open(storetest.NewMem(bytes.Clone(base)), Options{})
	must(t, err)
	in := &inode{ino: 12, raw: make(rawInode, fs.geo.inodeSize)}
	in.raw.setMode(0o100644)
	for _, tt := range []struct {
		name  string
		slots []uint32
		block uint32 // what an indirect block at 3000 has in its first slot
		why   string
	}{
		{"itself", []uint32{13: 3000}, 3000, "used twice"},
		{"shared", []uint32{12: 3000, 13: 3000}, 0, "used twice"},
		{"outside", []uint32{12: 1 << 30}, 0, "outside"},
		{"contents outside", []uint32{3: 1 << 30}, 0, "outside"},
		{"superblock", []uint32{3: 1}, 0, "outside"},
	} {
		clear(in.raw.iblock())
		for i, p := range tt.slots {
			le.PutUint32(in.raw.iblock()[4*i:], p)
		}
		must(t, fs.writeBlock(3000, le.AppendUint32(make([]byte, 0, fs.bs), tt.block)[:fs.bs]))
		if _, err := fs.mapping(in); !errors.Is(err, image.ErrCorrupt) || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Damage in what belongs to a group or an inode.
func TestCorruptGroups(t *testing.T) {
	base := imagetest.GoldenBytes(t, "ext4-4k")
	fs, err := Open(storetest.NewMem(bytes.Clone(base)), Options{})
	must(t, err)
	gr, err := fs.group(0)
	must(t, err)
	inodeOff, err := fs.inodeOffset(12)
	must(t, err)
	bs := int64(fs.bs)
	for _, tt := range []struct {
		name string
		off  int64
		what string
	}{
		{"descriptor", fs.descOffset(0) + 5, "group descriptor: block 1"},
		{"block bitmap", int64(gr.desc.blockBitmap())*bs + 17, "block bitmap: block"},
		{"inode bitmap", int64(gr.desc.inodeBitmap())*bs + 17, "inode bitmap: block"},
		{"inode", inodeOff + 9, "inode: inode 12"},
		{"superblock", superOffset + offVolumeName, "superblock"},
		{"journal", journalOffset(t, fs) + offJMaxLen, "journal superblock: inode 8"},
		{"journal magic", journalOffset(t, fs), "journal superblock: inode 8"},
	} {
		img := bytes.Clone(base)
		img[tt.off] ^= 0x40
		err := useAll(img)
		if !errors.Is(err, image.ErrCorrupt) || !strings.Contains(err.Error(), "corrupt "+tt.what) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func journalOffset(t *testing.T, fs *FS) int64 {
	t.Helper()
	in, err := fs.inode(inoJournal)
	must(t, err)
	p, _, err := fs.blockAt(in, 0)
	must(t, err)
	return int64(p) * int64(fs.bs)
}

// useAll opens img and touches everything that has a checksum.
func useAll(img []byte) error {
	fs, err := Open(storetest.NewMem(img), Options{Write: true})
	if err != nil {
		return err
	}
	if err := fs.Inodes(func(_ image.Attr, err error) error { return err }); err != nil {
		return err
	}
	return fs.Residue(func(off, n int64) error { return nil })
}
