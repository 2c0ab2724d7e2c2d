package tree

import (
	"fmt"

	"fsenc/internal/image"
)

// openInline reads contents that lie in the inode. Without a format for
// encrypted ones the kernel reads them as they are, whatever the mark says.
func (t *Tree) openInline(f *File, a image.Attr) (err error) {
	if f.inline, err = t.fs.Inline(a.Ino); err != nil || !a.Encrypted || t.fs.Super().Inline == "" {
		return err
	}
	if f.stored {
		f.size = int64(len(f.inline))
		return nil
	}
	c, key, err := t.key(a.Ino)
	if err != nil {
		return err
	}
	cipher, err := key.Inline(c, uint64(a.Ino), t.vol)
	if err != nil {
		return err
	}
	defer cipher.Close()
	if len(f.inline)%16 != 0 {
		return &image.CorruptError{What: "inline data", Ino: a.Ino, Why: fmt.Sprintf("%d bytes, no whole cipher blocks", len(f.inline))}
	}
	cipher.DecryptInline(f.inline)
	f.inline = f.inline[:min(int64(len(f.inline)), a.Size)]
	return nil
}
