package ext4

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/quota"
	"fsenc/internal/store/storetest"
	"fsenc/test/mkimage"
)

// smallImage is an image made by mke2fs with args.
func smallImage(t testing.TB, size int64, args ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(mkimage.Make(t, mkimage.Row{Name: "small", Size: size, Args: args}))
	must(t, err)
	return b
}

// sealSuper gives the superblock of img the checksum that it asks for, so that
// a mutation gets further than that.
func sealSuper(img []byte) {
	if raw := img[superOffset:]; len(raw) >= superSize {
		le.PutUint32(raw[offSuperChecksum:], superChecksum(raw[:superSize]))
	}
}

// FuzzOpen opens images with a damaged front, which has the superblock, the
// descriptors and the bitmaps, and reads and edits what it finds.
func FuzzOpen(f *testing.F) {
	const front = 16 << 10
	bases := [][]byte{
		smallImage(f, 256<<10, "-b", "1024", "-O", "^has_journal"),
		smallImage(f, 256<<10, "-b", "1024", "-O", "^has_journal,^metadata_csum,^extent,^64bit,uninit_bg"),
		smallImage(f, 512<<10, "-b", "1024", "-O", "^has_journal,^metadata_csum,bigalloc,^resize_inode", "-C", "4096"),
		smallImage(f, 256<<10, "-b", "1024", "-O", "^has_journal,meta_bg,^resize_inode,^metadata_csum", "-g", "256"),
		smallImage(f, 4<<20, "-b", "1024", "-O", "mmp,quota", "-J", "size=1"),
	}
	for i, b := range bases {
		f.Add(uint8(i), b[superOffset:front])
	}
	for _, name := range imagetest.Names(f, "ext4-") {
		f.Add(uint8(0), imagetest.GoldenBytes(f, name)[superOffset:front])
	}
	f.Fuzz(func(t *testing.T, base uint8, data []byte) {
		img := bytes.Clone(bases[int(base)%len(bases)])
		copy(img[superOffset:], data)
		sealSuper(img)
		useImage(img, Options{Write: base&0x80 != 0, AllowDirty: true, AllowUnfinished: true})
	})
}

// useImage does what can be done to an image without knowing it. Whether it
// succeeds does not matter.
func useImage(img []byte, o Options) {
	fs, err := Open(storetest.NewMem(img), o)
	if err != nil {
		return
	}
	fs.Super()
	_ = fs.Inodes(func(a image.Attr, err error) error {
		if err == nil {
			_, _ = fs.Extents(a.Ino)
			_, _ = fs.DataExtents(a.Ino)
		}
		return nil
	})
	if fs.Residue(func(off, n int64) error { return nil }) != nil || !o.Write {
		return
	}
	ino, err := fs.allocInode(inoRoot, false)
	if err != nil {
		return
	}
	in := &inode{ino: ino, raw: make(rawInode, fs.geo.inodeSize)}
	in.raw.setMode(0o100644)
	in.raw.setLinks(1)
	fs.initMapping(in)
	if _, err := fs.appendBlocks(in, 9); err == nil && fs.truncateBlocks(in, 3) == nil {
		_ = fs.putInode(in)
	}
	_ = fs.Flush()
}

