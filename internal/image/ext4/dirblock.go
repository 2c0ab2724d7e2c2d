package ext4

import (
	"errors"
	"fmt"

	"fsenc/internal/image"
)

// Fields of struct ext4_dir_entry_2.
const (
	offDeInode    = 0 // le32, 0 in an unused entry
	offDeRecLen   = 4 // le16, see recLen
	offDeNameLen  = 6 // u8; le16 without the filetype feature, the high byte 0
	offDeFileType = 7 // u8
	offDeName     = 8

	deHeader   = 8
	deMinimal  = 12 // the shortest entry: one byte of name
	deHashLen  = 8  // struct ext4_dir_entry_hash after the padded name
	deTailLen  = 12 // struct ext4_dir_entry_tail, shaped as an unused entry
	deTailType = 0xde
	maxNameLen = 255

	dirOverhead = 2 * deMinimal // "." and ".." of block 0
)

// dirForm is what decides how entries lie in the blocks of a directory.
type dirForm struct {
	blockSize int    // bytes, of a block or of an inline area
	tail      bool   // a checksum entry ends each leaf
	fileType  bool   // entries carry a type
	hashed    bool   // encrypted and casefolded: two hashes follow each name but the dots
	maxIno    uint32 // s_inodes_count
}

// usable is the part of a leaf that entries cover.
func (f dirForm) usable() int {
	if f.tail {
		return f.blockSize - deTailLen
	}
	return f.blockSize
}

// entrySize is the room that an entry other than the dots needs.
func (f dirForm) entrySize(nameLen int) int {
	n := (deHeader + nameLen + 3) &^ 3
	if f.hashed {
		n += deHashLen
	}
	return n
}

// dirEntry is a used entry of a block. Name points into the block.
type dirEntry struct {
	image.Dirent
	off int // of the entry in the block
}

// isDot reports whether e is "." or "..", which exist in block 0 only and are
// never encrypted. Ciphertext is at least 16 bytes and cannot look like them.
func (e *dirEntry) isDot() bool {
	return string(e.Name) == "." || string(e.Name) == ".."
}

// recLen decodes a record length. With blocks of 64 KiB the length of a whole
// block does not fit in 16 bits and is 65535 or 0; its two low bits, unused
// otherwise, are bits 16 and 17.
func (f dirForm) recLen(b []byte) int {
	n := int(le.Uint16(b[offDeRecLen:]))
	if f.blockSize < 65536 {
		return n
	}
	if n == 0 || n == 65535 {
		return f.blockSize
	}
	return n&^3 | n&3<<16
}

func putRecLen(b []byte, n int) {
	le.PutUint16(b[offDeRecLen:], uint16(min(n, 65535)))
}

// hasTail reports whether the block ends in a checksum entry.
func (f dirForm) hasTail(block []byte) bool {
	t := block[f.blockSize-deTailLen:]
	return le.Uint32(t) == 0 && le.Uint16(t[offDeRecLen:]) == deTailLen &&
		t[offDeNameLen] == 0 && t[offDeFileType] == deTailType
}

// parse appends the used entries of a leaf to dst, dots included. The record
// lengths must cover the leaf exactly, as the kernel and e2fsck demand. The
// checksum is not looked at.
func (f dirForm) parse(dst []dirEntry, block []byte) ([]dirEntry, error) {
	if f.tail && !f.hasTail(block) {
		return dst, errors.New("no checksum entry at its end")
	}
	end := f.usable()
	for off := 0; off < end; {
		if end-off < deMinimal {
			return dst, fmt.Errorf("offset %d: %d bytes left, less than an entry", off, end-off)
		}
		b := block[off:end]
		n := f.recLen(b)
		if err := f.check(b, n); err != nil {
			return dst, fmt.Errorf("offset %d: %w", off, err)
		}
		if le.Uint32(b) != 0 {
			dst = append(dst, dirEntry{f.dirent(b), off})
		}
		off += n
	}
	return dst, nil
}

