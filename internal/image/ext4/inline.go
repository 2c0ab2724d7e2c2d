package ext4

import (
	"bytes"
	"fmt"

	"fsenc/internal/image"
)

// xattrInlineData is the attribute (index 7) that holds what of inline data
// does not fit into i_block. It exists with any inline data, if empty.
const xattrInlineData = "data"

// inlineRest returns the value of the attribute; it points into in.raw.
func (fs *FS) inlineRest(in *inode) ([]byte, error) {
	list, err := fs.ibodyXattrs(in)
	if err != nil {
		return nil, err
	}
	x := findXattr(list, xattrSystem, xattrInlineData)
	if x == nil || x.ino != 0 {
		return nil, fs.corrupt("inline data", in.ino, 0, `no attribute "system.data" in the inode`)
	}
	return x.value, nil
}

// inlineData returns what of the i_size bytes lies in the inode.
func (fs *FS) inlineData(in *inode) ([]byte, error) {
	rest, err := fs.inlineRest(in)
	if err != nil {
		return nil, err
	}
	data := append(append([]byte{}, in.raw.iblock()...), rest...)
	size := in.raw.size()
	if fs.inlineCipher(in) {
		size = image.StoredInline(size)
	}
	return data[:min(size, uint64(len(data)))], nil
}

// mayEncryptInline reports whether the filesystem has encrypted inline data and
// the inode is of a type for them.
func (fs *FS) mayEncryptInline(in *inode) bool {
	return in.raw.fileType() == image.TypeRegular && fs.sb.hasIncompat(incompatEncInline)
}

// inlineCipher reports whether the inline data of an inode are encrypted.
func (fs *FS) inlineCipher(in *inode) bool {
	return in.raw.hasFlag(flEncrypt) && fs.mayEncryptInline(in)
}

// FitsInline implements image.InlineEncrypter. Of an empty file there is nothing
// to keep, and what is kept is at most a block.
func (fs *FS) FitsInline(ino image.Ino, stored, contextSize int) (bool, error) {
	in, err := fs.inlineFile(ino)
	if err != nil || stored == 0 || stored > fs.bs {
		return false, err
	}
	b := in.raw.ibody()
	if b == nil {
		return false, nil
	}
	list, err := fs.ibodyXattrs(in)
	if err != nil {
		return false, err
	}
	list, _ = withoutXattr(cloneXattrs(list), xattrSystem, xattrInlineData)
	list, _ = withoutXattr(list, xattrEncryption, xattrContext)
	list = append(list,
		xattr{index: xattrEncryption, name: xattrContext, value: make([]byte, contextSize), size: uint32(contextSize)},
		inlineXattr(make([]byte, stored), len(in.raw.iblock())))
	return xattrsFit(list, len(b)-xattrIbodyHeader), nil
}

// inlineXattr is the attribute for what of stored does not fit into i_block.
func inlineXattr(stored []byte, iblock int) xattr {
	rest := stored[min(len(stored), iblock):]
	return xattr{index: xattrSystem, name: xattrInlineData, value: rest, size: uint32(len(rest))}
}

// SetInline implements image.InlineEncrypter.
func (fs *FS) SetInline(ino image.Ino, stored []byte) error {
	in, err := fs.inlineFile(ino)
	if err != nil {
		return err
	}
	list, err := fs.ibodyXattrs(in)
	if err != nil {
		return err
	}
	list, _ = withoutXattr(cloneXattrs(list), xattrSystem, xattrInlineData)
	if !fs.setIbodyXattrs(in, append(list, inlineXattr(stored, len(in.raw.iblock())))) {
		return fmt.Errorf("%w: %d bytes inside of inode %d", image.ErrUnsupported, len(stored), ino)
	}
	clear(in.raw.iblock())
	copy(in.raw.iblock(), stored)
	return fs.putInode(in)
}

