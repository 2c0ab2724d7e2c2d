package ext4

import (
	"errors"

	"fsenc/internal/image"
)

// An inline directory is le32 parent in i_block, then two areas that entries
// cover: the rest of i_block, and the value of the attribute that holds inline
// data. It has no dots, no checksum entry and no index.
const inlineDirParent = 4 // bytes before the first area

// inlineParent reads the number that ".." would name.
func (fs *FS) inlineParent(in *inode) (image.Ino, error) {
	parent := image.Ino(le.Uint32(in.raw.iblock()))
	if parent == 0 || parent > image.Ino(fs.sb.inodesCount()) {
		return 0, fs.corrupt("inline directory", in.ino, 0, "parent is inode %d", parent)
	}
	return parent, nil
}

// readInlineDir calls f for each entry. The kernel computes no hash for them.
func (fs *FS) readInlineDir(in *inode, f func(image.Dirent) error) error {
	rest, err := fs.inlineRest(in)
	if err != nil {
		return err
	}
	for _, area := range [][]byte{in.raw.iblock()[inlineDirParent:], rest} {
		es, err := fs.inlineForm(in, area).parse(nil, area)
		if err != nil {
			return fs.corrupt("inline directory", in.ino, 0, "%v", err)
		}
		for _, e := range es {
			if err := f(fs.withType(e.Dirent)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (fs *FS) inlineForm(in *inode, area []byte) dirForm {
	f := fs.dirForm(in, in.raw.hasFlag(flEncrypt))
	f.blockSize, f.tail = len(area), false
	return f
}

func (fs *FS) lookupInline(in *inode, name []byte) (image.Dirent, error) {
	var hit image.Dirent
	err := fs.readInlineDir(in, func(d image.Dirent) error {
		if string(d.Name) != string(name) {
			return nil
		}
		hit = d
		return errStop
	})
	if errors.Is(err, errStop) {
		return hit, nil
	}
	if err == nil {
		err = image.ErrNotExist
	}
	return image.Dirent{}, err
}
