package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// Bits that are refused, and the superblocks that are damaged: the error, and a
// part of what it says.
var superCases = []struct {
	name  string
	edit  func(d *damager, sb *super)
	write bool // only writing is refused
	err   error
	says  string
}{
	{"zoned", incompat(1 << 12), false, image.ErrUnsupported, "zoned"},
	{"extent tree v2", incompat(1 << 13), false, image.ErrUnsupported, "extent-tree-v2"},
	{"raid stripe tree", incompat(1 << 14), false, image.ErrUnsupported, "raid-stripe-tree"},
	{"remap tree", incompat(1 << 17), false, image.ErrUnsupported, "remap-tree"},
	{"unknown bit", incompat(1 << 40), false, image.ErrUnsupported, "bit 40"},
	{"simple quota", incompat(incompatSimpleQuota), true, image.ErrUnsupported, "squota"},
	{"unfinished", incompat(incompatUnfinished), false, image.ErrUnfinished, ""},
	{"no mixed backref", func(_ *damager, sb *super) { put64(sb.raw, offIncompat, -incompatMixedBackref) }, false, image.ErrUnsupported, "2009"},
	{"unknown ro bit", func(_ *damager, sb *super) { put64(sb.raw, offCompatRO, 1<<20) }, true, image.ErrUnsupported, "bit 20"},
	{"tree not valid", func(_ *damager, sb *super) { put64(sb.raw, offCompatRO, -roFreeSpaceValid) }, true, image.ErrNeedsRecovery, "free space"},
	{"seed", func(_ *damager, sb *super) { put64(sb.raw, offFlags, 1<<32) }, true, image.ErrNeedsRecovery, "0x100000000"},
	{"two devices", func(_ *damager, sb *super) { put64(sb.raw, offNumDevices, 1) }, false, image.ErrUnsupported, "2 devices"},
	{"log", func(_ *damager, sb *super) { put64(sb.raw, offLogRoot, 4096) }, false, image.ErrNeedsRecovery, "log tree"},
	{"checksum type", func(_ *damager, sb *super) { sb.raw[offCsumType] = 9 }, false, image.ErrUnsupported, "checksum type 9"},
	{"sector size", func(_ *damager, sb *super) { le.PutUint32(sb.raw[offSectorSize:], 3000) }, false, image.ErrCorrupt, "3000"},
	{"node size", func(_ *damager, sb *super) { le.PutUint32(sb.raw[offNodeSize:], 2048) }, false, image.ErrCorrupt, "2048"},
	{"level", func(_ *damager, sb *super) { sb.raw[offRootLevel] = 9 }, false, image.ErrCorrupt, "9 and"},
	{"array", func(_ *damager, sb *super) { le.PutUint32(sb.raw[offArraySize:], 5000) }, false, image.ErrCorrupt, "5000"},
	{"array cut", func(_ *damager, sb *super) { le.PutUint32(sb.raw[offArraySize:], 20) }, false, image.ErrCorrupt, "cut short"},
	{"array of others", func(_ *damager, sb *super) { sb.raw[offChunkArray+8] = 1 }, false, image.ErrCorrupt, "chunk array"},
	{"device size", func(_ *damager, sb *super) { put64(sb.devItem(), offDevTotal, 1<<40) }, false, image.ErrCorrupt, "on this device"},
	{"other device", func(_ *damager, sb *super) { sb.devItem()[offDevFsid]++ }, false, image.ErrCorrupt, "another filesystem"},
	{"address", func(_ *damager, sb *super) { sb.set64(offBytenr, 1) }, false, image.ErrCorrupt, "lies at"},
	{"root", func(_ *damager, sb *super) { put64(sb.raw, offRoot, 1<<40) }, false, image.ErrCorrupt, "in no chunk"},
	{"root not aligned", func(_ *damager, sb *super) { put64(sb.raw, offRoot, 1) }, false, image.ErrCorrupt, "not aligned"},
	{"generation", func(_ *damager, sb *super) { put64(sb.raw, offGeneration, 1) }, false, image.ErrCorrupt, "block of tree 1"},
	{"chunk root", func(d *damager, sb *super) { sb.set64(offChunkRoot, d.tree(treeFS).addr) }, false, image.ErrCorrupt, "in no chunk"},
	{"chunk generation", func(_ *damager, sb *super) { put64(sb.raw, offChunkGen, 1) }, false, image.ErrCorrupt, "block of tree 3"},
}