// Inline returns the contents of a regular file that keeps them in the inode.
// They can be shorter than i_size, and are zeros from there on: mke2fs -d makes
// such files of files that are one hole.
func (fs *FS) Inline(ino image.Ino) ([]byte, error) {
	in, err := fs.inlineFile(ino)
	if err != nil {
		return nil, err
	}
	return fs.inlineData(in)
}

// inlineFile reads an inode that must be an inline regular file.
func (fs *FS) inlineFile(ino image.Ino) (*inode, error) {
	in, err := fs.inode(ino)
	if err != nil {
		return nil, err
	}
	if in.raw.fileType() != image.TypeRegular || !in.raw.hasFlag(flInlineData) {
		return nil, fmt.Errorf("%w: inode %d is not an inline file", image.ErrUnsupported, ino)
	}
	return in, nil
}

// dropInline ends the inline form: no attribute, no flag, i_block zero. The
// other attributes are laid out again, so that no byte of the data remains.
func (fs *FS) dropInline(in *inode) error {
	list, err := fs.ibodyXattrs(in)
	if err != nil {
		return err
	}
	list, _ = withoutXattr(cloneXattrs(list), xattrSystem, xattrInlineData)
	fs.setIbodyXattrs(in, list)
	clear(in.raw.iblock())
	in.raw.setFlags(in.raw.flags() &^ flInlineData)
	return nil
}

// Uninline moves the contents of an inline file to its first block; an empty
// file gets none.
func (fs *FS) Uninline(ino image.Ino) error {
	in, err := fs.inlineFile(ino)
	if err != nil {
		return err
	}
	data, err := fs.inlineData(in)
	if err != nil {
		return err
	}
	if err := fs.dropInline(in); err != nil {
		return err
	}
	fs.initMapping(in)
	if !isHole(in, data) {
		if err := fs.appendData(in, data); err != nil {
			return err
		}
	}
	return fs.putInode(in)
}

// isHole reports whether data are the few bytes, zeros, that an inode has of a
// larger file.
func isHole(in *inode, data []byte) bool {
	return uint64(len(data)) < in.raw.size() && len(bytes.Trim(data, "\x00")) == 0
}

// appendData gives an empty mapping the blocks of data, zero-padded.
func (fs *FS) appendData(in *inode, data []byte) error {
	n := (len(data) + fs.bs - 1) / fs.bs
	if n == 0 {
		return nil
	}
	blocks, err := fs.appendBlocks(in, uint64(n))
	if err != nil {
		return err
	}
	buf := make([]byte, fs.bs)
	for _, p := range blocks {
		clear(buf)
		data = data[copy(buf, data):]
		if err := fs.writeBlock(p, buf); err != nil {
			return err
		}
	}
	return nil
}

// CostUninline returns an upper bound of the bytes that Uninline allocates.
func (fs *FS) CostUninline(ino image.Ino) (int64, error) {
	in, err := fs.inlineFile(ino)
	if err != nil {
		return 0, err
	}
	data, err := fs.inlineData(in)
	if err != nil {
		return 0, err
	}
	return fs.costBlocks(in, nil, 0, 0, uint64((len(data)+fs.bs-1)/fs.bs)), nil
}

// readAll reads i_size bytes of an inode whose contents lie in blocks; the
// caller has bounded the size. Holes and unwritten blocks are zeros.
func (fs *FS) readAll(in *inode) ([]byte, error) {
	extents, err := fs.mapping(in)
	if err != nil {
		return nil, err
	}
	data := make([]byte, (in.raw.size()+uint64(fs.bs)-1)/uint64(fs.bs)*uint64(fs.bs))
	for _, e := range extents {
		from := uint64(e.Lblk) * uint64(fs.bs)
		if e.Unwritten || from >= uint64(len(data)) {
			continue
		}
		part := data[from:min(from+e.Len*uint64(fs.bs), uint64(len(data)))]
		if err := fs.ReadBlocks(part, e.Pblk); err != nil {
			return nil, err
		}
	}
	return data[:in.raw.size()], nil
}