// check verifies the entry at the start of b, of n bytes.
func (f dirForm) check(b []byte, n int) error {
	if n < deMinimal || n%4 != 0 || n > len(b) {
		return fmt.Errorf("record length %d", n)
	}
	ino, nameLen := le.Uint32(b), int(b[offDeNameLen])
	switch {
	case ino > f.maxIno:
		return fmt.Errorf("inode %d, of %d", ino, f.maxIno)
	case ino == 0:
		return nil // what an unused entry says of its name is a leftover
	case nameLen == 0:
		return errors.New("empty name")
	}
	need := f.entrySize(nameLen)
	if f.hashed && isDotName(b[offDeName:], nameLen) {
		need = deMinimal
	}
	if n < need {
		return fmt.Errorf("record length %d, name of %d bytes", n, nameLen)
	}
	return nil
}

func isDotName(b []byte, nameLen int) bool {
	return nameLen == 1 && b[0] == '.' || nameLen == 2 && b[0] == '.' && b[1] == '.'
}

// dirent decodes a checked, used entry.
func (f dirForm) dirent(b []byte) image.Dirent {
	nameLen := int(b[offDeNameLen])
	d := image.Dirent{
		Name: b[offDeName : offDeName+nameLen : offDeName+nameLen],
		Ino:  image.Ino(le.Uint32(b)),
	}
	if t := image.FileType(b[offDeFileType]); f.fileType && t <= image.TypeSymlink {
		d.Type = t
	}
	if f.hashed && !isDotName(b[offDeName:], nameLen) {
		at := (deHeader + nameLen + 3) &^ 3
		d.Hash = le.Uint32(b[at:])
		d.MinorHash = le.Uint32(b[at+4:])
	}
	return d
}

// leafWriter fills a block, all zeros at first, with entries from its start,
// so that nothing of what the block held before can show through.
type leafWriter struct {
	dirForm
	block []byte
	used  int // offset of the next entry
	last  int // offset of the last entry, -1 if there is none
}

func newLeafWriter(f dirForm) *leafWriter {
	return &leafWriter{dirForm: f, block: make([]byte, f.blockSize), last: -1}
}

func (w *leafWriter) reset() {
	clear(w.block)
	w.used, w.last = 0, -1
}

// fits reports whether an entry of the given size has room.
func (w *leafWriter) fits(size int) bool { return w.used+size <= w.usable() }

// add appends an entry; the caller has asked fits.
func (w *leafWriter) add(d image.Dirent) {
	size := w.entrySize(len(d.Name))
	if w.hashed {
		h := w.block[w.used+size-deHashLen:]
		le.PutUint32(h, d.Hash)
		le.PutUint32(h[4:], d.MinorHash)
	}
	w.put(d, size)
}

// addDot appends "." or "..".
func (w *leafWriter) addDot(name string, ino image.Ino) {
	w.put(image.Dirent{Name: []byte(name), Ino: ino, Type: image.TypeDirectory}, deMinimal)
}

func (w *leafWriter) put(d image.Dirent, size int) {
	b := w.block[w.used:]
	le.PutUint32(b, uint32(d.Ino))
	putRecLen(b, size)
	b[offDeNameLen] = byte(len(d.Name))
	if w.fileType {
		b[offDeFileType] = byte(d.Type)
	}
	copy(b[offDeName:], d.Name)
	w.last = w.used
	w.used += size
}

// finish gives the rest of the leaf to its last entry, or to an unused one,
// and adds the tail, its checksum still zero.
func (w *leafWriter) finish() []byte {
	end := w.usable()
	if w.last < 0 {
		putRecLen(w.block, end)
	} else {
		putRecLen(w.block[w.last:], end-w.last)
	}
	if w.tail {
		t := w.block[end:]
		putRecLen(t, deTailLen)
		t[offDeFileType] = deTailType
	}
	return w.block
}
