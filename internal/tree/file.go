package tree

import (
	"fmt"
	"io"
	"math"
	"sort"

	"fsenc/internal/crypt"
	"fsenc/internal/image"
)

// chunk is what ReadFile reads and decrypts at a time, in bytes: a multiple of
// every block size.
const chunk = 1 << 20

// Range is a run of bytes of a file that is not a hole.
type Range struct{ Off, Len int64 }

// File reads the contents of a regular file, decrypted. Its methods may be
// called from several goroutines, except Close.
type File struct {
	fs      image.FS
	node    Node
	size    int64
	bs      int64
	inline  []byte // contents, if they are in the inode
	extents []image.Extent
	stored  bool            // ciphertext is wanted
	cipher  *crypt.Contents // nil if the file is not encrypted
	own     *extentKeys     // nil if no extent has a key of its own
}

// Open opens a regular file; the error wraps crypt.ErrNoKey if its key is
// missing. Close wipes the derived key.
func (t *Tree) Open(n Node) (*File, error) { return t.open(n, false) }

// OpenStored opens a regular file to read what is stored: the ciphertext of
// an encrypted one, of whole blocks, so that the size is rounded up.
func (t *Tree) OpenStored(n Node) (*File, error) { return t.open(n, true) }

func (t *Tree) open(n Node, stored bool) (*File, error) {
	attr, err := t.fs.Stat(n.Ino)
	if err != nil {
		return nil, n.wrap(err)
	}
	if attr.Type != image.TypeRegular {
		return nil, n.wrap(fmt.Errorf("a %s has no contents", attr.Type))
	}
	f := &File{fs: t.fs, node: n, size: attr.Size, bs: int64(t.bs), stored: stored}
	if attr.Inline {
		return f, n.wrap(t.openInline(f, attr))
	}
	if err := f.mapped(); err != nil || !attr.Encrypted {
		return f, n.wrap(err)
	}
	if stored {
		f.size = f.blockCount() * f.bs
		return f, nil
	}
	c, key, err := t.key(n.Ino)
	if err != nil {
		return nil, n.wrap(err)
	}
	if f.hasOwnKeys() {
		f.own = t.extentKeys(key, c)
		return f, nil
	}
	if f.cipher, err = key.Contents(c, uint64(n.Ino), t.vol); err != nil {
		return nil, n.wrap(err)
	}
	return f, nil
}

// mapped reads the mapping, of which only written blocks up to the end of the
// file matter.
func (f *File) mapped() error {
	if f.size < 0 || f.blockCount() > math.MaxInt64/f.bs {
		return &image.CorruptError{What: "inode", Ino: f.node.Ino, Why: fmt.Sprintf("size %d", f.size)}
	}
	extents, err := f.fs.Extents(f.node.Ino)
	for _, e := range extents {
		if !e.Unwritten && int64(e.Lblk) < f.blockCount() {
			f.extents = append(f.extents, e)
		}
	}
	return err
}

// blockCount is the size in blocks, rounded up.
func (f *File) blockCount() int64 {
	n := f.size / f.bs
	if f.size%f.bs > 0 {
		n++
	}
	return n
}

// Close wipes the derived key.
func (f *File) Close() {
	if f.cipher != nil {
		f.cipher.Close()
	}
}

// Size is the length in bytes.
func (f *File) Size() int64 { return f.size }

// Ranges returns what is not a hole, in ascending order. Unwritten extents
// read as zeros and are holes here.
func (f *File) Ranges() []Range {
	if len(f.inline) > 0 {
		return []Range{{0, f.size}}
	}
	var out []Range
	for _, e := range f.extents {
		r := Range{int64(e.Lblk) * f.bs, int64(e.Len) * f.bs}
		r.Len = min(r.Len, f.size-r.Off)
		if n := len(out); n > 0 && out[n-1].Off+out[n-1].Len == r.Off {
			out[n-1].Len += r.Len
		} else {
			out = append(out, r)
		}
	}
	return out
}

// ReadAt implements io.ReaderAt. Holes read as zeros.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, f.node.wrap(fmt.Errorf("offset %d", off))
	}
	if off >= f.size {
		return 0, io.EOF
	}
	var eof error
	if int64(len(p)) > f.size-off {
		p, eof = p[:f.size-off], io.EOF
	}
	if f.inline != nil {
		n := 0
		if off < int64(len(f.inline)) {
			n = copy(p, f.inline[off:])
		}
		clear(p[n:])
		return len(p), eof
	}
	var part scratch
	defer part.wipe()
	for done := 0; done < len(p); {
		n, err := f.piece(p[done:], off+int64(done), &part)
		if err != nil {
			return done, f.node.wrap(err)
		}
		done += n
	}
	return len(p), eof
}

