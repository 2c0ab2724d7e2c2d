package imagetest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	"fsenc/internal/image"
)

// Digest returns the SHA-256 of the contents of a file as stored, in hex:
// what lies in its written extents, zeros elsewhere.
func Digest(fs image.FS, ino image.Ino) (string, error) {
	a, err := fs.Stat(ino)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	if a.Inline {
		b, err := fs.Inline(ino)
		if err != nil {
			return "", err
		}
		sum.Write(b)
		err = zeros(sum, a.Size-int64(len(b)))
		return hex.EncodeToString(sum.Sum(nil)), err
	}
	extents, err := fs.Extents(ino)
	if err != nil {
		return "", err
	}
	size := int64(fs.Super().BlockSize)
	done := int64(0)
	buf := make([]byte, size)
	for _, x := range extents {
		if x.Unwritten {
			continue
		}
		if x.Packed != nil {
			b, err := packed(fs, x)
			if err != nil {
				return "", err
			}
			off := int64(x.Lblk) * size
			if err := zeros(sum, off-done); err != nil {
				return "", err
			}
			n := min(int64(len(b)), a.Size-off)
			sum.Write(b[:n])
			done = off + n
			continue
		}
		for i := range x.Len {
			off := (int64(x.Lblk) + int64(i)) * size
			if off >= a.Size {
				break
			}
			if err := zeros(sum, off-done); err != nil {
				return "", err
			}
			if err := fs.ReadBlocks(buf, x.Pblk+image.Pblk(i)); err != nil {
				return "", err
			}
			n := min(size, a.Size-off)
			sum.Write(buf[:n])
			done = off + n
		}
	}
	err = zeros(sum, a.Size-done)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// packed returns what a compressed extent holds.
func packed(fs image.FS, x image.Extent) ([]byte, error) {
	var stream []byte
	for _, part := range x.Packed.Stream {
		b := make([]byte, int(part.Len)*fs.Super().BlockSize)
		if err := fs.ReadBlocks(b, part.Pblk); err != nil {
			return nil, err
		}
		stream = append(stream, b...)
	}
	b, err := fs.(image.Unpacker).Unpack(x.Packed, stream)
	if err != nil {
		return nil, err
	}
	b = b[min(x.Packed.Skip, int64(len(b))):]
	return b[:min(len(b), int(x.Len)*fs.Super().BlockSize)], nil
}

// zeros feeds n zero bytes to a digest.
func zeros(sum hash.Hash, n int64) error {
	if n < 0 {
		return fmt.Errorf("%d bytes too many, or extents out of order", -n)
	}
	piece := make([]byte, min(n, 1<<20))
	for n > 0 {
		k := min(n, int64(len(piece)))
		sum.Write(piece[:k])
		n -= k
	}
	return nil
}