func incompat(bit int64) func(*damager, *super) {
	return func(_ *damager, sb *super) { put64(sb.raw, offIncompat, bit) }
}

func TestSuperblock(t *testing.T) {
	for _, c := range superCases {
		t.Run(c.name, func(t *testing.T) {
			d := newDamager(t, basicImage)
			d.supers(func(sb *super) { c.edit(d, sb) })
			for _, write := range []bool{false, true} {
				_, err := Open(d.s, image.Options{Write: write})
				if c.write && !write {
					if err != nil {
						t.Errorf("for reading: %v", err)
					}
					continue
				}
				if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("for writing %v: %v, want %v that says %q", write, err, c.err, c.says)
				}
			}
		})
	}
}

// Where the first superblock is damaged the newest of the others is read, and
// nothing is written.
func TestSuperblockCopy(t *testing.T) {
	d := newDamager(t, basicImage)
	_, err := d.s.WriteAt([]byte("no superblock at all"), superAddrs[0]+100)
	d.check(err)
	fs, err := Open(d.s, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Lookup(fs.Root(), []byte("enc")); err != nil {
		t.Error(err)
	}
	if _, err := Open(d.s, image.Options{Write: true}); !errors.Is(err, image.ErrNeedsRecovery) {
		t.Errorf("for writing: %v", err)
	}
	d.check(d.s.Zero(superAddrs[1], superSize))
	if _, err := Open(d.s, image.Options{}); !errors.Is(err, image.ErrCorrupt) {
		t.Errorf("without copies: %v", err)
	}
	d.check(d.s.Zero(superAddrs[0], superSize))
	if _, err := Open(d.s, image.Options{}); !errors.Is(err, image.ErrUnknown) {
		t.Errorf("without superblocks: %v", err)
	}
}

// blockCases damage the first leaf of the top-level subvolume, but for the
// checksum.
var blockCases = []struct {
	name string
	edit func(b *block)
	says string
}{
	{"address", func(b *block) { put64(b.raw, offHdrBytenr, 4096) }, "says that it is block"},
	{"filesystem", func(b *block) { b.raw[offHdrFsid]++ }, "belongs to the filesystem"},
	{"level", func(b *block) { b.raw[offHdrLevel]++ }, "level 1, want 0"},
	{"generation", func(b *block) { put64(b.raw, offHdrGen, 1) }, "generation"},
	{"owner", func(b *block) { le.PutUint64(b.raw[offHdrOwner:], treeCsum) }, "made by tree 7"},
	{"number of items", func(b *block) { b.setItems(1000) }, "1000 items"},
	{"many items", func(b *block) { b.setItems(1 << 30) }, "items"},
	{"order of keys", func(b *block) { put64(b.slot(1), 0, 1<<20) }, "does not come behind"},
	{"equal keys", func(b *block) { copy(b.slot(2)[:keySize], b.slot(1)) }, "does not come behind"},
	{"item past the block", func(b *block) { le.PutUint32(b.slot(0)[keySize:], 1<<20) }, "want its end at"},
	{"item of all sizes", func(b *block) { le.PutUint32(b.slot(0)[keySize+4:], 1<<31) }, "want its end at"},
	{"gap", func(b *block) { b.slot(1)[keySize+4]-- }, "want its end at"},
	{"item over the keys", func(b *block) {
		b.setItems(1)
		le.PutUint32(b.slot(0)[keySize:], 10)
		le.PutUint32(b.slot(0)[keySize+4:], uint32(len(b.raw)-headerSize-10))
	}, "want its end at"},
}

// leaf is the first leaf of a tree.
func (d *damager) leaf(id uint64) uint64 {
	d.Helper()
	p, _ := d.find(id, key{})
	return p.leaf().addr
}

// wantCorrupt demands an error that names tree and block, and says something.
func wantCorrupt(t *testing.T, err error, id uint64, addr uint64, says string) {
	t.Helper()
	var c *image.CorruptError
	if !errors.As(err, &c) || !errors.Is(err, image.ErrCorrupt) {
		t.Fatalf("%v is not about damage", err)
	}
	if c.What != fmt.Sprintf("block of tree %d", id) || c.Pblk != image.Pblk(addr/4096) || !strings.Contains(c.Why, says) {
		t.Errorf("%v: want tree %d, block %d and %q", err, id, addr/4096, says)
	}
}

func TestBlock(t *testing.T) {
	for _, c := range blockCases {
		t.Run(c.name, func(t *testing.T) {
			d := newDamager(t, dupImage)
			addr := d.leaf(treeFS)
			d.block(addr, c.edit)
			fs, err := Open(d.s, image.Options{})
			if err == nil {
				_, err = fs.Stat(fs.Root())
			}
			wantCorrupt(t, err, treeFS, addr, c.says)
		})
	}
	t.Run("checksum", func(t *testing.T) {
		d := newDamager(t, dupImage)
		addr := d.leaf(treeFS)
		d.write([]byte{0xff, 0xfe, 0xfd}, addr+1000)
		fs, err := Open(d.s, image.Options{})
		if err == nil {
			_, err = fs.Stat(fs.Root())
		}
		wantCorrupt(t, err, treeFS, addr, "xxhash64 checksum")
	})
}

// Nodes that lead back to themselves, to the wrong child or beyond all chunks.
func TestNode(t *testing.T) {
	const image4k = "oracle/btrfs-v6-sha256-node4k"
	top := newDamager(t, image4k).tree(treeFS)
	if top.level == 0 {
		t.Fatal("the tree is a leaf")
	}
	for _, c := range []struct {
		name string
		edit func(b *block)
		says string
	}{
		{"loop", func(b *block) { b.setChild(0, b.addr, b.generation()) }, "level"},
		{"twice the same", func(b *block) { a, g := b.child(1); b.setChild(0, a, g) }, "begins with"},
		{"generation", func(b *block) { a, g := b.child(0); b.setChild(0, a, g+1) }, "generation"},
		{"first key", func(b *block) { put64(b.slot(0), 0, -1) }, "begins with"},
		{"not aligned", func(b *block) { _, g := b.child(0); b.setChild(0, 12345, g) }, "not aligned"},
		{"no items", func(b *block) { b.setItems(0) }, "0 items"},
		{"in no chunk", func(b *block) { _, g := b.child(0); b.setChild(0, 1<<50, g) }, "in no chunk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDamager(t, image4k)
			d.block(top.addr, c.edit)
			fs, err := Open(d.s, image.Options{})
			if err == nil {
				err = fs.Inodes(func(_ image.Attr, err error) error { return err })
			}
			if !errors.Is(err, image.ErrCorrupt) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want one that says %q", err, c.says)
			}
			if found := findings(fs); found["structure-damaged"]+found["extent-references"] == "" {
				t.Errorf("the checker finds %v", found)
			}
		})
	}
}

