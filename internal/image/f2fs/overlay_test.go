package f2fs

import (
	"fmt"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store/storetest"
)

// overlay is a store over an image that stays as it is: blocks that differ are
// kept aside.
type overlay struct {
	*storetest.Mem
	blocks map[int64][]byte
}

func newOverlay(base []byte) *overlay {
	return &overlay{storetest.NewMem(base), make(map[int64][]byte)}
}

// block is a block for changing.
func (o *overlay) block(n int64) []byte {
	b := o.blocks[n]
	if b == nil {
		b = append(b, o.Bytes()[n*blockSize:][:blockSize]...)
		o.blocks[n] = b
	}
	return b
}

// each calls f for the pieces of n bytes from off, block by block.
func (o *overlay) each(off int64, n int, f func(block int64, from, to, done int)) error {
	if off < 0 || off+int64(n) > o.Size() {
		return fmt.Errorf("%d bytes at %d of %d", n, off, o.Size())
	}
	for done := 0; done < n; {
		at := off + int64(done)
		from := int(at % blockSize)
		to := min(blockSize, from+n-done)
		f(at/blockSize, from, to, done)
		done += to - from
	}
	return nil
}

func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	err := o.each(off, len(p), func(n int64, from, to, done int) {
		b := o.blocks[n]
		if b == nil {
			b = o.Bytes()[n*blockSize:][:blockSize]
		}
		copy(p[done:], b[from:to])
	})
	return len(p), err
}

func (o *overlay) WriteAt(p []byte, off int64) (int, error) {
	err := o.each(off, len(p), func(n int64, from, to, done int) { copy(o.block(n)[from:to], p[done:]) })
	return len(p), err
}

func (o *overlay) Zero(off, n int64) error {
	return o.each(off, int(n), func(n int64, from, to, _ int) { clear(o.block(n)[from:to]) })
}

// damager changes structures of an image and puts their checksums right.
type damager struct {
	testing.TB
	*overlay
	fs *FS // of the image as it was
}

var goldens = make(map[string][]byte)

func newDamager(t testing.TB, name string) *damager {
	t.Helper()
	if goldens[name] == nil {
		goldens[name] = imagetest.GoldenBytes(t, name)
	}
	d := &damager{TB: t, overlay: newOverlay(goldens[name])}
	var err error
	if d.fs, err = Open(newOverlay(goldens[name]), image.Options{AllowDirty: true}); err != nil {
		t.Fatal(err)
	}
	return d
}

// find returns the inode at a path of stored names.
func (d *damager) find(path ...string) uint32 {
	d.Helper()
	ino := d.fs.Root()
	for _, name := range path {
		e, err := d.fs.Lookup(ino, []byte(name))
		if err != nil {
			d.Fatal(err)
		}
		ino = e.Ino
	}
	return uint32(ino)
}

// super changes both superblocks.
func (d *damager) super(edit func(sb *super)) {
	for n := range int64(2) {
		sb := &super{raw: d.block(n)[superOffset:]}
		edit(sb)
		sb.seal()
	}
}

// pack changes both blocks of the checkpoint in use.
func (d *damager) pack(edit func(c *checkpoint)) {
	start := d.fs.geo.packStart(d.fs.ckpt.pack)
	total := int64(d.fs.ckpt.u32(offPackTotal))
	for _, n := range []int64{start, start + total - 1} {
		c := &checkpoint{head: d.block(n)}
		edit(c)
		if off := c.chksumOffset(); off <= ckptChksumDefault {
			le.PutUint32(c.head[off:], ckptCRC(c.head, int(off)))
		}
	}
}

func (d *damager) setFlags(set, clear uint32) {
	d.pack(func(c *checkpoint) { le.PutUint32(c.head[offCkptFlags:], (c.flags()|set)&^clear) })
}

// nat changes the entry of a node where it is in use: in the journal or in the
// table.
func (d *damager) nat(nid uint32, edit func(b []byte)) {
	if _, ok := d.fs.natJournal[nid]; ok {
		b := d.summary(logHotData)
		j := sumJournal(b)
		for i := range int(le.Uint16(j)) {
			if e := j[2+i*natJournalEntry:]; le.Uint32(e) == nid {
				edit(e[4:][:natEntrySize])
			}
		}
		return
	}
	n := nid / natPerBlock
	at := d.fs.geo.natBlock(n, bitmapTest(d.fs.natBits, n))
	edit(d.block(at)[nid%natPerBlock*natEntrySize:][:natEntrySize])
}

