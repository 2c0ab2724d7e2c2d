package f2fs

import (
	"errors"
	"strings"
	"testing"

	"fsenc/internal/image"
)

// Damage is named with its place, by whatever reads it.
func TestCorrupt(t *testing.T) {
	const full = "f2fs-full"
	word := func(off int, v uint32) func(*inode) { return func(in *inode) { in.set32(off, v) } }
	half := func(off int, v uint16) func(*inode) { return func(in *inode) { in.set16(off, v) } }
	entry := func(slot int, off int, v ...byte) func(*inode) {
		return func(in *inode) {
			d := inlineDentries(in.inlineArea())
			copy(d.entry(slot)[off:], v)
		}
	}
	slot0 := func(v uint32) func(*inode) { return func(in *inode) { in.set32(in.addrOff(0), v) } }
	xattrs := func(off int, v ...byte) func(*inode) { return func(in *inode) { copy(in.xattrArea()[off:], v) } }
	dir, file, inlined := []string{"plain"}, []string{"plain", "two"}, []string{"plain", "one"}
	for _, tt := range []struct {
		name, image string
		path        []string
		edit        func(*inode)
		what, says  string
	}{
		{"mode", "", file, half(offMode, 0o70644), "inode", "mode"},
		{"extra attributes too short", "", file, half(offExtraSize, 2), "inode", "extra attributes of 2"},
		{"extra attributes too long", "", file, half(offExtraSize, 40), "inode", "extra attributes of 40"},
		{"extra attributes unaligned", "", file, half(offExtraSize, 34), "inode", "extra attributes of 34"},
		{"inline attributes too long", full, []string{"plain"}, half(offXattrWords, 913), "inode", "913 words"},
		{"cluster size", full, nil, func(in *inode) { in.raw[offLogCluster] = 9 }, "inode", "2^9 blocks"},
		{"size", "", file, func(in *inode) { in.set64(offSize, 1<<63) }, "inode", "size"},
		{"no blocks", "", file, func(in *inode) { in.set64(offBlocks, 0) }, "inode", "no blocks"},
		{"long name", "", file, word(offNameLen, 256), "inode", "name of 256"},
		{"inline size", "", inlined, func(in *inode) { in.set64(offSize, uint64(len(in.inlineArea()))+1) }, "inode", "room for"},
		{"inline data in a directory", "", dir, func(in *inode) { in.setInline(inData, true) }, "inode", "inline data"},
		{"inline entries in a file", "", file, func(in *inode) { in.setInline(inDentry, true) }, "inode", "inline entries"},

		{"address before the main area", "", file, slot0(4095), "block address", "lblk 0"},
		{"address behind the end", "", file, slot0(1 << 30), "block address", "lblk 0"},
		{"address of a free block", "", file, slot0(16383), "SIT entry", "marked free"},
		{"node out of range", "", file, word(offNids, 1<<30), "node number", "there are"},
		{"node that is free", "", file, word(offNids, 2000), "node tree", "node 2000, which is free"},
		{"node of another inode", "", file, word(offNids, 3), "node", "belongs to inode 3"},
		{"an inode as its own node", "", file, func(in *inode) { in.set32(offNids, uint32(in.ino)) }, "node", "want offset 0x1"},
		{"attributes in no node", "", file, word(offXattrNid, 2000), "node tree", "which is free"},
		{"an inode as its own attributes", "", file, func(in *inode) { in.set32(offXattrNid, uint32(in.ino)) }, "node", "want offset 0x1fffffff"},

		{"attributes without header", "", file, xattrs(30, 1), "extended attributes", "no header"},
		{"attributes with another magic", "", []string{"enc"}, xattrs(0, 0), "extended attributes", "magic"},
		{"long attribute", "", []string{"enc"}, xattrs(xattrHeader+2, 0xff, 0xff), "extended attributes", "past the end"},

		{"name of 0 bytes", "", dir, entry(2, 8, 0, 0), "directory block", "slot 2: name of 0"},
		{"name of 256 bytes", "", dir, entry(2, 8, 0, 1), "directory block", "slot 2: name of 256"},
		{"name into free slots", "", dir, entry(2, 8, 255, 0), "directory block", "marked free"},
		{"file type", "", dir, entry(2, 10, 8), "directory block", "file type 8"},
		{"inode 0", "", dir, entry(2, 4, 0, 0, 0, 0), "directory block", "inode 0"},
		{"inode out of range", "", dir, entry(2, 4, 0, 0, 0, 1), "directory block", "inode 16777216"},
		{"name across the end", "", dir, func(in *inode) {
			d := inlineDentries(in.inlineArea())
			d.put(d.slots-1, &image.Dirent{Name: []byte("name"), Ino: 5, Type: image.TypeRegular})
			d.entry(d.slots - 1)[8] = 9
		}, "directory block", "name of 9"},
		{"no dots", "", dir, func(in *inode) { in.inlineArea()[0] &^= 2 }, "directory block", `begin with "." and ".."`},
		{"dots in another place", "", dir, func(in *inode) {
			d := inlineDentries(in.inlineArea())
			d.put(d.room(1), &image.Dirent{Name: []byte(".."), Ino: 5, Type: image.TypeDirectory})
		}, "directory block", "does not belong here"},
		{"directory without blocks", "", dir, func(in *inode) {
			clear(in.raw[offAddrs+4*in.extra : offNids])
			in.setInline(inDentry, false)
		}, "directory", "no blocks"},

		{"symlink without block", "", []string{"plain", "short link"}, func(in *inode) {
			clear(in.inlineArea())
			in.setInline(inData, false)
		}, "symlink", "no block"},
		{"long target", "", []string{"plain", "short link"}, func(in *inode) {
			in.setInline(inData, false)
			in.set64(offSize, 5000)
		}, "symlink", "5000 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := tt.image
			if name == "" {
				name = sampleImage
			}
			d := newDamager(t, name)
			ino := d.compressed()
			if tt.path != nil {
				ino = d.find(tt.path...)
			}
			d.inode(ino, tt.edit)
			fs, err := Open(d, image.Options{Write: true})
			if err != nil {
				t.Fatal(err)
			}
			expect(t, readInode(fs, image.Ino(ino)), tt.what, image.Ino(ino), tt.says)
			if use(fs) == nil {
				t.Error("a walk over everything does not meet it")
			}
			findings(fs)
		})
	}
}

