package f2fs

import (
	"bytes"
	"errors"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/store/storetest"
)

// The structures that FuzzImage changes.
const (
	fuzzSuper = iota
	fuzzPack
	fuzzNAT
	fuzzSIT
	fuzzSums
	fuzzNode // from here on: a node block each
)

// patch changes b by data, so that zeros change nothing.
func patch(b, data []byte) {
	for i := range min(len(b), len(data)) {
		b[i] ^= data[i]
	}
}

// mutate changes the structure that which selects, and puts checksums right.
func mutate(d *damager, which uint8, data []byte) {
	switch int(which) {
	case fuzzSuper:
		d.super(func(sb *super) { patch(sb.raw, data) })
	case fuzzPack:
		d.pack(func(c *checkpoint) { patch(c.head, data) })
	case fuzzNAT:
		patch(d.block(d.fs.geo.natBlock(0, bitmapTest(d.fs.natBits, 0))), data)
	case fuzzSIT:
		patch(d.block(d.fs.geo.sitBlock(0, bitmapTest(d.fs.sitBits, 0))), data)
	case fuzzSums:
		patch(d.block(d.fs.geo.packStart(d.fs.ckpt.pack)+int64(d.fs.ckpt.u32(offPackStartSum))), data)
	default:
		var nids []uint32
		_ = d.fs.nats(0, d.fs.geo.nids, func(nid uint32, _ natEntry) error {
			nids = append(nids, nid)
			return nil
		})
		d.node(nids[(int(which)-fuzzNode)%len(nids)], func(r rawNode) { patch(r, data) })
	}
}

// FuzzImage opens an image with one damaged structure, reads all that can be
// read and checks it; then it stores again what it has read, if that was
// possible at all.
func FuzzImage(f *testing.F) {
	for which := range uint8(40) {
		f.Add(which, []byte{})
		f.Add(which, []byte{3: 1, 90: 1, 200: 0xff, 365: 4, 4000: 1})
	}
	f.Add(uint8(fuzzPack), []byte{offCkptFlags: ckptUmount})
	f.Add(uint8(fuzzPack), []byte{offCkptFlags: ckptCompactSum})
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		d := newDamager(t, sampleImage)
		mutate(d, which, data)
		fs, err := Open(d, image.Options{Write: true})
		if err != nil {
			if fs, err = Open(d, image.Options{AllowDirty: true, AllowUnfinished: true}); err != nil {
				return
			}
		}
		bad := use(fs) != nil
		bad = len(findings(fs)) > 0 || bad
		if !fs.write {
			return
		}
		_ = fs.Inodes(func(a image.Attr, err error) error {
			if err == nil && !a.Reserved && a.Type.Encrypts() {
				err = rewriteOne(fs, a)
			}
			// What an encrypted target looks like is not a matter of the layout.
			if err != nil && !bad && !errors.Is(err, image.ErrUnsupported) {
				t.Errorf("inode %d: %v", a.Ino, err)
			}
			return nil
		})
		if err := fs.Flush(); err != nil && !bad {
			t.Error(err)
		}
	})
}

// FuzzXattrs parses strings of attributes; what is parsed is built again to the
// same entries.
func FuzzXattrs(f *testing.F) {
	d := newDamager(f, sampleImage)
	_ = d.fs.Inodes(func(a image.Attr, err error) error {
		if in, err := d.fs.inode(a.Ino); err == nil && in.inline(inXattr) {
			f.Add(in.xattrArea())
		}
		return nil
	})
	f.Add([]byte{0x11, 0x20, 0xf5, 0xf2, 23: 0, 1, 3, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseXattrs(data)
		if err != nil {
			return
		}
		size := xattrsSize(list)
		again, err := parseXattrs(buildXattrs(list, size))
		if err != nil || len(again) != len(list) {
			t.Fatalf("%d attributes, built and parsed %d: %v", len(list), len(again), err)
		}
		for i := range list {
			if list[i].index != again[i].index || !bytes.Equal(list[i].name, again[i].name) || !bytes.Equal(list[i].value, again[i].value) {
				t.Errorf("attribute %d is %v, was %v", i, again[i], list[i])
			}
		}
	})
}