// scratch is what a read keeps from one piece to the next.
type scratch struct {
	edge     []byte        // a block of which only a part is wanted
	packed   *image.Packed // whose contents are unpacked
	unpacked []byte
}

func (s *scratch) wipe() {
	clear(s.edge)
	clear(s.unpacked)
}

// piece fills the start of p: zeros of a hole, whole blocks of one extent,
// part of a block, or what a packed extent holds.
func (f *File) piece(p []byte, off int64, part *scratch) (int, error) {
	lblk, in := image.Lblk(off/f.bs), off%f.bs
	i := sort.Search(len(f.extents), func(i int) bool { return f.extents[i].Lblk > lblk })
	if i == 0 || lblk-f.extents[i-1].Lblk >= image.Lblk(f.extents[i-1].Len) {
		n := int64(len(p))
		if i < len(f.extents) {
			n = min(n, int64(f.extents[i].Lblk)*f.bs-off)
		}
		clear(p[:n])
		return int(n), nil
	}
	e := f.extents[i-1]
	if e.Packed != nil {
		return f.unpack(p, off, e, part)
	}
	skip := uint64(lblk - e.Lblk)
	if in == 0 && int64(len(p)) >= f.bs {
		blocks := min(uint64(int64(len(p))/f.bs), e.Len-skip)
		n := int64(blocks) * f.bs
		return int(n), f.blocks(p[:n], e, skip)
	}
	if part.edge == nil {
		part.edge = make([]byte, f.bs)
	}
	if err := f.blocks(part.edge, e, skip); err != nil {
		return 0, err
	}
	return copy(p, part.edge[in:]), nil
}

// blocks reads and decrypts whole blocks of an extent, from its skip-th on.
func (f *File) blocks(p []byte, e image.Extent, skip uint64) error {
	if err := f.fs.ReadBlocks(p, e.Pblk+image.Pblk(skip)); err != nil {
		return err
	}
	unit := uint64(int64(e.Lblk)+e.Shift) + skip
	switch {
	case f.stored || e.Plain:
		return nil
	case f.own != nil:
		return f.own.decrypt(p, e, unit)
	case f.cipher != nil:
		f.cipher.DecryptBlocks(p, p, unit)
	}
	return nil
}

// unpack fills the start of p with what a packed extent holds at off.
func (f *File) unpack(p []byte, off int64, e image.Extent, part *scratch) (int, error) {
	if f.stored {
		return 0, fmt.Errorf("%w: the ciphertext of a compressed extent, which has no place in the file", image.ErrUnsupported)
	}
	if part.packed != e.Packed {
		if err := f.unpackInto(part, e.Packed); err != nil {
			return 0, err
		}
	}
	start := int64(e.Lblk) * f.bs
	n := min(int64(len(p)), start+int64(e.Len)*f.bs-off)
	held := part.unpacked[min(e.Packed.Skip+off-start, int64(len(part.unpacked))):]
	clear(p[copy(p[:n], held):n])
	return int(n), nil
}

// unpackInto reads, decrypts and unpacks a stream.
func (f *File) unpackInto(part *scratch, packed *image.Packed) error {
	u, ok := f.fs.(image.Unpacker)
	if !ok {
		return fmt.Errorf("%w: compressed extents", image.ErrUnsupported)
	}
	var size int64
	for _, x := range packed.Stream {
		size += int64(x.Len) * f.bs
	}
	stream := make([]byte, size)
	defer clear(stream)
	rest := stream
	for _, x := range packed.Stream {
		n := int64(x.Len) * f.bs
		if err := f.blocks(rest[:n], x, 0); err != nil {
			return err
		}
		rest = rest[n:]
	}
	out, err := u.Unpack(packed, stream)
	if err != nil {
		return err
	}
	clear(part.unpacked)
	part.packed, part.unpacked = packed, out
	return nil
}

// ReadFile writes the contents of a regular file to w, holes as zeros.
func (t *Tree) ReadFile(n Node, w io.Writer) error {
	f, err := t.Open(n)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteTo(w)
	return err
}

// WriteTo implements io.WriterTo. While one part of the file is written to w
// the next is read and decrypted.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	if f.size <= chunk {
		p := make([]byte, f.size)
		if _, err := f.ReadAt(p, 0); err != nil && err != io.EOF {
			return 0, err
		}
		n, err := w.Write(p)
		return int64(n), err
	}
	ahead := f.readAhead()
	defer ahead.stop()
	var total int64
	for {
		p, err := ahead.next()
		if err != nil || p == nil {
			return total, err
		}
		n, err := w.Write(p)
		total += int64(n)
		if err != nil {
			return total, err
		}
		ahead.release(p)
	}
}
