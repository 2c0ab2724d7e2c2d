package ext4

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"fsenc/internal/image"
)

// Fields of struct ext4_xattr_header, at the start of an xattr block. In the
// inode body only the magic stands before the entries.
const (
	offXhMagic    = 0x00 // le32 h_magic
	offXhRefcount = 0x04 // le32 h_refcount: inodes that share the block
	offXhBlocks   = 0x08 // le32 h_blocks, 1
	offXhHash     = 0x0c // le32 h_hash
	offXhChecksum = 0x10 // le32 h_checksum

	xattrMagic       = 0xea020000
	xattrBlockHeader = 32
	xattrIbodyHeader = 4
	xattrMaxRefcount = 1024
	xattrMaxSize     = 1 << 24 // bytes of a value in an inode of its own
	xattrMaxValue    = 1 << 16 // bytes of what setxattr(2) takes, XATTR_SIZE_MAX
)

// Fields of struct ext4_xattr_entry.
const (
	offXeNameLen   = 0x0 // u8 e_name_len
	offXeNameIndex = 0x1 // u8 e_name_index
	offXeValueOffs = 0x2 // le16 e_value_offs
	offXeValueInum = 0x4 // le32 e_value_inum
	offXeValueSize = 0x8 // le32 e_value_size
	offXeHash      = 0xc // le32 e_hash
	offXeName      = 0x10

	xattrListEnd = 4 // zero bytes after the last entry
)

// Name indexes: each stands for a prefix, two of them for a whole name.
const (
	xattrUser       = 1
	xattrACLAccess  = 2
	xattrACLDefault = 3
	xattrTrusted    = 4
	xattrSecurity   = 6
	xattrSystem     = 7
	xattrRichACL    = 8
	xattrEncryption = 9
	xattrHurd       = 10
)

// xattr is an entry of a list, with its value unless that lies in an inode.
type xattr struct {
	index uint8
	name  string // without the prefix
	value []byte // nil if ino is set
	ino   image.Ino
	size  uint32 // of the value, wherever it lies
	hash  uint32 // e_hash as found: in the inode body usually 0
}

func (x *xattr) is(index uint8, name string) bool { return x.index == index && x.name == name }

// entrySize is the room of the entry, valueRoom that of its value in the area.
func (x *xattr) entrySize() int { return (offXeName + len(x.name) + 3) &^ 3 }

func (x *xattr) valueRoom() int {
	if x.ino != 0 {
		return 0
	}
	return (len(x.value) + 3) &^ 3
}

// xattrOrder is how entries of a block must be sorted: the kernel stops
// searching at the first that is greater.
func xattrOrder(a, b xattr) int {
	return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
}

// parseXattrs reads the entries of an area, which begin at first; the offsets
// of values count from the start of the area. Lists out of order are read: a
// rebuilt block is sorted. Names and values point into the area.
func parseXattrs(area []byte, first int) ([]xattr, error) {
	list := make([]xattr, 0, 2) // mostly the context, and what a security module adds
	var few [4][2]int           // more are rare
	spans := few[:0]
	off := first
	for ; ; off += list[len(list)-1].entrySize() {
		if off+xattrListEnd > len(area) {
			return nil, fmt.Errorf("entry at %d: list has no end", off)
		}
		if le.Uint32(area[off:]) == 0 {
			break
		}
		x, at, err := parseXattr(area, off)
		if err != nil {
			return nil, fmt.Errorf("entry at %d: %w", off, err)
		}
		list = append(list, x)
		if n := x.valueRoom(); n > 0 {
			spans = append(spans, [2]int{at, at + n})
		}
	}
	return list, checkSpans(spans, off+xattrListEnd, len(area))
}