// FuzzDentries reads areas of all sizes; wiping the slack of a sound one keeps
// its entries, and a second time there is nothing to wipe.
func FuzzDentries(f *testing.F) {
	d := newDamager(f, sampleImage)
	_ = d.fs.Inodes(func(a image.Attr, err error) error {
		if in, err := d.fs.inode(a.Ino); err == nil && in.inline(inDentry) {
			f.Add(in.inlineArea(), false)
		}
		return nil
	})
	block := blockArea(make([]byte, blockSize))
	block.put(0, &image.Dirent{Name: []byte("."), Ino: 3, Type: image.TypeDirectory})
	block.put(210, &image.Dirent{Name: []byte("a name of 25 bytes, no less"), Ino: 9, Type: image.TypeRegular, Hash: 7})
	f.Add(block.b, true)
	f.Fuzz(func(t *testing.T, data []byte, whole bool) {
		var area dentryArea
		if whole {
			b := make([]byte, blockSize)
			copy(b, data)
			area = blockArea(b)
		} else {
			area = inlineDentries(bytes.Clone(data[:min(len(data), 4*addrWords)]))
		}
		read := func() (list []string, err error) {
			err = area.each(func(e dentry) error {
				list = append(list, string(area.entry(e.slot))+string(e.Name))
				return nil
			})
			return list, err
		}
		before, err := read()
		if err != nil {
			return
		}
		if _, err := area.wipe(); err != nil {
			t.Fatal(err)
		}
		after, err := read()
		if err != nil || len(after) != len(before) {
			t.Fatalf("%d entries, %d after the wipe: %v", len(before), len(after), err)
		}
		for i := range before {
			if before[i] != after[i] {
				t.Errorf("entry %d is %q, was %q", i, after[i], before[i])
			}
		}
		if changed, err := area.wipe(); changed || err != nil {
			t.Errorf("wiping again: %v, %v", changed, err)
		}
	})
}

// FuzzUnpack decompresses damaged clusters, never to more than their size.
func FuzzUnpack(f *testing.F) {
	const cluster = 4 * blockSize
	d := newDamager(f, "f2fs-full")
	_ = d.fs.Inodes(func(a image.Attr, err error) error {
		if list, err := d.fs.Extents(a.Ino); err == nil && !a.Encrypted {
			for _, x := range list {
				if x.Packed != nil {
					b := make([]byte, blockSize)
					_ = d.fs.ReadBlocks(b, x.Packed.Stream[0].Pblk)
					f.Add(uint8(len(x.Packed.Method)), b[:1024])
				}
			}
		}
		return nil
	})
	f.Fuzz(func(t *testing.T, method uint8, data []byte) {
		b := make([]byte, 3*blockSize)
		copy(b, data)
		for _, name := range methods {
			p := &image.Packed{Method: name, Size: cluster, Stream: []image.Extent{{Pblk: 5000, Len: 3}}}
			if method&0x80 != 0 {
				p.Method += "+crc"
			}
			if out, err := d.fs.Unpack(p, b); err == nil && len(out) != cluster {
				t.Errorf("%s: %d bytes", p.Method, len(out))
			}
		}
	})
}

// FuzzSuper opens what has nothing but a superblock.
func FuzzSuper(f *testing.F) {
	d := newDamager(f, sampleImage)
	f.Add(d.block(0)[superOffset:])
	f.Fuzz(func(t *testing.T, data []byte) {
		m := storetest.NewMem(make([]byte, 16*blockSize))
		sb := &super{raw: m.Bytes()[superOffset:][:superSize]}
		copy(sb.raw, data)
		sb.seal()
		if _, err := Open(m, image.Options{AllowDirty: true, AllowUnfinished: true}); err == nil {
			t.Error("opened an image without a checkpoint")
		}
		sb.features()
		sb.label()
	})
}
