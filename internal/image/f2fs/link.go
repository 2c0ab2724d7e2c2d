package f2fs

import (
	"fmt"

	"fsenc/internal/image"
)

// linkFor reads an inode that must be a symlink, which can store a number of
// bytes: at least one, and less than a block, for the kernel wants a NUL there.
func (fs *FS) linkFor(ino image.Ino, size int) (*inode, error) {
	in, err := fs.inode(ino)
	if err != nil {
		return nil, err
	}
	if in.fileType() != image.TypeSymlink || size == 0 || size >= blockSize {
		return nil, fmt.Errorf("%w: a target of %d bytes for inode %d, a %s", image.ErrUnsupported, size, ino, in.fileType())
	}
	return in, nil
}

// SetLink replaces what a symlink stores: in the inode as long as it was there
// and fits, else in a block.
func (fs *FS) SetLink(ino image.Ino, stored []byte, encrypted bool) error {
	in, err := fs.linkFor(ino, len(stored))
	if err != nil {
		return err
	}
	if encrypted && (len(stored) < 3 || int(le.Uint16(stored))+2 != len(stored)) {
		return fmt.Errorf("%w: encrypted target of %d bytes without its length, for inode %d", image.ErrUnsupported, len(stored), ino)
	}
	fs.put(in)
	if in.inline(inData) && len(stored) > len(in.inlineArea()) {
		fs.clearInline(in)
	}
	in.set64(offSize, uint64(len(stored)))
	if in.inline(inData) {
		fs.fillInline(in, stored)
		return nil
	}
	b := make([]byte, blockSize)
	copy(b, stored)
	return fs.place(in, 0, b, logWarmData)
}

// fillInline stores contents in the inode, zeros behind them.
func (fs *FS) fillInline(in *inode, b []byte) {
	area := in.inlineArea()
	clear(area[copy(area, b):])
	in.set32(offAddrs+4*in.extra, 0)
	in.setInline(inDataExist, len(b) > 0)
}

// clearInline makes the inline area what it is without inline contents:
// addresses, none of them set.
func (fs *FS) clearInline(in *inode) {
	clear(in.raw[offAddrs+4*in.extra : offAddrs+4*(addrWords-in.words)])
	in.setInline(inData|inDataExist, false)
}

// Uninline moves the contents of an inline file to its first block. An empty
// one just loses the mark, which the kernel refuses on an encrypted file.
func (fs *FS) Uninline(ino image.Ino) error {
	in, err := fs.inode(ino)
	if err != nil {
		return err
	}
	if in.fileType() != image.TypeRegular || !in.inline(inData) {
		return fmt.Errorf("%w: inode %d has no inline data", image.ErrUnsupported, ino)
	}
	fs.put(in)
	b, size := fs.zeroBlock(), in.size()
	copy(b, in.inlineArea()[:size])
	fs.clearInline(in)
	if size == 0 {
		return nil
	}
	return fs.place(in, 0, b, logWarmData)
}
