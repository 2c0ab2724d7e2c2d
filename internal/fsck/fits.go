package fsck

import (
	"bytes"
	"errors"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/tree"
)

// Fits returns a function that tells whether an extent of a file, with a context
// that was found elsewhere, decrypts as it should: the context is one of the
// file's key and mode, and what follows the end of the file in the last block is
// zero. Without the key it is false. Where an extent does not reach the end,
// that the context belongs to the same blocks is all the proof there is.
func Fits(fs image.FS, keys *crypt.Keyring) func(image.Ino, image.Extent) (bool, error) {
	t := tree.New(fs, keys)
	sb := fs.Super()
	vol := crypt.Volume{UUID: sb.UUID, BlockSize: sb.BlockSize}
	return func(ino image.Ino, x image.Extent) (bool, error) {
		raw, err := fs.Context(ino)
		if err != nil {
			return false, err
		}
		c, err := policy.ParseContext(raw)
		if err != nil {
			return false, nil
		}
		key, err := t.KeyFor(c.Policy)
		if errors.Is(err, crypt.ErrNoKey) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		e, err := tree.ExtentContext(x)
		if err != nil {
			return false, nil
		}
		cipher, err := key.Extent(c, e, vol)
		if err != nil {
			return false, nil
		}
		defer cipher.Close()
		return tailFits(fs, ino, x, cipher, int64(sb.BlockSize))
	}
}

// tailFits looks at the last block of the file, if it lies in the extent.
func tailFits(fs image.FS, ino image.Ino, x image.Extent, cipher *crypt.Contents, bs int64) (bool, error) {
	a, err := fs.Stat(ino)
	if err != nil {
		return false, err
	}
	last, used := image.Lblk(a.Size/bs), a.Size%bs
	if used == 0 || x.Packed != nil || last < x.Lblk || uint64(last-x.Lblk) >= x.Len {
		return true, nil
	}
	b := make([]byte, bs)
	defer clear(b)
	if err := fs.ReadBlocks(b, x.Pblk+image.Pblk(last-x.Lblk)); err != nil {
		return false, err
	}
	cipher.DecryptBlocks(b, b, uint64(int64(last)+x.Shift))
	return len(bytes.TrimLeft(b[used:], "\x00")) == 0, nil
}