// compressed is the first compressed file of an image, 0 if there is none.
func (d *damager) compressed() uint32 {
	var ino uint32
	_ = d.fs.Inodes(func(a image.Attr, err error) error {
		if in, err := d.fs.inode(a.Ino); err == nil && ino == 0 && in.compressed(d.fs) && in.u64(offBlocks) > 2 && !a.Encrypted {
			ino = uint32(a.Ino)
		}
		return nil
	})
	return ino
}

func readInode(fs *FS, ino image.Ino) error {
	a, err := fs.Stat(ino)
	if err != nil {
		return err
	}
	return useInode(fs, a)
}

// expect compares damage with what it should be called.
func expect(t *testing.T, err error, what string, ino image.Ino, says string) {
	t.Helper()
	var bad *image.CorruptError
	if !errors.As(err, &bad) {
		t.Fatalf("%v", err)
	}
	if bad.What != what || ino != 0 && bad.Ino != ino && what != "node number" || !strings.Contains(bad.Why, says) {
		t.Errorf("%v, want %s of inode %d: %s", err, what, ino, says)
	}
}

// An inode that does not have its checksum is damaged, whatever has changed.
func TestInodeChecksum(t *testing.T) {
	d := newDamager(t, sampleImage)
	ino := d.find("plain", "two")
	e, err := d.fs.natEntry(ino)
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []int{offUID, offName, offAddrs + 40, offFootNext} {
		d.block(int64(e.block))[off] ^= 1
		fs, err := Open(d, image.Options{})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, readInode(fs, image.Ino(ino)), "inode", image.Ino(ino), "checksum")
		d.block(int64(e.block))[off] ^= 1
	}
}

// Entries of the NAT that lead nowhere, or to a node of something else.
func TestCorruptNAT(t *testing.T) {
	for _, tt := range []struct {
		name       string
		edit       func(b []byte)
		what, says string
	}{
		{"before the main area", func(b []byte) { le.PutUint32(b[5:], 100) }, "NAT entry", "main area"},
		{"behind the end", func(b []byte) { le.PutUint32(b[5:], 1<<30) }, "NAT entry", "main area"},
		{"reserved", func(b []byte) { le.PutUint32(b[5:], newAddr) }, "NAT entry", "main area"},
		{"block of another node", func(b []byte) { le.PutUint32(b[5:], le.Uint32(b[5:])-1) }, "node", "footer says"},
		{"other owner", func(b []byte) { le.PutUint32(b[1:], 7) }, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDamager(t, sampleImage)
			ino := d.find("plain", "two")
			d.nat(ino, tt.edit)
			fs, err := Open(d, image.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if tt.what == "" {
				if err := readInode(fs, image.Ino(ino)); err == nil {
					t.Error("reads what is not an inode by its own entry")
				}
			} else {
				expect(t, readInode(fs, image.Ino(ino)), tt.what, image.Ino(ino), tt.says)
			}
			_ = use(fs)
			findings(fs)
		})
	}
}

