package ext4

import (
	"fmt"
	"slices"

	"fsenc/internal/crc"
	"fsenc/internal/image"
)

// ibody is the part of an inode behind its fixed fields, where attributes lie:
// the magic, then the area that parseXattrs reads. It is nil where the inode
// has no such part; the kernel does not look at it either when i_extra_isize
// is 0.
func (r rawInode) ibody() []byte {
	extra := r.extraIsize()
	if len(r) <= oldInodeSize || extra == 0 {
		return nil
	}
	b := r[oldInodeSize+extra:]
	if len(b) < xattrIbodyHeader+xattrListEnd {
		return nil
	}
	return b
}

// ibodyXattrs reads the attributes in the inode; they point into in.raw.
func (fs *FS) ibodyXattrs(in *inode) ([]xattr, error) {
	if in.parsed {
		return in.body, nil
	}
	b := in.raw.ibody()
	if b == nil || le.Uint32(b) != xattrMagic {
		return nil, nil
	}
	list, err := parseXattrs(b[xattrIbodyHeader:], 0)
	if err != nil {
		return nil, fs.corrupt("extended attributes", in.ino, 0, "%v", err)
	}
	return list, nil
}

// setIbodyXattrs rebuilds the part from zeros, without the magic if list is
// empty. It reports whether list fits and changes nothing if it does not.
func (fs *FS) setIbodyXattrs(in *inode, list []xattr) bool {
	b := in.raw.ibody()
	if len(list) == 0 {
		clear(b)
		return true
	}
	if b == nil || !xattrsFit(list, len(b)-xattrIbodyHeader) {
		return false
	}
	list = cloneXattrs(list)
	le.PutUint32(b, xattrMagic)
	buildXattrs(b[xattrIbodyHeader:], 0, list)
	return true
}

// xattrBlock is the attribute block of an inode, which others may share.
type xattrBlock struct {
	at   image.Pblk
	raw  []byte
	list []xattr
}

func (b *xattrBlock) refcount() uint32 { return le.Uint32(b.raw[offXhRefcount:]) }

// xattrBlock reads the block that i_file_acl names, nil if it names none.
func (fs *FS) xattrBlock(in *inode) (*xattrBlock, error) {
	at := in.raw.fileACL()
	if at == 0 {
		return nil, nil
	}
	b := &xattrBlock{at: at, raw: make([]byte, fs.bs)}
	if err := fs.readBlock(at, b.raw); err != nil {
		return nil, err
	}
	const what = "extended attribute block"
	if m := le.Uint32(b.raw[offXhMagic:]); m != xattrMagic {
		return nil, fs.corrupt(what, in.ino, at, "magic %#x, want %#x", m, xattrMagic)
	}
	if n := le.Uint32(b.raw[offXhBlocks:]); n != 1 {
		return nil, fs.corrupt(what, in.ino, at, "%d blocks, want 1", n)
	}
	if n := b.refcount(); n == 0 || n > xattrMaxRefcount {
		return nil, fs.corrupt(what, in.ino, at, "reference count %d", n)
	}
	if fs.hasCsum {
		if got, want := le.Uint32(b.raw[offXhChecksum:]), fs.xattrChecksum(b); got != want {
			return nil, fs.corrupt(what, in.ino, at, "checksum %#08x, want %#08x", got, want)
		}
	}
	var err error
	if b.list, err = parseXattrs(b.raw, xattrBlockHeader); err != nil {
		return nil, fs.corrupt(what, in.ino, at, "%v", err)
	}
	return b, nil
}

// xattrChecksum starts from the filesystem's seed and the block's number, not
// from an inode: the block can be shared.
func (fs *FS) xattrChecksum(b *xattrBlock) uint32 {
	seed := crcWord(crcWord(fs.seed, uint32(b.at)), uint32(b.at>>32))
	return crcWithout(seed, b.raw, offXhChecksum, 4)
}

// writeXattrBlock sets the checksum, last of all, and stages the block.
func (fs *FS) writeXattrBlock(b *xattrBlock) error {
	var sum uint32
	if fs.hasCsum {
		sum = fs.xattrChecksum(b)
	}
	le.PutUint32(b.raw[offXhChecksum:], sum)
	return fs.writeBlock(b.at, b.raw)
}

// xattrBlockFits reports whether list fits into a block of its own.
func (fs *FS) xattrBlockFits(list []xattr) bool {
	return xattrsFit(list, fs.bs-xattrBlockHeader)
}

// setBlockXattrs makes list, which fits, the content of the inode's block:
// old, as read before, or a new one if there is none or others share it. An
// empty list drops the block. The caller stores the inode.
func (fs *FS) setBlockXattrs(in *inode, old *xattrBlock, list []xattr) error {
	if len(list) == 0 {
		return fs.dropXattrBlock(in, old)
	}
	b := &xattrBlock{raw: make([]byte, fs.bs), list: cloneXattrs(list)}
	switch {
	case old == nil:
		at, err := fs.allocCluster(fs.goal(in, nil))
		if err != nil {
			return err
		}
		if err := fs.charge(in, 1); err != nil {
			return err
		}
		b.at = at
	case old.refcount() > 1:
		at, err := fs.splitXattrBlock(in, old, list)
		if err != nil {
			return err
		}
		b.at = at
	default:
		b.at = old.at
	}
	in.raw.setFileACL(b.at)
	if err := fs.SetFeatures([]string{"ext_attr"}, nil); err != nil {
		return err
	}
	fs.fillXattrBlock(b)
	return fs.writeXattrBlock(b)
}

