package tree

import "fsenc/internal/image"

// openInline reads contents that lie in the inode. Without a format for
// encrypted ones the kernel reads them as they are, whatever the mark says.
func (t *Tree) openInline(f *File, a image.Attr) (err error) {
	encrypted := a.Encrypted && t.fs.Super().Inline != ""
	if !encrypted || f.stored {
		if f.inline, err = t.fs.Inline(a.Ino); encrypted {
			f.size = int64(len(f.inline))
		}
		return err
	}
	if f.inline, err = t.inlinePadded(a.Ino); err == nil {
		f.inline = f.inline[:a.Size]
	}
	return err
}

// InlinePadded decrypts the contents that an inode keeps inside of itself, with
// the zeros that fill their last cipher block.
func (t *Tree) InlinePadded(n Node) ([]byte, error) {
	b, err := t.inlinePadded(n.Ino)
	return b, n.wrap(err)
}

func (t *Tree) inlinePadded(ino image.Ino) ([]byte, error) {
	a, err := t.fs.Stat(ino)
	if err != nil {
		return nil, err
	}
	b, err := image.InlineCipher(t.fs, a)
	if err != nil {
		return nil, err
	}
	c, key, err := t.key(ino)
	if err != nil {
		return nil, err
	}
	cipher, err := key.Inline(c, uint64(ino), t.vol)
	if err != nil {
		return nil, err
	}
	defer cipher.Close()
	cipher.DecryptInline(b)
	return b, nil
}
