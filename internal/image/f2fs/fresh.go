package f2fs

import (
	"fsenc/internal/image"
	"fsenc/internal/store"
)

// Blocks of files that get a new place wait in memory until Flush, as nodes do.
// Until then they can change: what is encrypted right after it was moved out of
// an inode is never written as it was.

// readBlock fills b with a block of a file, as edits have left it.
func (fs *FS) readBlock(b []byte, at image.Pblk) error {
	if kept := fs.kept[at]; kept != nil {
		copy(b, kept)
		return nil
	}
	return fs.cache.Read(b, int64(at)*blockSize)
}

// ReadBlocks fills p, whole blocks, from block at on.
func (fs *FS) ReadBlocks(p []byte, at image.Pblk) error {
	if err := fs.checkRange(len(p), at); err != nil {
		return err
	}
	if b := fs.kept[at]; b != nil && len(p) == blockSize {
		copy(p, b)
		return nil
	}
	_, err := fs.s.ReadAt(p, int64(at)*blockSize)
	for ; len(fs.kept) > 0 && len(p) > 0; p, at = p[blockSize:], at+1 {
		if b := fs.kept[at]; b != nil {
			copy(p, b)
		}
	}
	return err
}

// WriteBlocks stages p, whole blocks, from block at on.
func (fs *FS) WriteBlocks(p []byte, at image.Pblk) error {
	if err := fs.checkRange(len(p), at); err != nil {
		return err
	}
	if len(fs.kept) == 0 {
		return fs.cache.Write(p, int64(at)*blockSize)
	}
	for ; len(p) > 0; p, at = p[blockSize:], at+1 {
		if b := fs.kept[at]; b != nil {
			copy(b, p)
		} else if err := fs.cache.Write(p[:blockSize], int64(at)*blockSize); err != nil {
			return err
		}
	}
	return nil
}

// spare is memory for a block from what Flush has given to the store, nil if there
// is none.
func (fs *FS) spare() []byte {
	if f, ok := fs.s.(store.Fresh); ok {
		return f.Spare()
	}
	return nil
}

// zeroBlock is memory for a block, all zeros, that is given to the store.
func (fs *FS) zeroBlock() []byte {
	b := fs.spare()
	if b == nil {
		return make([]byte, blockSize)
	}
	clear(b)
	return b
}

// flushData gives the blocks of files to the store, which keeps them. Nothing
// refers to their places yet.
func (fs *FS) flushData() error {
	for at, b := range fs.kept {
		if err := fs.cache.WriteFresh(b, int64(at)*blockSize); err != nil {
			return err
		}
	}
	return nil
}
