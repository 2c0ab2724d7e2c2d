package ext4

import (
	"errors"
	"fmt"
	"sort"

	"fsenc/internal/crc"
	"fsenc/internal/image"
)

// directory reads the blocks of one directory that is not inline.
type directory struct {
	fs      *FS
	in      *inode
	form    dirForm
	seed    uint32 // of checksums
	extents []image.Extent
	blocks  uint32 // i_size in blocks
}

// dirInode reads an inode that must be a directory.
func (fs *FS) dirInode(dir image.Ino) (*inode, error) {
	in, err := fs.inode(dir)
	if err != nil {
		return nil, err
	}
	if in.raw.fileType() != image.TypeDirectory {
		return nil, fmt.Errorf("inode %d: %w", dir, image.ErrNotDir)
	}
	return in, nil
}

// dirForm tells how entries of in lie if it is encrypted, or if it is not.
func (fs *FS) dirForm(in *inode, encrypted bool) dirForm {
	return dirForm{
		blockSize: fs.bs,
		tail:      fs.hasCsum,
		fileType:  fs.sb.hasIncompat(incompatFiletype),
		hashed:    encrypted && in.raw.hasFlag(flCasefold),
		maxIno:    fs.sb.inodesCount(),
	}
}

// openDir checks that blocks 0 to i_size are mapped: a directory has neither
// holes nor unwritten blocks.
func (fs *FS) openDir(in *inode) (*directory, error) {
	d := &directory{
		fs: fs, in: in, seed: fs.inodeSeed(in),
		form: fs.dirForm(in, in.raw.hasFlag(flEncrypt)),
	}
	size := in.raw.size()
	if size == 0 || size%uint64(fs.bs) != 0 || size/uint64(fs.bs) > dxBlockMask {
		return nil, fs.corrupt("directory", in.ino, 0, "size %d", size)
	}
	d.blocks = uint32(size / uint64(fs.bs))
	var err error
	if d.extents, err = fs.mapping(in); err != nil {
		return nil, err
	}
	next := image.Lblk(0)
	for _, e := range d.extents {
		if e.Lblk != next || e.Unwritten {
			return nil, fs.corrupt("directory", in.ino, e.Pblk, "lblk %d is not mapped or not written", next)
		}
		next = e.Lblk + image.Lblk(e.Len)
	}
	if next != image.Lblk(d.blocks) {
		return nil, fs.corrupt("directory", in.ino, 0, "%d blocks mapped, size is %d", next, d.blocks)
	}
	return d, nil
}

// pblk maps a block that openDir found mapped.
func (d *directory) pblk(l uint32) image.Pblk {
	i := sort.Search(len(d.extents), func(i int) bool {
		e := d.extents[i]
		return image.Lblk(l) < e.Lblk+image.Lblk(e.Len)
	})
	e := d.extents[i]
	return e.Pblk + image.Pblk(image.Lblk(l)-e.Lblk)
}

func (d *directory) corrupt(l uint32, format string, a ...any) error {
	return d.fs.corrupt("directory block", d.in.ino, d.pblk(l), format, a...)
}

// readLeaf reads block l and appends its entries, which point into buf, to dst.
func (d *directory) readLeaf(dst []dirEntry, l uint32, buf []byte) ([]dirEntry, error) {
	if err := d.fs.readBlock(d.pblk(l), buf); err != nil {
		return dst, err
	}
	dst, err := d.form.parse(dst, buf)
	if err != nil {
		return dst, d.corrupt(l, "%v", err)
	}
	return dst, d.checkLeaf(l, buf)
}

// checkLeaf verifies the checksum of block l.
func (d *directory) checkLeaf(l uint32, buf []byte) error {
	if !d.form.tail {
		return nil
	}
	if got, want := le.Uint32(buf[d.fs.bs-4:]), leafChecksum(d.seed, buf); got != want {
		return d.corrupt(l, "checksum %#08x, want %#08x", got, want)
	}
	return nil
}

// leafChecksum covers what is before the tail.
func leafChecksum(seed uint32, block []byte) uint32 {
	return crc.CRC32C(seed, block[:len(block)-deTailLen])
}

// writeLeaf stages what w holds as block l.
func (d *directory) writeLeaf(l uint32, w *leafWriter) error {
	block := w.finish()
	if d.form.tail {
		le.PutUint32(block[len(block)-4:], leafChecksum(d.seed, block))
	}
	return d.fs.writeBlock(d.pblk(l), block)
}

// indexed reports whether block 0 is the root of an index.
func (d *directory) indexed() bool { return d.in.raw.hasFlag(flIndex) }

// wholeIndex returns the index, nil if there is none.
func (d *directory) wholeIndex() (*index, error) {
	if !d.indexed() {
		return nil, nil
	}
	return d.readWholeIndex()
}

// leafBlocks calls f for each block of entries in ascending order. The root of
// an index is none, though it holds the dots.
func (d *directory) leafBlocks(x *index, f func(l uint32) error) error {
	first := uint32(0)
	if x != nil {
		first = 1
	}
	for l := first; l < d.blocks; l++ {
		if x != nil && x.nodes[l] {
			continue
		}
		if err := f(l); err != nil {
			return err
		}
	}
	return nil
}

// leaves calls f for the entries of each leaf, without the dots.
func (d *directory) leaves(x *index, f func(l uint32, es []dirEntry) error) error {
	buf := make([]byte, d.fs.bs)
	var es []dirEntry
	return d.leafBlocks(x, func(l uint32) error {
		var err error
		if es, err = d.readLeaf(es[:0], l, buf); err != nil {
			return err
		}
		if l > 0 {
			return f(l, es)
		}
		if _, err := d.dots(es); err != nil {
			return err
		}
		return f(0, es[2:])
	})
}

