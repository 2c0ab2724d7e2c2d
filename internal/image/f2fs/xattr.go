package f2fs

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"fsenc/internal/image"
	"fsenc/internal/image/acl"
	"fsenc/internal/store"
)

// The attributes of an inode are one string: the inline area, if the inode has
// one in use, and then the node of attributes, if there is one. It begins with
// struct f2fs_xattr_header; entries follow, padded to 4 bytes, up to a zero word
// or the end.
const (
	xattrMagic    = 0xf2f52011
	xattrHeader   = 24
	offXattrRef   = 4 // le32 h_refcount, 1
	xattrNodeRoom = offFootNid

	xattrEntryHeader = 4 // u8 name index, u8 length of the name, le16 of the value
)

// Name indexes.
const (
	xattrUser       = 1
	xattrACLAccess  = 2
	xattrACLDefault = 3
	xattrTrusted    = 4
	xattrSecurity   = 6
	xattrAdvise     = 7
	xattrEncryption = 9
	xattrVerity     = 11

	xattrContext    = "c"
	xattrDescriptor = "v"
)

// xattrPrefixes are what the indexes that are listed stand for.
var xattrPrefixes = map[uint8]string{
	xattrUser:       "user.",
	xattrACLAccess:  "system.posix_acl_access",
	xattrACLDefault: "system.posix_acl_default",
	xattrTrusted:    "trusted.",
	xattrSecurity:   "security.",
}

// xattr is an entry of the string; name and value point into it.
type xattr struct {
	index uint8
	name  []byte
	value []byte
}

func (x *xattr) is(index uint8, name string) bool { return x.index == index && string(x.name) == name }

func (x *xattr) size() int { return (xattrEntryHeader + len(x.name) + len(x.value) + 3) &^ 3 }

// parseXattrs reads the entries of a string, which may be all zeros.
func parseXattrs(b []byte) ([]xattr, error) {
	if len(b) < xattrHeader || store.IsZero(b[:xattrHeader]) {
		if !store.IsZero(b) {
			return nil, errors.New("no header, and bytes that are not zero")
		}
		return nil, nil
	}
	if m := le.Uint32(b); m != xattrMagic {
		return nil, fmt.Errorf("magic %#x, want %#x", m, xattrMagic)
	}
	var list []xattr
	for off := xattrHeader; off+4 <= len(b) && le.Uint32(b[off:]) != 0; {
		e := b[off:]
		name, value := int(e[1]), int(le.Uint16(e[2:]))
		x := xattr{index: e[0]}
		if xattrEntryHeader+name+value > len(e) {
			return nil, fmt.Errorf("entry at %d: name of %d and value of %d bytes reach past the end", off, name, value)
		}
		x.name, x.value = e[xattrEntryHeader:][:name], e[xattrEntryHeader+name:][:value]
		list = append(list, x)
		off += x.size()
	}
	return list, nil
}

// xattrsSize is the length of the string of a list, without an end.
func xattrsSize(list []xattr) int {
	n := xattrHeader
	for i := range list {
		n += list[i].size()
	}
	return n
}

// buildXattrs makes a string of n bytes, which the list fits into; of an empty
// list it is all zeros.
func buildXattrs(list []xattr, n int) []byte {
	b := make([]byte, n)
	if len(list) == 0 {
		return b
	}
	le.PutUint32(b, xattrMagic)
	le.PutUint32(b[offXattrRef:], 1)
	off := xattrHeader
	for i := range list {
		x := &list[i]
		e := b[off:]
		e[0], e[1] = x.index, byte(len(x.name))
		le.PutUint16(e[2:], uint16(len(x.value)))
		copy(e[xattrEntryHeader:], x.name)
		copy(e[xattrEntryHeader+len(x.name):], x.value)
		off += x.size()
	}
	return b
}

// xattrs reads the attributes of an inode. They may point into its block.
func (fs *FS) xattrs(in *inode) ([]xattr, error) {
	var b []byte
	if in.inline(inXattr) {
		b = slices.Clip(in.xattrArea())
	}
	if nid := in.u32(offXattrNid); nid != 0 {
		r, err := fs.childNode(in.ino, nid, ofsXattr)
		if err != nil {
			return nil, err
		}
		b = append(b, r[:xattrNodeRoom]...)
	}
	list, err := parseXattrs(b)
	if err != nil {
		return nil, fs.corrupt("extended attributes", in.ino, in.at, "%v", err)
	}
	return list, nil
}

func findXattr(list []xattr, index uint8, name string) *xattr {
	for i := range list {
		if list[i].is(index, name) {
			return &list[i]
		}
	}
	return nil
}

// Context returns the stored encryption context, nil if there is none.
func (fs *FS) Context(ino image.Ino) (context []byte, err error) {
	err = fs.glance(ino, func(in *inode) error {
		list, err := fs.xattrs(in)
		if err != nil {
			return err
		}
		if x := findXattr(list, xattrEncryption, xattrContext); x != nil {
			context = bytes.Clone(x.value)
		}
		return nil
	})
	return context, err
}

// Xattrs returns the extended attributes that the kernel lists.
func (fs *FS) Xattrs(ino image.Ino) ([]image.Xattr, error) {
	in, err := fs.inode(ino)
	if err != nil {
		return nil, err
	}
	list, err := fs.xattrs(in)
	if err != nil {
		return nil, err
	}
	var out []image.Xattr
	for i := range list {
		x := &list[i]
		prefix, listed := xattrPrefixes[x.index]
		if !listed {
			continue
		}
		value := bytes.Clone(x.value)
		if x.index == xattrACLAccess || x.index == xattrACLDefault {
			if value, err = acl.Xattr(x.value); err != nil {
				return nil, fs.corrupt("extended attributes", ino, in.at, "%v", err)
			}
		}
		out = append(out, image.Xattr{Name: prefix + string(x.name), Value: value})
	}
	return out, nil
}
