package f2fs

import (
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
)

// Kernels' images have nothing to report, and no entry that a lookup misses.
func TestSound(t *testing.T) {
	for _, name := range append(imagetest.Names(t, "f2fs-"), imagetest.Names(t, "oracle/f2fs-")...) {
		t.Run(name, func(t *testing.T) {
			d := newDamager(t, name)
			delete(goldens, name) // they are large
			report := func(f image.Finding) {
				if name != recovery || f.ID != "not-clean" {
					t.Errorf("%s: inode %d: %s", f.ID, f.Ino, f.Text)
				}
			}
			d.fs.CheckVolume(report)
			entries := 0
			err := d.fs.Inodes(func(a image.Attr, err error) error {
				if err != nil || a.Type != image.TypeDirectory {
					return err
				}
				d.fs.CheckInode(a.Ino, report)
				return d.fs.ReadDir(a.Ino, func(e image.Dirent) error {
					if entries++; e.Misplaced {
						t.Errorf("inode %d: %q is misplaced", a.Ino, e.Name)
					}
					return nil
				})
			})
			if err != nil || entries == 0 {
				t.Errorf("%d entries: %v", entries, err)
			}
			if err := use(d.fs); err != nil {
				t.Error(err)
			}
		})
	}
}

// Each rule of the layout is checked: breaking it gives its finding.
func TestFindings(t *testing.T) {
	const folded = "oracle/f2fs-casefold-verity-619"
	byte1 := func(off int, v byte) func(*inode) { return func(in *inode) { in.raw[off] ^= v } }
	for _, tt := range []struct {
		name, image, id string
		path            []string
		inode           func(*inode)
		edit            func(*damager)
	}{
		{name: "superblocks", id: "superblocks-differ", edit: func(d *damager) { d.block(1)[superOffset+offFeature] ^= 4 }},
		{name: "UUIDs", id: "superblocks-differ", edit: func(d *damager) { d.block(1)[superOffset+offUUID] ^= 4 }},
		{name: "inline without encrypt", id: "inline-feature", edit: func(d *damager) {
			d.super(func(sb *super) { sb.set32(offFeature, featInlineEncrypt|featExtraAttr|featInodeChksum) })
		}},
		{name: "orphans", id: "orphans", edit: func(d *damager) { d.setFlags(ckptOrphans, 0) }},
		{name: "error", id: "errors-recorded", edit: func(d *damager) { d.setFlags(ckptError, 0) }},
		{name: "quota", id: "quota-unreliable", edit: func(d *damager) { d.setFlags(ckptQuotaFsck, 0) }},
		{name: "inodes", id: "node-counts", edit: func(d *damager) {
			d.pack(func(c *checkpoint) { c.head[offValidInodes]-- })
		}},
		{name: "free segments", id: "free-segments", edit: func(d *damager) {
			d.pack(func(c *checkpoint) { c.head[offFreeSegs]++ })
		}},
		{name: "address of a node", image: "f2fs-default", id: "node-address", edit: func(d *damager) {
			in, err := d.fs.inode(image.Ino(d.deepFile()))
			if err != nil {
				d.Fatal(err)
			}
			d.nat(in.u32(offNids+4*nidIndirect), func(b []byte) { le.PutUint32(b[5:], 9) })
		}},
		{name: "node in a free block", id: "node-free", edit: func(d *damager) {
			ino := d.find("plain", "two")
			e, _ := d.fs.natEntry(ino)
			copy(d.block(16383), d.block(int64(e.block)))
			d.nat(ino, func(b []byte) { le.PutUint32(b[5:], 16383) })
		}},
		{name: "owner of a node", id: "summary-wrong", edit: func(d *damager) {
			e, _ := d.fs.natEntry(d.find("plain", "two"))
			seg, off := d.fs.geo.segOf(image.Pblk(e.block))
			if cur, _ := d.fs.ckpt.curSeg(logWarmNode); cur != seg {
				d.Fatal("not in the current segment")
			}
			total := int64(d.fs.ckpt.u32(offPackTotal))
			b := d.block(d.fs.geo.packStart(d.fs.ckpt.pack) + total - 4 + logWarmNode - logHotNode)
			sumEntryAt(b, off).set(77, 0, 0)
		}},
		{name: "owner of a block", id: "summary-wrong", path: []string{"plain", "two"},
			inode: func(in *inode) { in.set32(in.addrOff(1), in.u32(in.addrOff(0))) }},
		{name: "count of blocks", id: "block-count", path: []string{"plain", "two"}, inode: byte1(offBlocks, 4)},
		{name: "count of blocks inline", id: "block-count", path: []string{"plain", "one"}, inode: byte1(offBlocks, 4)},
		{name: "address", id: "mapping-damaged", path: []string{"plain", "two"},
			inode: func(in *inode) { in.set32(in.addrOff(0), 9) }},
		{name: "word before inline contents", id: "inline-word", path: []string{"plain", "one"},
			inode: func(in *inode) { in.set32(in.addrOff(0), 9) }},
		{name: "mark of inline contents", id: "inline-mark", path: []string{"plain", "one"}, inode: byte1(offInline, inDataExist)},
		{name: "behind inline ciphertext", image: "oracle/f2fs-einline-lblk64", id: "inline-rest", path: []string{"e"},
			edit: func(d *damager) {
				d.inode(uint32(d.inlineFile()), func(in *inode) { in.inlineArea()[len(in.inlineArea())-1] = 1 })
			}},
		{name: "second context", id: "context-twice", path: []string{"enc"}, inode: func(in *inode) {
			list, _ := parseXattrs(in.xattrArea())
			copy(in.xattrArea(), buildXattrs(append(list, list...), len(in.xattrArea())))
		}},
		{name: "name of a context", id: "context-name", path: []string{"plain"}, inode: func(in *inode) {
			in.setInline(inXattr, true)
			copy(in.xattrArea(), buildXattrs([]xattr{{index: xattrEncryption, name: []byte("d"), value: []byte("x")}}, len(in.xattrArea())))
		}},
		{name: "mark of verity", id: "verity-mark", path: []string{"plain", "two"}, inode: byte1(offAdvise, advVerity)},
		{name: "behind a target", id: "symlink-slack", edit: func(d *damager) {
			d.inode(uint32(d.first(func(a image.Attr) bool { return a.Type == image.TypeSymlink && a.Encrypted })), func(in *inode) {
				in.inlineArea()[in.size()] = 'x'
			})
		}},
		{name: "mark of a name", id: "name-mark", edit: func(d *damager) { d.inode(6, func(in *inode) { in.raw[offAdvise] &^= advEncName }) }},
		{name: "name", id: "name-differs", path: []string{"plain", "two"}, inode: byte1(offName, 1)},
		{name: "length of a name", id: "name-differs", path: []string{"plain", "two"}, inode: byte1(offNameLen, 1)},
		{name: "hash behind a name", image: folded, id: "name-hash-copy", edit: func(d *damager) {
			parent := d.first(func(a image.Attr) bool { return a.Type == image.TypeDirectory && a.Encrypted && a.Casefold })
			err := d.fs.ReadDir(parent, func(e image.Dirent) error {
				d.inode(uint32(e.Ino), func(in *inode) { in.raw[offName+int(in.u32(offNameLen))] ^= 1 })
				return nil
			})
			if err != nil {
				d.Fatal(err)
			}
		}},
		{name: "algorithm", image: "f2fs-full", id: "compression-unknown", edit: func(d *damager) {
			d.inode(d.compressed(), func(in *inode) { in.raw[offComprAlgo] = 4 })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.image == "" {
				tt.image = sampleImage
			}
			d := newDamager(t, tt.image)
			if tt.inode != nil {
				d.inode(d.find(tt.path...), tt.inode)
			} else {
				tt.edit(d)
			}
			fs, err := Open(d, image.Options{AllowDirty: true})
			if err != nil {
				t.Fatal(err)
			}
			if ids := findings(fs); !ids[tt.id] {
				t.Errorf("found %v, want %s", ids, tt.id)
			}
		})
	}
}

