package f2fs

import (
	"fmt"

	"fsenc/internal/image"
)

// inlineFile reads an inode that must be an inline regular file.
func (fs *FS) inlineFile(ino image.Ino) (*inode, error) {
	in, err := fs.inode(ino)
	if err != nil {
		return nil, err
	}
	return in, in.mustBeInline()
}

func (in *inode) mustBeInline() error {
	if in.fileType() != image.TypeRegular || !in.inline(inData) {
		return fmt.Errorf("%w: inode %d has no inline data", image.ErrUnsupported, in.ino)
	}
	return nil
}

// FitsInline implements image.InlineEncrypter. The context is kept elsewhere and
// takes no room.
func (fs *FS) FitsInline(ino image.Ino, stored, _ int) (bool, error) {
	in, err := fs.inlineFile(ino)
	if err != nil {
		return false, err
	}
	return stored <= len(in.inlineArea())&^15, nil
}

// SetInline implements image.InlineEncrypter.
func (fs *FS) SetInline(ino image.Ino, stored []byte) error {
	in, err := fs.inlineFile(ino)
	if err != nil {
		return err
	}
	if len(stored) > len(in.inlineArea()) {
		return fmt.Errorf("%w: %d bytes inside of inode %d, which has room for %d", image.ErrUnsupported, len(stored), ino, len(in.inlineArea()))
	}
	fs.put(in)
	fs.fillInline(in, stored)
	return nil
}