// summary is the block of the pack with the summary of a data log, in the normal
// form; that of a compact one is made first.
func (d *damager) summary(log int) []byte {
	c := d.fs.ckpt
	if c.is(ckptCompactSum) {
		d.Fatal("the summaries are compact")
	}
	at := d.fs.geo.packStart(c.pack) + int64(c.u32(offPackTotal)) - 7 + int64(log)
	return d.block(at)
}

// node changes a node block; an inode gets the checksum that it asks for.
func (d *damager) node(nid uint32, edit func(r rawNode)) {
	d.Helper()
	e, err := d.fs.nodeBlock(nid)
	if err != nil {
		d.Fatal(err)
	}
	r := rawNode(d.block(int64(e.block)))
	edit(r)
	if e.ino == nid {
		in := &inode{raw: r}
		if n := in.u16(offExtraSize); in.inline(inExtra) && n >= 4 && n <= maxExtraSize {
			in.extra = int(n) / 4
		}
		if d.fs.hasChksum(in) {
			in.set32(offInodeChksum, d.fs.inodeChksum(r))
		}
	}
}

// inode changes an inode with its geometry known.
func (d *damager) inode(nid uint32, edit func(in *inode)) {
	d.Helper()
	in, err := d.fs.inode(image.Ino(nid))
	if err != nil {
		d.Fatal(err)
	}
	d.node(nid, func(r rawNode) {
		in.raw = r
		edit(in)
	})
}

// data is the block of a file for changing.
func (d *damager) data(nid uint32, lblk uint64) []byte {
	d.Helper()
	in, err := d.fs.inode(image.Ino(nid))
	if err != nil {
		d.Fatal(err)
	}
	s, err := d.fs.slotAt(in, lblk)
	if err != nil || d.fs.checkAddr(in, s) != nil {
		d.Fatalf("inode %d has no block %d: %v", nid, lblk, err)
	}
	return d.block(int64(s.addr))
}

// use reads all that can be read of an image and returns the first error.
func use(fs *FS) error {
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	fs.Super()
	_, err := fs.LostFound()
	note(err)
	note(fs.Inodes(func(a image.Attr, err error) error {
		note(err)
		if err != nil {
			return nil
		}
		note(useInode(fs, a))
		return nil
	}))
	note(fs.Residue(func(off, n int64) error { return nil }))
	return first
}

func useInode(fs *FS, a image.Attr) error {
	if _, err := fs.Context(a.Ino); err != nil {
		return err
	}
	if _, err := fs.Xattrs(a.Ino); err != nil {
		return err
	}
	if a.Verity {
		if _, _, err := fs.VerityDescriptor(a.Ino); err != nil {
			return err
		}
	}
	if err := fs.Owned(a.Ino, func(image.Pblk, uint64, bool) {}); err != nil {
		return err
	}
	switch {
	case a.Type == image.TypeDirectory:
		var names []string
		err := fs.ReadDir(a.Ino, func(d image.Dirent) error {
			names = append(names, string(d.Name))
			return nil
		})
		if err == nil && len(names) > 0 {
			_, err = fs.Lookup(a.Ino, []byte(names[len(names)-1]))
			if isNotExist(err) {
				err = nil // it is misplaced
			}
		}
		return err
	case a.Type == image.TypeSymlink:
		_, err := fs.ReadLink(a.Ino)
		return err
	case a.Inline:
		_, err := fs.Inline(a.Ino)
		return err
	case a.Type == image.TypeRegular:
		return useContents(fs, a)
	}
	return nil
}

func useContents(fs *FS, a image.Attr) error {
	if _, err := fs.DataExtents(a.Ino); err != nil {
		return err
	}
	list, err := fs.Extents(a.Ino)
	if err != nil || a.Encrypted {
		return err
	}
	for _, x := range list {
		if x.Packed == nil {
			if err := fs.ReadBlocks(make([]byte, blockSize), x.Pblk); err != nil {
				return err
			}
			continue
		}
		var stream []byte
		for _, part := range x.Packed.Stream {
			b := make([]byte, part.Len*blockSize)
			if err := fs.ReadBlocks(b, part.Pblk); err != nil {
				return err
			}
			stream = append(stream, b...)
		}
		if _, err := fs.Unpack(x.Packed, stream); err != nil {
			return err
		}
	}
	return nil
}

// findings are the IDs of what a check finds.
func findings(fs *FS) map[string]bool {
	ids := make(map[string]bool)
	report := func(f image.Finding) { ids[f.ID] = true }
	fs.CheckVolume(report)
	_ = fs.Inodes(func(a image.Attr, err error) error {
		if err == nil {
			fs.CheckInode(a.Ino, report)
		}
		return nil
	})
	return ids
}
