package ext4

import (
	"fmt"

	"fsenc/internal/image"
)

// maxFastLink is the longest i_size of a symlink whose bytes lie in i_block: a
// NUL follows them. It holds for targets and for the encrypted form alike.
const maxFastLink = iblockSize - 1

// linkInode reads an inode that must be a symlink.
func (fs *FS) linkInode(ino image.Ino) (*inode, error) {
	in, err := fs.inode(ino)
	if err != nil {
		return nil, err
	}
	if in.raw.fileType() != image.TypeSymlink {
		return nil, fmt.Errorf("%w: inode %d is not a symlink", image.ErrUnsupported, ino)
	}
	return in, nil
}

// slowLink reports whether the symlink has a block. The size says so, and
// i_blocks must agree, since that is where kernels without ea_inode look.
func (fs *FS) slowLink(in *inode) (bool, error) {
	size := in.raw.size()
	if size == 0 || size >= uint64(fs.bs) {
		return false, fs.corrupt("symlink", in.ino, 0, "size %d", size)
	}
	slow := size > maxFastLink
	if fs.sb.hasIncompat(incompatEaInode) {
		return slow, nil // i_blocks counts the inodes of attributes, too
	}
	charged, acl := fs.allocBytes(in.raw), int64(0)
	if in.raw.fileACL() != 0 {
		acl = fs.clusterBytes()
	}
	if slow != (charged != acl) {
		return false, fs.corrupt("symlink", in.ino, 0, "size %d, i_blocks %d", size, in.raw.rawBlocks())
	}
	return slow, nil
}

// ReadLink returns the i_size bytes that a symlink stores, wherever they lie:
// in i_block, in a block, or inline as mke2fs makes them.
func (fs *FS) ReadLink(ino image.Ino) ([]byte, error) {
	in, err := fs.linkInode(ino)
	if err != nil {
		return nil, err
	}
	if in.raw.hasFlag(flInlineData) {
		return fs.inlineLink(in)
	}
	slow, err := fs.slowLink(in)
	if err != nil {
		return nil, err
	}
	if !slow {
		return append([]byte{}, in.raw.iblock()[:in.raw.size()]...), nil
	}
	at, err := fs.linkBlock(in)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, fs.bs)
	if err := fs.readBlock(at, buf); err != nil {
		return nil, err
	}
	return buf[:in.raw.size()], nil
}

func (fs *FS) inlineLink(in *inode) ([]byte, error) {
	target, err := fs.inlineData(in)
	if err == nil && (len(target) == 0 || uint64(len(target)) != in.raw.size()) {
		err = fs.corrupt("symlink", in.ino, 0, "size %d, %d bytes inline", in.raw.size(), len(target))
	}
	return target, err
}

// linkBlock returns the one block of a slow symlink.
func (fs *FS) linkBlock(in *inode) (image.Pblk, error) {
	extents, err := fs.mapping(in)
	if err != nil {
		return 0, err
	}
	if len(extents) != 1 || extents[0].Lblk != 0 || extents[0].Len != 1 || extents[0].Unwritten {
		return 0, fs.corrupt("symlink", in.ino, 0, "mapping %v, want one written block", extents)
	}
	return extents[0].Pblk, nil
}

// checkLink refuses what a symlink cannot store: nothing, more than a block
// less the NUL, or an encrypted form that contradicts its length.
func (fs *FS) checkLink(ino image.Ino, stored []byte, encrypted bool) error {
	if err := fs.checkLinkSize(ino, len(stored)); err != nil {
		return err
	}
	if encrypted && (len(stored) < 3 || int(le.Uint16(stored))+2 != len(stored)) {
		return fmt.Errorf("%w: encrypted target of %d bytes without its length, for inode %d",
			image.ErrUnsupported, len(stored), ino)
	}
	return nil
}

func (fs *FS) checkLinkSize(ino image.Ino, size int) error {
	if size == 0 || size >= fs.bs {
		return fmt.Errorf("%w: target of %d bytes for symlink inode %d, with blocks of %d",
			image.ErrUnsupported, size, ino, fs.bs)
	}
	return nil
}

// SetLink replaces what a symlink stores. Up to maxFastLink bytes lie in the
// inode and any block is freed; more take a block, zero-padded.
func (fs *FS) SetLink(ino image.Ino, stored []byte, encrypted bool) error {
	in, err := fs.linkInode(ino)
	if err != nil {
		return err
	}
	if err := fs.checkLink(ino, stored, encrypted); err != nil {
		return err
	}
	blocks, err := fs.unlinkTarget(in)
	if err != nil {
		return err
	}
	in.raw.setSize(uint64(len(stored)))
	if len(stored) > maxFastLink {
		err = fs.putSlowLink(in, blocks, stored)
	} else {
		err = fs.putFastLink(in, blocks, stored)
	}
	if err != nil {
		return err
	}
	return fs.putInode(in)
}

// unlinkTarget ends the inline or fast form and returns how many blocks the
// symlink has.
func (fs *FS) unlinkTarget(in *inode) (int, error) {
	if in.raw.hasFlag(flInlineData) {
		if err := fs.dropInline(in); err != nil {
			return 0, err
		}
		fs.initMapping(in)
		return 0, nil
	}
	slow, err := fs.slowLink(in)
	if err != nil {
		return 0, err
	}
	if slow {
		_, err := fs.linkBlock(in)
		return 1, err
	}
	clear(in.raw.iblock())
	fs.initMapping(in)
	return 0, nil
}

func (fs *FS) putSlowLink(in *inode, blocks int, stored []byte) error {
	if blocks == 0 {
		return fs.appendData(in, stored)
	}
	at, err := fs.linkBlock(in)
	if err != nil {
		return err
	}
	buf := make([]byte, fs.bs)
	copy(buf, stored)
	return fs.writeBlock(at, buf)
}

// putFastLink frees the block and writes all of i_block. A fast symlink with
// the EXTENTS flag is an error to e2fsck.
func (fs *FS) putFastLink(in *inode, blocks int, stored []byte) error {
	if blocks > 0 {
		if err := fs.truncateBlocks(in, 0); err != nil {
			return err
		}
	}
	in.raw.setFlags(in.raw.flags() &^ flExtents)
	clear(in.raw.iblock())
	copy(in.raw.iblock(), stored)
	return nil
}

// CostLink returns an upper bound of the bytes that SetLink allocates for size
// bytes, which are what it stores: the length and the ciphertext if encrypted.
func (fs *FS) CostLink(ino image.Ino, size int, encrypted bool) (int64, error) {
	in, err := fs.linkInode(ino)
	if err != nil {
		return 0, err
	}
	if err := fs.checkLinkSize(ino, size); err != nil {
		return 0, err
	}
	if size <= maxFastLink {
		return 0, nil
	}
	if !in.raw.hasFlag(flInlineData) {
		slow, err := fs.slowLink(in)
		if err != nil || slow {
			return 0, err
		}
	}
	return fs.clusterBytes(), nil
}
