package btrfs

import (
	"bytes"
	"fmt"

	"fsenc/internal/image"
)

// Fields of struct btrfs_file_extent_item.
const (
	offExtGen        = 0  // le64
	offExtRAM        = 8  // le64 ram_bytes
	offExtCompr      = 16 // u8
	offExtEncryption = 17 // u8
	offExtKind       = 20 // u8
	extInlineData    = 21 // where inline data begin
	offExtDisk       = 21 // le64 disk_bytenr, 0 is a hole
	offExtDiskLen    = 29 // le64
	offExtOffset     = 37 // le64, into the extent, unpacked
	offExtLen        = 45 // le64 num_bytes
	extentSize       = 53

	extInline   = 0
	extRegular  = 1
	extPrealloc = 2

	contextSize  = 34
	maxContext   = 40
	maxPacked    = 128 << 10 // bytes that a compressed extent unpacks to
	maxExtentLen = 1 << 30   // more than any extent has
)

// fileExtent is an item that maps a part of a file. It is a value: raw points
// into its leaf.
type fileExtent struct {
	off      uint64 // in the file
	kind     byte
	compr    byte
	enc      byte
	ram      uint64
	disk     uint64
	diskLen  uint64
	skip     uint64 // its first byte in the extent, unpacked
	len      uint64
	context  string
	raw      []byte
	appended bool // the context lies behind the item, as layout v5 has it
}

// fileExtents reads the mapping of a file, contexts included.
func (fs *FS) fileExtents(t *tree, obj uint64) ([]fileExtent, error) {
	contexts, err := fs.contexts(t, obj)
	if err != nil {
		return nil, err
	}
	return fs.extentsWith(t, obj, contexts)
}

// contexts reads the contexts of the extents of a file, by offset in it; nil if
// there are none.
func (fs *FS) contexts(t *tree, obj uint64) (contexts map[uint64]string, err error) {
	err = fs.eachOf(t, obj, keyContext, func(off uint64, b []byte) error {
		if contexts == nil {
			contexts = make(map[uint64]string)
		}
		contexts[off] = string(b)
		return nil
	})
	return contexts, err
}

// extentsWith reads the mapping of a file, of which the contexts are known.
func (fs *FS) extentsWith(t *tree, obj uint64, contexts map[uint64]string) ([]fileExtent, error) {
	var list []fileExtent
	end := uint64(0)
	err := fs.eachOf(t, obj, keyExtentData, func(off uint64, b []byte) error {
		k := key{obj, keyExtentData, off}
		e, err := fs.parseExtent(t, k, b)
		if err != nil {
			return err
		}
		if off < end {
			return fs.itemError(t, k, "overlaps the extent before, which ends at %d", end)
		}
		if end = off + e.len; e.kind == extInline {
			end = off + uint64(fs.ss)
		}
		if c, ok := contexts[off]; ok && !e.appended {
			e.context = c
		}
		list = append(list, e)
		return nil
	})
	return list, err
}

