package ext4

import (
	"fmt"

	"fsenc/internal/image"
	"fsenc/internal/image/acl"
)

// The context is the attribute "c" with index 9, never in an inode of its own.
const xattrContext = "c"

// Context returns the stored encryption context, nil if there is none,
// whatever the inode's flag says. Like the kernel it looks into the inode
// first, then into the attribute block.
func (fs *FS) Context(ino image.Ino) ([]byte, error) {
	in, err := fs.look(ino)
	if err != nil {
		return nil, err
	}
	list, err := fs.ibodyXattrs(in)
	if err != nil {
		return nil, err
	}
	x := findXattr(list, xattrEncryption, xattrContext)
	if x == nil {
		b, err := fs.xattrBlock(in)
		if err != nil || b == nil {
			return nil, err
		}
		x = findXattr(b.list, xattrEncryption, xattrContext)
	}
	if x == nil {
		return nil, nil
	}
	if x.ino != 0 {
		return nil, fs.corrupt("encryption context", ino, 0, "value in inode %d", x.ino)
	}
	return append([]byte{}, x.value...), nil
}

// SetContext stores the context and sets ENCRYPT; nil removes both. The DAX
// flag, with which the kernel refuses a policy, is cleared. An inode whose
// contents are inline is refused unless it is a file and there is the feature
// for that: there is no such encrypted inode, and the contents may take the room
// of the context. The attributes that stay are laid out again, so that of
// removed bytes nothing remains between them.
func (fs *FS) SetContext(ino image.Ino, context []byte) error {
	in, err := fs.inode(ino)
	if err != nil {
		return err
	}
	if context != nil && in.raw.hasFlag(flInlineData) && !fs.mayEncryptInline(in) {
		return fmt.Errorf("%w: context on inode %d, whose contents are inline", image.ErrUnsupported, ino)
	}
	body, block, err := fs.otherXattrs(in)
	if err != nil {
		return err
	}
	in.raw.setFlags(in.raw.flags() &^ flEncrypt)
	if context != nil {
		in.raw.setFlags(in.raw.flags()&^flDAX | flEncrypt)
		return fs.placeContext(in, body, block, context)
	}
	fs.setIbodyXattrs(in, body)
	if err := fs.removeBlockContext(in, block); err != nil {
		return err
	}
	return fs.putInode(in)
}

// otherXattrs returns the attributes in the inode without the context, and the
// attribute block as it is. A contexts's place is taken anew each time.
func (fs *FS) otherXattrs(in *inode) ([]xattr, *xattrBlock, error) {
	body, err := fs.ibodyXattrs(in)
	if err != nil {
		return nil, nil, err
	}
	body, _ = withoutXattr(cloneXattrs(body), xattrEncryption, xattrContext)
	block, err := fs.xattrBlock(in)
	return body, block, err
}

// removeBlockContext takes the context out of the attribute block, if it is there.
func (fs *FS) removeBlockContext(in *inode, block *xattrBlock) error {
	if block == nil {
		return nil
	}
	list, found := withoutXattr(cloneXattrs(block.list), xattrEncryption, xattrContext)
	if !found {
		return nil
	}
	return fs.setBlockXattrs(in, block, list)
}

// placeContext stores the context where the kernel would: in the inode, or in
// the attribute block if the inode has no room. Other attributes do not move.
func (fs *FS) placeContext(in *inode, body []xattr, block *xattrBlock, context []byte) error {
	x := xattr{index: xattrEncryption, name: xattrContext, value: context, size: uint32(len(context))}
	fs.growExtraIsize(in)
	if fs.setIbodyXattrs(in, append(body, x)) {
		if err := fs.removeBlockContext(in, block); err != nil {
			return err
		}
		return fs.putInode(in)
	}
	fs.setIbodyXattrs(in, body)
	var list []xattr
	if block != nil {
		list, _ = withoutXattr(cloneXattrs(block.list), xattrEncryption, xattrContext)
	}
	list = append(list, x)
	if !fs.xattrBlockFits(list) {
		return contextRoomError(in.ino)
	}
	if err := fs.setBlockXattrs(in, block, list); err != nil {
		return err
	}
	return fs.putInode(in)
}