// Chunks that overlap, lie beyond the device, or are of no known kind.
func TestChunk(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(k key, b []byte) []byte
		key  func(k key) key
		err  error
		says string
	}{
		{name: "overlap", key: func(k key) key { k.off += 65536; return k }, err: image.ErrCorrupt, says: "overlaps"},
		{name: "beyond the device", edit: func(_ key, b []byte) []byte { put64(b, chunkHeader+8, 1<<40); return b }, err: image.ErrCorrupt, says: "the device has"},
		{name: "no length", edit: func(_ key, b []byte) []byte { le.PutUint64(b, 0); return b }, err: image.ErrCorrupt, says: "0 bytes"},
		{name: "short stripes", edit: func(_ key, b []byte) []byte { le.PutUint64(b[offChunkStripe:], 4096); return b }, err: image.ErrCorrupt, says: "stripes of 4096"},
		{name: "no stripes", edit: func(_ key, b []byte) []byte { le.PutUint16(b[offChunkStripes:], 0); return b }, err: image.ErrCorrupt, says: "0 stripes"},
		{name: "many stripes", edit: func(_ key, b []byte) []byte { le.PutUint16(b[offChunkStripes:], 60000); return b }, err: image.ErrCorrupt, says: "60000 stripes"},
		{name: "short", edit: func(_ key, b []byte) []byte { return b[:40] }, err: image.ErrCorrupt, says: "40 bytes"},
		{name: "unknown kind", edit: func(_ key, b []byte) []byte { put64(b, offChunkType, 1<<20); return b }, err: image.ErrUnsupported, says: "type"},
		{name: "RAID5", edit: func(_ key, b []byte) []byte { put64(b, offChunkType, profRAID5); return b }, err: image.ErrUnsupported, says: "RAID5"},
		{name: "RAID10 of one", edit: func(_ key, b []byte) []byte { put64(b, offChunkType, profRAID10); return b }, err: image.ErrCorrupt, says: "1 stripes"},
		{name: "other device", edit: func(_ key, b []byte) []byte { put64(b, chunkHeader, 1); return b }, err: image.ErrUnsupported, says: "device 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDamager(t, basicImage)
			group := d.group()
			d.edit(func(fs *FS) error {
				chunks := fs.trees[treeChunk]
				k := key{firstFree, keyChunk, group.obj}
				b, err := fs.item(chunks, k)
				if err != nil {
					return err
				}
				b = bytes.Clone(b)
				if err := fs.remove(chunks, k); err != nil {
					return err
				}
				if c.edit != nil {
					b = c.edit(k, b)
				}
				if c.key != nil {
					if err := fs.insert(chunks, k, b); err != nil {
						return err
					}
					k = c.key(k)
				}
				return fs.insert(chunks, k, b)
			})
			_, err := Open(d.s, image.Options{})
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %v that says %q", err, c.err, c.says)
			}
		})
	}
}