// parseXattr reads the entry at off and returns the offset of its value.
func parseXattr(area []byte, off int) (x xattr, at int, err error) {
	e := area[off:]
	if len(e) < offXeName || len(e) < offXeName+int(e[offXeNameLen]) {
		return x, 0, errors.New("reaches past the end")
	}
	x = xattr{
		index: e[offXeNameIndex],
		name:  string(e[offXeName : offXeName+int(e[offXeNameLen])]),
		ino:   image.Ino(le.Uint32(e[offXeValueInum:])),
		size:  le.Uint32(e[offXeValueSize:]),
		hash:  le.Uint32(e[offXeHash:]),
	}
	at = int(le.Uint16(e[offXeValueOffs:]))
	switch {
	case x.index == 0 && x.name == "":
		return x, 0, errors.New("no name")
	case strings.IndexByte(x.name, 0) >= 0:
		return x, 0, fmt.Errorf("NUL in name %q", x.name)
	case x.ino != 0 && x.size > xattrMaxSize:
		return x, 0, fmt.Errorf("value of %d bytes in inode %d", x.size, x.ino)
	case x.ino != 0 || x.size == 0:
		return x, 0, nil
	case int64(at)+int64(x.size) > int64(len(area)):
		return x, 0, fmt.Errorf("value of %d bytes at %d reaches past the end", x.size, at)
	}
	x.value = area[at : at+int(x.size) : at+int(x.size)]
	return x, at, nil
}

// checkSpans refuses values that meet one another or the list of entries.
func checkSpans(spans [][2]int, low, high int) error {
	slices.SortFunc(spans, func(a, b [2]int) int { return a[0] - b[0] })
	for _, s := range spans {
		if s[0] < low {
			return fmt.Errorf("value at %d overlaps what ends at %d", s[0], low)
		}
		low = s[1]
	}
	if low > high {
		return fmt.Errorf("value ends at %d, past the end", low)
	}
	return nil
}

// xattrsFit reports whether list fits into an area of n bytes from the first
// entry on.
func xattrsFit(list []xattr, n int) bool {
	need := xattrListEnd
	for i := range list {
		need += list[i].entrySize() + list[i].valueRoom()
	}
	return need <= n
}

// buildXattrs writes list, which fits, into an area from first on: entries
// upwards, values from the end downwards, zeros between. The values must not
// point into the area.
func buildXattrs(area []byte, first int, list []xattr) {
	clear(area[first:])
	off, end := first, len(area)
	for i := range list {
		x := &list[i]
		e := area[off:]
		e[offXeNameLen] = byte(len(x.name))
		e[offXeNameIndex] = x.index
		if n := x.valueRoom(); n > 0 {
			end -= n
			copy(area[end:], x.value)
			le.PutUint16(e[offXeValueOffs:], uint16(end))
		}
		le.PutUint32(e[offXeValueInum:], uint32(x.ino))
		le.PutUint32(e[offXeValueSize:], x.size)
		le.PutUint32(e[offXeHash:], x.hash)
		copy(e[offXeName:], x.name)
		off += x.entrySize()
	}
}

// hashXattr is the e_hash of an entry whose value lies in the area. Of a value
// in an inode the checksum is hashed in its place, and e_hash is kept as found.
func hashXattr(name string, value []byte) uint32 {
	var h uint32
	for i := range len(name) {
		h = bits.RotateLeft32(h, 5) ^ uint32(name[i])
	}
	for len(value) > 0 {
		var word [4]byte
		value = value[copy(word[:], value):]
		h = bits.RotateLeft32(h, 16) ^ le.Uint32(word[:])
	}
	return h
}

// hashXattrs is the h_hash of a block; 0 says that it cannot be shared.
func hashXattrs(list []xattr) uint32 {
	var h uint32
	for _, x := range list {
		if x.hash == 0 {
			return 0
		}
		h = bits.RotateLeft32(h, 16) ^ x.hash
	}
	return h
}

// cloneXattrs copies list, so that the area it was read from can be rebuilt.
func cloneXattrs(list []xattr) []xattr {
	list = slices.Clone(list)
	for i := range list {
		list[i].value = slices.Clone(list[i].value)
	}
	return list
}

// withoutXattr returns list without the entries of one name, and whether
// there was one.
func withoutXattr(list []xattr, index uint8, name string) ([]xattr, bool) {
	n := len(list)
	list = slices.DeleteFunc(list, func(x xattr) bool { return x.is(index, name) })
	return list, len(list) < n
}

// findXattr returns the entry of a name, nil if there is none.
func findXattr(list []xattr, index uint8, name string) *xattr {
	for i := range list {
		if list[i].is(index, name) {
			return &list[i]
		}
	}
	return nil
}