func contextRoomError(ino image.Ino) error {
	return fmt.Errorf("%w: inode %d has no room for a context beside its extended attributes", image.ErrUnsupported, ino)
}

// growExtraIsize gives an inode of more than 128 bytes whose i_extra_isize is 0
// the extra fields that new inodes have, all zero. Until then neither the
// kernel nor e2fsck looks for attributes in it, and what lies there is nothing.
func (fs *FS) growExtraIsize(in *inode) {
	if len(in.raw) <= oldInodeSize || in.raw.extraIsize() != 0 {
		return
	}
	clear(in.raw[oldInodeSize:])
	in.raw.setExtraIsize(fs.newExtraIsize())
}

// CostContext returns an upper bound of the bytes that SetContext allocates
// for a context of size bytes: 0 or a cluster. Contents that are inline are
// taken to have moved out before.
func (fs *FS) CostContext(ino image.Ino, size int) (int64, error) {
	in, err := fs.inode(ino)
	if err != nil {
		return 0, err
	}
	body, block, err := fs.otherXattrs(in)
	if err != nil {
		return 0, err
	}
	body, _ = withoutXattr(body, xattrSystem, xattrInlineData)
	x := xattr{index: xattrEncryption, name: xattrContext, value: make([]byte, size), size: uint32(size)}
	fs.growExtraIsize(in)
	if b := in.raw.ibody(); b != nil && xattrsFit(append(body, x), len(b)-xattrIbodyHeader) {
		return 0, nil
	}
	if block == nil {
		if !fs.xattrBlockFits([]xattr{x}) {
			return 0, contextRoomError(ino)
		}
		return fs.clusterBytes(), nil
	}
	list, _ := withoutXattr(cloneXattrs(block.list), xattrEncryption, xattrContext)
	if !fs.xattrBlockFits(append(list, x)) {
		return 0, contextRoomError(ino)
	}
	if block.refcount() > 1 {
		return fs.clusterBytes(), nil
	}
	return 0, nil
}

// Xattrs returns the extended attributes in the order in which the kernel
// lists them, without the context and the attribute that holds inline data.
func (fs *FS) Xattrs(ino image.Ino) ([]image.Xattr, error) {
	in, err := fs.look(ino)
	if err != nil {
		return nil, err
	}
	list, err := fs.ibodyXattrs(in)
	if err != nil {
		return nil, err
	}
	block, err := fs.xattrBlock(in)
	if err != nil {
		return nil, err
	}
	if block != nil {
		list = append(list, block.list...)
	}
	var out []image.Xattr
	for i := range list {
		x := &list[i]
		prefix, listed := xattrPrefixes[x.index]
		if !listed || x.is(xattrSystem, xattrInlineData) {
			continue
		}
		value, err := fs.xattrValue(ino, x)
		if err != nil {
			return nil, fmt.Errorf("attribute %q: %w", prefix+x.name, err)
		}
		out = append(out, image.Xattr{Name: prefix + x.name, Value: value})
	}
	return out, nil
}

// xattrValue returns the value as getxattr(2) gives it.
func (fs *FS) xattrValue(ino image.Ino, x *xattr) ([]byte, error) {
	value := x.value
	if x.ino != 0 {
		var err error
		if value, err = fs.eaInodeValue(ino, x); err != nil {
			return nil, err
		}
	}
	if x.index != xattrACLAccess && x.index != xattrACLDefault {
		return append([]byte{}, value...), nil
	}
	out, err := acl.Xattr(value)
	if err != nil {
		return nil, fs.corrupt("extended attributes", ino, 0, "%v", err)
	}
	return out, nil
}
