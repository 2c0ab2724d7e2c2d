// Package probe finds out which filesystem a store holds and opens it.
package probe

import (
	"errors"
	"fmt"

	"fsenc/internal/image"
	"fsenc/internal/image/ext4"
	"fsenc/internal/store"
)

// Options say what the caller means to do.
type Options struct {
	// Write demands everything that editing needs: a clean image, and no
	// feature that is not understood.
	Write bool
	// AllowUnfinished opens an image that carries the mark of a conversion.
	AllowUnfinished bool
	// AllowDirty opens, for display only, an image that needs recovery.
	AllowDirty bool
}

// Open opens the filesystem in s. The error wraps image.ErrUnknown if no
// package knows it, and names what was found instead where that is plain.
func Open(s store.Store, o Options) (image.FS, error) {
	fs, err := ext4.Open(s, ext4.Options{
		Write:           o.Write,
		AllowUnfinished: o.AllowUnfinished,
		AllowDirty:      o.AllowDirty,
	})
	if err == nil {
		return fs, nil
	}
	if !errors.Is(err, image.ErrUnknown) {
		return nil, err
	}
	if what := foreign(s); what != "" {
		return nil, fmt.Errorf("%w: this is %s", image.ErrUnknown, what)
	}
	return nil, err
}

// foreign names what else the store holds, by magic.
func foreign(s store.Store) string {
	for _, f := range []struct {
		off   int64
		magic string
		what  string
	}{
		{1024, "\x10\x20\xf5\xf2", "f2fs"},
		{0x10040, "_BHRfS_M", "btrfs"},
		{0, "XFSB", "XFS"},
		{0, "\x31\x18\x10\x06", "UBIFS"},
		{0, "UBI#", "a UBI device"},
		{0, "hsqs", "squashfs"},
		{1024, "\xe2\xe1\xf5\xe0", "erofs"},
		{3, "NTFS    ", "NTFS"},
		{82, "FAT32", "FAT"},
		{54, "FAT1", "FAT"},
	} {
		b := make([]byte, len(f.magic))
		if _, err := s.ReadAt(b, f.off); err == nil && string(b) == f.magic {
			return f.what
		}
	}
	return ""
}