// first is the first inode that is as wanted.
func (d *damager) first(wanted func(image.Attr) bool) image.Ino {
	d.Helper()
	var ino image.Ino
	err := d.fs.Inodes(func(a image.Attr, err error) error {
		if err == nil && ino == 0 && wanted(a) {
			ino = a.Ino
		}
		return err
	})
	if err != nil || ino == 0 {
		d.Fatalf("no such inode: %v", err)
	}
	return ino
}

// inlineFile is the first encrypted file with contents inside of its inode.
func (d *damager) inlineFile() image.Ino {
	return d.first(func(a image.Attr) bool { return a.Inline && a.Encrypted && a.Size > 0 && a.Size < 100 })
}

// An entry that is not where its hash belongs, or has another, is listed as one
// that a lookup misses.
func TestMisplaced(t *testing.T) {
	d := newDamager(t, "f2fs-default")
	dir := d.first(func(a image.Attr) bool { return a.Type == image.TypeDirectory && a.Size >= 16*blockSize })
	in, err := d.fs.inode(dir)
	if err != nil {
		t.Fatal(err)
	}
	var lblk uint64
	err = d.fs.dirBlocks(in, func(b *dirBlock) error {
		lblk = b.lblk
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	moved := blockArea(d.data(uint32(dir), lblk))
	var hit dentry
	if err := moved.each(func(e dentry) error { hit = e; return nil }); err != nil {
		t.Fatal(err)
	}
	le.PutUint32(moved.entry(hit.slot), hit.Hash+1)
	if got := d.misplaced(t, dir); got != 1 {
		t.Errorf("%d entries are misplaced, want 1", got)
	}
	le.PutUint32(moved.entry(hit.slot), hit.Hash)
	if got := d.misplaced(t, dir); got != 0 {
		t.Errorf("%d entries are misplaced, want 0", got)
	}
	d.inode(uint32(dir), func(in *inode) { in.set32(offDepth, 1) })
	if got := d.misplaced(t, dir); got == 0 {
		t.Error("no entry is misplaced below the last level")
	}
}

func (d *damager) misplaced(t *testing.T, dir image.Ino) (n int) {
	t.Helper()
	fs, err := Open(d, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = fs.ReadDir(dir, func(e image.Dirent) error {
		if e.Misplaced {
			n++
			// The kernel compares hashes before names, Lookup does not.
			if _, err := fs.Lookup(dir, e.Name); !isNotExist(err) && e.Hash == nameHash(e.Name) {
				t.Errorf("lookup of a misplaced entry: %v", err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