// parseExtent reads and checks one item.
func (fs *FS) parseExtent(t *tree, k key, b []byte) (e fileExtent, err error) {
	bad := func(format string, a ...any) error { return fs.itemError(t, k, format, a...) }
	if len(b) <= extInlineData {
		return e, bad("%d bytes", len(b))
	}
	e = fileExtent{off: k.off, kind: b[offExtKind], compr: b[offExtCompr], enc: b[offExtEncryption], ram: le.Uint64(b[offExtRAM:]), raw: b}
	if e.compr >= byte(len(methods)) || e.enc > 1 || e.kind > extPrealloc {
		return e, bad("type %d, compression %d, encryption %d", e.kind, e.compr, e.enc)
	}
	if e.kind == extInline {
		if k.off != 0 || e.ram > uint64(fs.ss) {
			return e, bad("inline data at %d, %d bytes", k.off, e.ram)
		}
		e.len = e.ram
		return e, nil
	}
	if len(b) < extentSize {
		return e, bad("%d bytes", len(b))
	}
	if rest := b[extentSize:]; len(rest) > 0 {
		if len(rest) < 4 || uint64(le.Uint32(rest)) != uint64(len(rest)-4) || len(rest)-4 > maxContext {
			return e, bad("%d bytes", len(b))
		}
		if fs.write {
			return e, fmt.Errorf("%w: writing the layout %s", image.ErrUnsupported, layoutV5)
		}
		e.context, e.appended = string(rest[4:]), true
	}
	e.disk, e.diskLen = le.Uint64(b[offExtDisk:]), le.Uint64(b[offExtDiskLen:])
	e.skip, e.len = le.Uint64(b[offExtOffset:]), le.Uint64(b[offExtLen:])
	mask := uint64(fs.ss) - 1
	switch {
	case (k.off|e.disk|e.diskLen|e.skip|e.len)&mask != 0 || e.len == 0 || k.off+e.len < k.off:
		return e, bad("%d bytes from %d of an extent of %d at %d", e.len, e.skip, e.diskLen, e.disk)
	case e.disk == 0:
		return e, nil
	case e.diskLen == 0 || e.diskLen > maxExtentLen || e.ram > maxExtentLen || e.skip > e.ram || e.len > e.ram-e.skip:
		return e, bad("%d bytes from %d of an extent of %d, unpacked %d", e.len, e.skip, e.diskLen, e.ram)
	case e.compr != 0 && (e.ram > maxPacked || e.kind == extPrealloc), e.compr == 0 && e.skip+e.len > e.diskLen:
		return e, bad("%d bytes, compressed to %d", e.ram, e.diskLen)
	}
	return e, nil
}

// extent is the mapping of an item for others. ok is false for holes.
func (fs *FS) extent(e *fileExtent, encrypted bool) (x image.Extent, ok bool) {
	if e.kind == extInline || e.disk == 0 {
		return x, false
	}
	ss := uint64(fs.ss)
	x = image.Extent{
		Lblk: image.Lblk(e.off / ss), Pblk: image.Pblk((e.disk + e.skip) / ss), Len: e.len / ss,
		Unwritten: e.kind == extPrealloc, Plain: encrypted && e.enc == 0,
		Shift: int64(e.skip/ss) - int64(e.off/ss), Context: e.contextFor(encrypted), OldKey: e.appended,
	}
	if e.compr == 0 {
		return x, true
	}
	stream := image.Extent{Pblk: image.Pblk(e.disk / ss), Len: e.diskLen / ss, Plain: x.Plain, Context: x.Context, OldKey: x.OldKey}
	x.Pblk, x.Shift = stream.Pblk, 0
	x.Packed = &image.Packed{Method: methods[e.compr], Stream: []image.Extent{stream}, Skip: int64(e.skip), Size: int64(e.ram)}
	return x, true
}

// contextFor is the stored context of an encrypted extent of an encrypted file.
func (e *fileExtent) contextFor(encrypted bool) string {
	if !encrypted || e.enc == 0 {
		return ""
	}
	return e.context
}

// Extents returns the mapping of a regular file.
func (fs *FS) Extents(ino image.Ino) ([]image.Extent, error) {
	t, obj, r, err := fs.look(ino)
	if err != nil {
		return nil, err
	}
	if r.fileType() != image.TypeRegular {
		return nil, nil
	}
	list, err := fs.fileExtents(t, obj)
	if err != nil {
		return nil, err
	}
	var out []image.Extent
	for i := range list {
		if x, ok := fs.extent(&list[i], r.flag(inoEncrypt)); ok {
			if x.Context == "" && !x.Plain && r.flag(inoEncrypt) && !x.Unwritten {
				return nil, fs.itemError(t, key{obj, keyExtentData, list[i].off}, "encrypted, and there is no context for it")
			}
			out = append(out, x)
		}
	}
	return out, nil
}

// DataExtents returns what of the mapping is written, compressed extents by
// their streams, as the blocks that would be encrypted.
func (fs *FS) DataExtents(ino image.Ino) ([]image.Extent, error) {
	all, err := fs.Extents(ino)
	var out []image.Extent
	for _, x := range all {
		if !x.Unwritten {
			out = append(out, x.Stored()...)
		}
	}
	return out, err
}