// FuzzMapping walks extent trees and block maps, with the blocks that they
// point to made of the input as well. What is read is written and read again.
func FuzzMapping(f *testing.F) {
	const first, count = 40, 16 // the blocks that are made of the input
	base := smallImage(f, 512<<10, "-b", "1024", "-O", "^has_journal,^metadata_csum,^resize_inode")
	tree := make([]byte, iblockSize+2*1024)
	root, leaf := extentNode(tree[:iblockSize]), extentNode(tree[iblockSize:][:1024])
	root.format(extentRootMax, 1)
	root.addIndex(0, first)
	leaf.format(84, 0)
	leaf.addExtent(image.Extent{Lblk: 0, Pblk: 100, Len: 3})
	leaf.addExtent(image.Extent{Lblk: 7, Pblk: 200, Len: 2, Unwritten: true})
	f.Add(true, tree)
	slots := make([]byte, iblockSize+3*1024)
	for i, p := range []uint32{100, 0, 102} {
		le.PutUint32(slots[4*i:], p)
	}
	for i := range 3 {
		le.PutUint32(slots[4*(directSlots+i):], uint32(first+i))
		le.PutUint32(slots[iblockSize+1024*i:], uint32(first+i+1))
	}
	f.Add(false, slots)
	f.Fuzz(func(t *testing.T, extents bool, data []byte) {
		img := bytes.Clone(base)
		in := &inode{ino: 12, raw: make(rawInode, 256)}
		in.raw.setMode(0o100644)
		if extents {
			in.raw.setFlags(flExtents)
		}
		n := copy(in.raw.iblock(), data)
		copy(img[first*1024:(first+count)*1024], data[n:])
		fs, err := Open(storetest.NewMem(img), Options{})
		must(t, err)
		m, err := fs.walkMap(in, 0, maxLblk)
		if err != nil {
			return
		}
		if in.raw.hasFlag(flExtents) || len(m.exts) < 100 {
			rewriteMapping(t, fs, in, m)
		}
	})
}

// rewriteMapping writes a mapping that was read, and reads it back.
func rewriteMapping(t *testing.T, fs *FS, in *inode, m *mapWalk) {
	want := slices.Clone(m.exts)
	in.raw.setRawBlocks(1 << 20) // so that nothing can take it below zero
	if err := fs.setMapping(in, m.exts, nil); err != nil {
		return // no space
	}
	got, err := fs.mapping(in)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("written %v, read %v, %v", want, got, err)
	}
}

// FuzzInode reads attributes from any bytes; the setters change nothing but
// what the getters read.
func FuzzInode(f *testing.F) {
	img := imagetest.GoldenBytes(f, "ext4-4k")
	fs, err := Open(storetest.NewMem(img), Options{})
	must(f, err)
	for _, ino := range []image.Ino{2, 8, 11, 12, 13, 60} {
		if in, err := fs.inode(ino); err == nil {
			f.Add([]byte(in.raw))
			f.Add([]byte(in.raw[:128]))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		raw := make(rawInode, 128)
		if len(data) > 128 {
			raw = make(rawInode, 256)
		}
		copy(raw, data)
		in := &inode{ino: 12, raw: raw}
		fs.sealInode(in)
		if fs.verifyInode(in) != nil {
			return
		}
		a := fs.attr(in)
		before := rawInode(bytes.Clone(raw))
		raw.setSize(raw.size())
		raw.setUID(raw.uid())
		raw.setGID(raw.gid())
		raw.setProjid(raw.projid())
		raw.setFileACL(raw.fileACL())
		raw.setRawBlocks(raw.rawBlocks())
		raw.setTime(offIMtime, offIMtimeExtra, a.Mtime)
		if !bytes.Equal(raw, before) && validNsec(before) {
			t.Errorf("%x became %x", before, []byte(raw))
		}
		raw.setTime(offICtime, offICtimeExtra, time.Unix(1<<33, 999999999))
		if got := raw.time(offICtime, offICtimeExtra); raw.has(offICtimeExtra) && !got.Equal(time.Unix(1<<33, 999999999)) {
			t.Errorf("time is %v", got)
		}
	})
}

// validNsec reports whether the nanoseconds of mtime are below a second.
func validNsec(raw rawInode) bool {
	return !raw.has(offIMtimeExtra) || le.Uint32(raw[offIMtimeExtra:])>>2 < 1e9
}