// fillXattrBlock builds header and entries of a block with one user.
func (fs *FS) fillXattrBlock(b *xattrBlock) {
	slices.SortFunc(b.list, xattrOrder)
	for i := range b.list {
		if x := &b.list[i]; x.ino == 0 {
			x.hash = hashXattr(x.name, x.value)
		}
	}
	le.PutUint32(b.raw[offXhMagic:], xattrMagic)
	le.PutUint32(b.raw[offXhRefcount:], 1)
	le.PutUint32(b.raw[offXhBlocks:], 1)
	buildXattrs(b.raw, xattrBlockHeader, b.list)
	le.PutUint32(b.raw[offXhHash:], hashXattrs(b.list))
}

// splitXattrBlock takes one user from a shared block and allocates a block for
// it. i_blocks stays: each user is charged for the shared block already. Of
// values in inodes the new block, that will hold list, is one more user.
func (fs *FS) splitXattrBlock(in *inode, old *xattrBlock, list []xattr) (image.Pblk, error) {
	at, err := fs.allocCluster(old.at)
	if err != nil {
		return 0, err
	}
	for _, x := range list {
		if x.ino == 0 || !slices.ContainsFunc(old.list, func(o xattr) bool { return o.ino == x.ino }) {
			continue
		}
		if _, err := fs.refEaInode(in.ino, x.ino, 1); err != nil {
			return 0, err
		}
	}
	return at, fs.unshareXattrBlock(old)
}

func (fs *FS) unshareXattrBlock(b *xattrBlock) error {
	le.PutUint32(b.raw[offXhRefcount:], b.refcount()-1)
	return fs.writeXattrBlock(b)
}

// dropXattrBlock ends the inode's use of its block, and frees it if that was
// the last one. References that its entries hold are not looked at: the caller
// moved or dropped the entries.
func (fs *FS) dropXattrBlock(in *inode, b *xattrBlock) error {
	if b == nil {
		return nil
	}
	in.raw.setFileACL(0)
	if err := fs.charge(in, -1); err != nil {
		return err
	}
	if b.refcount() > 1 {
		return fs.unshareXattrBlock(b)
	}
	clear(b.raw) // the values, a context among them, are gone for good
	if err := fs.writeBlock(b.at, b.raw); err != nil {
		return err
	}
	return fs.freeCluster(b.at)
}

// eaInode reads the inode that holds a value.
func (fs *FS) eaInode(user, ino image.Ino) (*inode, error) {
	ea, err := fs.inode(ino)
	if err != nil {
		return nil, fmt.Errorf("attribute value of inode %d: %w", user, err)
	}
	if !ea.raw.hasFlag(flEaInode) {
		return nil, fs.corrupt("extended attributes", user, 0, "value in inode %d, which is none for values", ino)
	}
	return ea, nil
}

// eaInodeValue reads the value of an entry that lies in an inode of its own.
func (fs *FS) eaInodeValue(user image.Ino, x *xattr) ([]byte, error) {
	if x.size > xattrMaxValue {
		return nil, fs.corrupt("extended attributes", user, 0, "value of %d bytes in inode %d", x.size, x.ino)
	}
	ea, err := fs.eaInode(user, x.ino)
	if err != nil {
		return nil, err
	}
	if ea.raw.size() != uint64(x.size) {
		return nil, fs.corrupt("extended attributes", user, 0, "value of %d bytes in inode %d of %d", x.size, x.ino, ea.raw.size())
	}
	value, err := fs.readAll(ea)
	if err != nil {
		return nil, err
	}
	// The checksum of the value stands where the access time would.
	if got, want := le.Uint32(ea.raw[offIAtime:]), crc.CRC32C(fs.seed, value); got != want {
		return nil, fs.corrupt("extended attribute value", x.ino, 0, "checksum %#08x, want %#08x", got, want)
	}
	return value, nil
}

// refEaInode changes the number of references of a value's inode and returns
// the new one: the seconds of ctime are its high half, i_version the low.
func (fs *FS) refEaInode(user, ino image.Ino, delta int64) (uint64, error) {
	ea, err := fs.eaInode(user, ino)
	if err != nil {
		return 0, err
	}
	n := uint64(le.Uint32(ea.raw[offICtime:]))<<32 | uint64(ea.raw.version())
	if n == 0 {
		return 0, fs.corrupt("inode", ino, 0, "reference count 0 of a value in use")
	}
	n += uint64(delta)
	le.PutUint32(ea.raw[offICtime:], uint32(n>>32))
	ea.raw.setVersion(uint32(n))
	return n, fs.putInode(ea)
}
