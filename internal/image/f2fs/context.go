package f2fs

import (
	"bytes"
	"fmt"
	"slices"

	"fsenc/internal/image"
)

// inlineRoom is how much of the string of attributes lies in the inode, in bytes.
func (in *inode) inlineRoom() int {
	if in.inline(inXattr) {
		return 4 * in.words
	}
	return 0
}

// fits reports whether a list can be stored, and whether it takes a node. The
// string may fill the inline area to its end; behind a node there is an end.
func (in *inode) fits(list []xattr) (ok, node bool) {
	n := xattrsSize(list)
	if len(list) == 0 || n <= in.inlineRoom() {
		return true, false
	}
	return n+4 <= in.inlineRoom()+xattrNodeRoom, true
}

// otherXattrs returns the attributes but the context, in memory of their own.
func (fs *FS) otherXattrs(in *inode) ([]xattr, error) {
	list, err := fs.xattrs(in)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(x xattr) bool { return x.is(xattrEncryption, xattrContext) })
	for i := range list {
		list[i].name, list[i].value = bytes.Clone(list[i].name), bytes.Clone(list[i].value)
	}
	return list, nil
}

func contextXattr(context []byte) xattr {
	return xattr{index: xattrEncryption, name: []byte(xattrContext), value: context}
}

// SetContext stores the context behind the other attributes, as the kernel does,
// and marks the inode encrypted; nil removes both.
func (fs *FS) SetContext(ino image.Ino, context []byte) error {
	in, err := fs.inode(ino)
	if err != nil {
		return err
	}
	list, err := fs.otherXattrs(in)
	if err != nil {
		return err
	}
	if context != nil {
		list = append(list, contextXattr(context))
	}
	fs.put(in)
	in.setAdvise(advEncrypt, context != nil)
	return fs.setXattrs(in, list)
}

// setXattrs stores a list, with a node of attributes if it takes one, and
// without one otherwise.
func (fs *FS) setXattrs(in *inode, list []xattr) error {
	ok, node := in.fits(list)
	if !ok {
		return contextRoomError(in.ino)
	}
	room := in.inlineRoom()
	size := room
	if node {
		size += xattrNodeRoom
	}
	b := buildXattrs(list, size)
	copy(in.xattrArea()[:room], b)
	nid := in.u32(offXattrNid)
	if !node {
		if nid == 0 {
			return nil
		}
		in.set32(offXattrNid, 0)
		if err := fs.dropNode(nid); err != nil {
			return err
		}
		return fs.addBlocks(in, -1)
	}
	raw, err := fs.xattrNode(in, nid)
	if err != nil {
		return err
	}
	clear(raw[:xattrNodeRoom])
	copy(raw, b[room:])
	return nil
}

// xattrNode returns the node of attributes for changing, a new one if nid is 0.
func (fs *FS) xattrNode(in *inode, nid uint32) (rawNode, error) {
	if nid != 0 {
		raw, err := fs.childNode(in.ino, nid, ofsXattr)
		if err == nil {
			fs.edit(nid, raw, fs.nodeLog(in))
		}
		return raw, err
	}
	nid, raw, err := fs.newNode(uint32(in.ino), ofsXattr, fs.nodeLog(in), in.fileType() != image.TypeDirectory)
	if err != nil {
		return nil, err
	}
	in.set32(offXattrNid, nid)
	return raw, fs.addBlocks(in, 1)
}

func contextRoomError(ino image.Ino) error {
	return fmt.Errorf("%w: inode %d has no room for a context beside its extended attributes", image.ErrUnsupported, ino)
}