// FuzzQuota charges ids to damaged quota files.
func FuzzQuota(f *testing.F) {
	base := smallImage(f, 2<<20, "-b", "1024", "-O", "quota,^has_journal")
	fs, err := Open(storetest.NewMem(bytes.Clone(base)), Options{Write: true})
	must(f, err)
	must(f, fs.openQuotas())
	file := make([]byte, fs.quotas[0].in.raw.size())
	for n := range fs.quotas[0].in.raw.size() / quota.BlockSize {
		b, err := fs.quotas[0].Read(uint32(n))
		must(f, err)
		copy(file[n*quota.BlockSize:], b)
	}
	f.Add(file, uint32(0), int64(4096))
	f.Add(file, uint32(70000), int64(-4096))
	f.Fuzz(func(t *testing.T, data []byte, id uint32, space int64) {
		fs, err := Open(storetest.NewMem(bytes.Clone(base)), Options{Write: true})
		must(t, err)
		must(t, fs.openQuotas())
		q := fs.quotas[0]
		for n := 0; n < int(q.in.raw.size()/quota.BlockSize) && n*quota.BlockSize < len(data); n++ {
			must(t, q.Write(uint32(n), data[n*quota.BlockSize:min((n+1)*quota.BlockSize, len(data))], 0))
		}
		if q.tree.Check(q.kind.magic, q.in.raw.size()) != nil || q.tree.Add(id, quota.Change{Bytes: space}) != nil {
			return
		}
		if _, ok, err := q.tree.Usage(id); !ok || err != nil {
			t.Errorf("id %d after it was charged: %v", id, err)
		}
		for other := range uint32(20) {
			if q.tree.Add(id+other<<8, quota.Change{Bytes: 1}) != nil {
				return
			}
		}
	})
}

// FuzzJournal reads journal superblocks.
func FuzzJournal(f *testing.F) {
	img := imagetest.GoldenBytes(f, "ext4-journal")
	fs, err := Open(storetest.NewMem(img), Options{AllowDirty: true})
	must(f, err)
	in, err := fs.inode(inoJournal)
	must(f, err)
	p, _, err := fs.blockAt(in, 0)
	must(f, err)
	f.Add(img[int(p)*fs.bs:][:journalSuperSize])
	f.Fuzz(func(t *testing.T, data []byte) {
		jsb := make([]byte, journalSuperSize)
		copy(jsb, data)
		_ = fs.checkJournalSuper(jsb, inoJournal, p)
	})
}

// An image of a few kilobytes that claims to have exabytes is refused before
// anything is made for them.
func TestHugeClaims(t *testing.T) {
	img := smallImage(t, 256<<10, "-b", "1024", "-O", "^has_journal,^metadata_csum")
	for _, change := range []func(sb *super){
		func(sb *super) { sb.set32(offBlocksCountHi, 0xFFFFFFFF) },
		func(sb *super) { sb.set32(offBlocksCountLo, 0xFFFFFFFF) },
		func(sb *super) { sb.set32(offInodesCount, 0xFFFFFFF8) },
		func(sb *super) { sb.set32(offInodesPerGroup, 0xFFFFFFF8) },
		func(sb *super) { sb.set32(offBlocksPerGroup, 8) },
		func(sb *super) { sb.set32(offLogBlockSize, 31) },
		func(sb *super) { sb.set32(offLogBlockSize, 6) },
	} {
		b := bytes.Clone(img)
		change(&super{raw: b[superOffset : superOffset+superSize]})
		if _, err := Open(storetest.NewMem(b), Options{}); err == nil {
			t.Error("opened")
		}
	}
	// The same where the image is as large as it says, but empty.
	path := filepath.Join(t.TempDir(), "sparse.img")
	b := bytes.Clone(img)
	(&super{raw: b[superOffset : superOffset+superSize]}).set32(offBlocksCountLo, 1<<30)
	must(t, os.WriteFile(path, b, 0o644))
	must(t, os.Truncate(path, 1<<40))
	if err := tryOpen(t, path, Options{}); err == nil {
		t.Error("opened with a number of groups that the inodes do not fit")
	}
}