// deepFile is an inode that has its third node, and so an indirect one.
func (d *damager) deepFile() uint32 {
	d.Helper()
	var ino uint32
	err := d.fs.Inodes(func(a image.Attr, err error) error {
		if err != nil {
			return err
		}
		in, err := d.fs.inode(a.Ino)
		if err == nil && ino == 0 && in.mapped() && in.u32(offNids+4*nidIndirect) != 0 {
			ino = uint32(a.Ino)
		}
		return err
	})
	if err != nil || ino == 0 {
		d.Fatalf("no deep file: %v", err)
	}
	return ino
}

// A tree of nodes has no node twice, and none in the wrong place.
func TestCorruptNodeTree(t *testing.T) {
	firstOf := func(r rawNode) int {
		for i := range nodeAddrs {
			if r.word(i) != 0 {
				return i
			}
		}
		panic("an empty node")
	}
	for _, tt := range []struct {
		name string
		edit func(in *inode, indirect rawNode)
	}{
		{"direct node twice", func(in *inode, r rawNode) { r.setWord(firstOf(r)+1, r.word(firstOf(r))) }},
		{"direct node of another place", func(in *inode, r rawNode) { in.set32(offNids, r.word(firstOf(r))) }},
		{"indirect node below itself", func(in *inode, r rawNode) { r.setWord(firstOf(r), in.u32(offNids+4*nidIndirect)) }},
		{"the inode below itself", func(in *inode, r rawNode) { r.setWord(firstOf(r), uint32(in.ino)) }},
		{"indirect node as direct", func(in *inode, r rawNode) { in.set32(offNids+4, in.u32(offNids+4*nidIndirect)) }},
		{"indirect node as double indirect", func(in *inode, r rawNode) { in.set32(offNids+4*nidDouble, in.u32(offNids+4*nidIndirect)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDamager(t, "f2fs-default")
			ino := d.deepFile()
			in, err := d.fs.inode(image.Ino(ino))
			if err != nil {
				t.Fatal(err)
			}
			d.node(in.u32(offNids+4*nidIndirect), func(r rawNode) {
				d.inode(ino, func(in *inode) { tt.edit(in, r) })
			})
			fs, err := Open(d, image.Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = fs.DataExtents(image.Ino(ino))
			expect(t, err, "node", image.Ino(ino), "offset")
		})
	}
}

// Damage of compressed clusters, in the mapping and in the stream.
func TestCorruptCluster(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(d *damager, ino uint32, in *inode, head int)
		says string
	}{
		{"head inside of a cluster", func(d *damager, ino uint32, in *inode, head int) {
			in.set32(in.addrOff(head+1), compressAddr)
		}, "inside of a cluster"},
		{"head alone", func(d *damager, ino uint32, in *inode, head int) {
			for k := 1; k < in.cluster(d.fs); k++ {
				in.set32(in.addrOff(head+k), nullAddr)
			}
		}, "no blocks"},
		{"length 0", func(d *damager, ino uint32, in *inode, head int) {
			le.PutUint32(d.data(ino, uint64(head+1)), 0)
		}, "stream of 0 bytes"},
		{"length of more than there is", func(d *damager, ino uint32, in *inode, head int) {
			le.PutUint32(d.data(ino, uint64(head+1)), 1<<31)
		}, "stream of 2147483648 bytes"},
		{"stream", func(d *damager, ino uint32, in *inode, head int) {
			b := d.data(ino, uint64(head+1))[streamHeader:]
			for i := range b {
				b[i] = 0xff
			}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDamager(t, "f2fs-full")
			ino := d.compressed()
			d.inode(ino, func(in *inode) {
				head := 0
				for in.u32(in.addrOff(head)) != compressAddr {
					head++
				}
				tt.edit(d, ino, in, head)
			})
			fs, err := Open(d, image.Options{})
			if err != nil {
				t.Fatal(err)
			}
			expect(t, readInode(fs, image.Ino(ino)), "compressed cluster", 0, tt.says)
		})
	}
}