// DiskExtents calls f for each extent that a file refers to, whole and once.
func (fs *FS) DiskExtents(ino image.Ino, f func(image.DiskExtent) error) error {
	t, obj, r, err := fs.look(ino)
	if err != nil {
		return err
	}
	list, err := fs.fileExtents(t, obj)
	if err != nil {
		return err
	}
	seen := make(map[uint64]int)
	var out []image.DiskExtent
	ss := uint64(fs.ss)
	for i := range list {
		e := &list[i]
		if e.kind == extInline || e.disk == 0 {
			continue
		}
		n, again := seen[e.disk]
		if !again {
			n = len(out)
			seen[e.disk] = n
			out = append(out, image.DiskExtent{Start: image.Pblk(e.disk / ss), Len: e.diskLen / ss, Unwritten: true})
		}
		d := &out[n]
		d.Unwritten = d.Unwritten && e.kind == extPrealloc
		d.Idle = d.Idle || e.kind == extPrealloc
		if c := e.contextFor(r.flag(inoEncrypt)); c != "" {
			d.Context = c
		}
		if d.Len != e.diskLen/ss {
			return fs.itemError(t, key{obj, keyExtentData, e.off}, "an extent of %d bytes, elsewhere of %d", e.diskLen, d.Len*ss)
		}
	}
	for _, d := range out {
		if err := f(d); err != nil {
			return err
		}
	}
	return nil
}

// inlineItem returns the item of a file or symlink with its data inside.
func (fs *FS) inlineItem(t *tree, obj uint64) (fileExtent, error) {
	k := key{obj, keyExtentData, 0}
	b, err := fs.item(t, k)
	if err != nil {
		return fileExtent{}, err
	}
	if b == nil {
		return fileExtent{}, fs.itemError(t, k, "missing")
	}
	e, err := fs.parseExtent(t, k, b)
	if err == nil && e.kind != extInline {
		err = fs.itemError(t, k, "type %d, want inline data", e.kind)
	}
	return e, err
}

// inlineData unpacks what an inline extent holds.
func (fs *FS) inlineData(t *tree, obj uint64, e *fileExtent) ([]byte, error) {
	b := e.raw[extInlineData:]
	if e.compr == 0 {
		return bytes.Clone(b), nil
	}
	out, err := unpack(methods[e.compr], b, int(e.ram), fs.ss)
	if err != nil {
		return nil, fs.itemError(t, key{obj, keyExtentData, 0}, "%s: %v", methods[e.compr], err)
	}
	return out, nil
}

// Inline returns the contents of a file that keeps them in its item; of an
// encrypted one the ciphertext.
func (fs *FS) Inline(ino image.Ino) ([]byte, error) {
	t, obj, r, err := fs.look(ino)
	if err != nil {
		return nil, err
	}
	e, err := fs.inlineItem(t, obj)
	if err != nil {
		return nil, err
	}
	b, err := fs.inlineData(t, obj, &e)
	if err != nil || e.enc == 1 {
		return b, err
	}
	return b[:min(uint64(len(b)), r.u64(offInoSize))], nil
}

// ReadLink returns what a symlink stores.
func (fs *FS) ReadLink(ino image.Ino) ([]byte, error) {
	t, obj, r, err := fs.look(ino)
	if err != nil {
		return nil, err
	}
	if r.fileType() != image.TypeSymlink {
		return nil, fmt.Errorf("inode %d: not a symlink", ino)
	}
	e, err := fs.inlineItem(t, obj)
	if err != nil {
		return nil, err
	}
	b, err := fs.inlineData(t, obj, &e)
	// mkfs.btrfs --rootdir of some releases stores a NUL behind the target, which
	// the size does not count.
	if size := r.u64(offInoSize); e.enc == 0 && uint64(len(b)) == size+1 && b[size] == 0 {
		b = b[:size]
	}
	if err == nil && uint64(len(b)) != r.u64(offInoSize) {
		err = fs.itemError(t, key{obj, keyExtentData, 0}, "%d bytes, the inode says %d", len(b), r.u64(offInoSize))
	}
	return b, err
}