// dots returns the parent's number from the entries of block 0, which begin
// with "." and "..".
func (d *directory) dots(es []dirEntry) (parent image.Ino, err error) {
	if len(es) < 2 || string(es[0].Name) != "." || string(es[1].Name) != ".." {
		return 0, d.corrupt(0, `does not begin with "." and ".."`)
	}
	if es[0].Ino != d.in.ino {
		return 0, d.corrupt(0, `"." is inode %d`, es[0].Ino)
	}
	return es[1].Ino, nil
}

// parent reads the number that ".." names. Of block 0 it looks at the dots
// only: in a casefolded directory the inode's flag may already tell of another
// form than the other entries have.
func (d *directory) parent() (image.Ino, error) {
	buf := make([]byte, d.fs.bs)
	if err := d.fs.readBlock(d.pblk(0), buf); err != nil {
		return 0, err
	}
	form := d.form
	form.hashed = false
	var es []dirEntry
	for off := 0; len(es) < 2; {
		n := form.recLen(buf[off:])
		if err := form.check(buf[off:], n); err != nil {
			return 0, d.corrupt(0, "offset %d: %v", off, err)
		}
		es = append(es, dirEntry{form.dirent(buf[off:]), off})
		if off += n; off > form.usable()-deMinimal && len(es) < 2 {
			return 0, d.corrupt(0, "one entry")
		}
	}
	if d.indexed() {
		form.hashed = buf[offDxHashVersion] == hashSip
		if _, err := (&directory{fs: d.fs, in: d.in, form: form, seed: d.seed, extents: d.extents}).readRoot(buf); err != nil {
			return 0, err
		}
	} else if err := d.checkLeaf(0, buf); err != nil {
		return 0, err
	}
	return d.dots(es)
}

// ReadDir calls f for each entry but the dots, block by block. Hashes are
// reported where the kernel puts them into no-key names: the stored ones, or
// in a directory that could be indexed (dir_index, and either an index or just
// one block) those of the ciphertext. Elsewhere they are 0.
func (fs *FS) ReadDir(dir image.Ino, f func(image.Dirent) error) error {
	in, err := fs.dirInode(dir)
	if err != nil {
		return err
	}
	if in.raw.hasFlag(flInlineData) {
		return fs.readInlineDir(in, f)
	}
	d, err := fs.openDir(in)
	if err != nil {
		return err
	}
	x, err := d.wholeIndex()
	if err != nil {
		return err
	}
	nk := d.noKeyHash(x)
	return d.leaves(x, func(l uint32, es []dirEntry) error {
		for _, e := range es {
			e.Dirent = nk.complete(e.Dirent)
			e.Misplaced = x != nil && d.misplaced(x, &e.Dirent, nk.computed, l)
			if err := f(fs.withType(e.Dirent)); err != nil {
				return err
			}
		}
		return nil
	})
}

// misplaced reports whether a lookup goes to other leaves than l. An entry
// with stored hashes is found by looking everywhere.
func (d *directory) misplaced(x *index, e *image.Dirent, hashed bool, l uint32) bool {
	if d.form.hashed {
		return false
	}
	hash := e.Hash
	if !hashed {
		hash = d.hashOf(x.version, e.Name)
	}
	return !x.root.leads(hash, l)
}

// noKeyHash fills in the hashes that no-key names hold.
type noKeyHash struct {
	dirHash
	computed bool // else the entry has them, or they are 0
}

func (n noKeyHash) complete(d image.Dirent) image.Dirent {
	if n.computed {
		d.Hash, d.MinorHash = n.sum(d.Name)
	}
	return d
}

// noKeyHash takes the index, nil if there is none.
func (d *directory) noKeyHash(x *index) noKeyHash {
	if !d.in.raw.hasFlag(flEncrypt) || d.form.hashed || !d.fs.sb.hasCompat(compatDirIndex) {
		return noKeyHash{}
	}
	if x != nil {
		return noKeyHash{d.fs.dirHash(x.version), true}
	}
	known := d.fs.sb.defHashVersion() <= hashTea
	return noKeyHash{d.fs.dirHash(d.fs.sb.defHashVersion()), known && d.blocks == 1}
}

// dirHash returns the hash of a version as stored. Whether bytes of names are
// signed is the superblock's: if it says nothing, the kernel takes what its
// CPU does, which is signed where images without the flag come from (x86).
func (fs *FS) dirHash(version uint8) dirHash {
	h := dirHash{version: version, seed: fs.sb.hashSeed()}
	if version <= hashTea && fs.sb.flags()&flagUnsignedHash != 0 {
		h.version += hashUnsignedDistance
	}
	return h
}

// withType completes an entry of a filesystem whose entries carry no type. An
// entry whose inode cannot be read keeps type unknown: whoever wants the inode
// meets the error.
func (fs *FS) withType(d image.Dirent) image.Dirent {
	if d.Type == image.TypeUnknown {
		if in, err := fs.inode(d.Ino); err == nil {
			d.Type = in.raw.fileType()
		}
	}
	return d
}

// LostFound returns the directory that e2fsck fills, which it finds by its
// name in the root; 0 if there is none.
func (fs *FS) LostFound() (image.Ino, error) {
	d, err := fs.Lookup(inoRoot, []byte("lost+found"))
	if errors.Is(err, image.ErrNotExist) {
		return 0, nil
	}
	return d.Ino, err
}