// One good copy of a tree block or of data is enough; with none the error tells
// where.
func TestCopies(t *testing.T) {
	d := newDamager(t, dupImage)
	leaf := d.leaf(treeFS)
	places := func(logical uint64) (at []uint64) {
		d.check(d.fs.pieces(logical, 4096, func(p piece) error {
			at = p.places
			return nil
		}))
		return at
	}
	var file uint64
	d.check(d.fs.each(d.tree(treeFS), key{}, func(k key, b []byte) (bool, error) {
		if k.kind == keyExtentData && len(b) == extentSize && b[offExtCompr] == 0 && b[offExtKind] == extRegular && le.Uint64(b[offExtDisk:]) != 0 {
			r, err := d.fs.inode(d.tree(treeFS), k.obj)
			if err == nil && !r.flag(inoNoSum) {
				file = k.obj
			}
		}
		return file == 0, nil
	}))
	data := d.disk(treeFS, file)
	if len(places(leaf)) != 2 || len(places(data)) != 2 {
		t.Fatal("there are no copies")
	}
	want := make([]byte, 4096)
	d.check(d.fs.ReadBlocks(want, image.Pblk(data/4096)))
	broken := bytes.Repeat([]byte{0x55}, 4096)
	for _, logical := range []uint64{leaf, data} {
		_, err := d.s.WriteAt(broken, int64(places(logical)[0]))
		d.check(err)
	}
	fs, err := Open(d.s, image.Options{})
	d.check(err)
	if _, err := fs.Stat(fs.Root()); err != nil {
		t.Error(err)
	}
	got := make([]byte, 4096)
	if err := fs.ReadBlocks(got, image.Pblk(data/4096)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the second copy is not read: %v", err)
	}
	wantScrub(t, fs, image.Warning)
	if found := findings(fs); len(found) != 1 || found["tree-copy-damaged"] == "" {
		t.Errorf("the checker finds %v", found)
	}
	_, err = d.s.WriteAt(broken, int64(places(data)[1]))
	d.check(err)
	wantScrub(t, fs, image.Error)
	wantScrub(t, d.fs)
	var c *image.CorruptError
	if err := fs.ReadBlocks(got, image.Pblk(data/4096)); !errors.As(err, &c) || c.Pblk != image.Pblk(data/4096) {
		t.Errorf("no good copy: %v", err)
	}
}

// A short image ends in errors, wherever it ends.
func TestShort(t *testing.T) {
	d := newDamager(t, basicImage)
	for _, n := range []int64{0, 4096, 65536, 70000, 1 << 20, 6 << 20, 30 << 20} {
		s := &cut{d.s, n}
		if _, err := Open(s, image.Options{}); err == nil {
			t.Errorf("an image of %d bytes is opened", n)
		}
	}
}

// cut is a store that ends early.
type cut struct {
	store.Store
	size int64
}

func (c *cut) Size() int64 { return c.size }

func (c *cut) ReadAt(p []byte, off int64) (int, error) {
	if off >= c.size {
		return 0, io.EOF
	}
	n, err := c.Store.ReadAt(p[:min(int64(len(p)), c.size-off)], off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// wantScrub demands findings about the checksums of data.
func wantScrub(t *testing.T, fs *FS, want ...image.Severity) {
	t.Helper()
	var got []image.Severity
	err := fs.CheckData(func() error { return nil }, func(f image.Finding) { got = append(got, f.Severity) })
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("found %v, want %v: %v", got, want, err)
	}
	stop := errors.New("stop it")
	if err := fs.CheckData(func() error { return stop }, func(image.Finding) {}); !errors.Is(err, stop) {
		t.Errorf("goes on: %v", err)
	}
}
