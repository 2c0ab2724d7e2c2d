// Package probe finds out which filesystem a store holds and opens it.
package probe

import (
	"errors"
	"fmt"

	"fsenc/internal/image"
	"fsenc/internal/image/ext4"
	"fsenc/internal/image/f2fs"
	"fsenc/internal/store"
)

// Options say what the caller means to do.
type Options = image.Options

// Open opens the filesystem in s. The error wraps image.ErrUnknown if no
// package knows it, and names what was found instead where that is plain.
func Open(s store.Store, o Options) (image.FS, error) {
	for _, open := range known {
		fs, err := open(s, o)
		if err == nil || !errors.Is(err, image.ErrUnknown) {
			return fs, err
		}
	}
	if what := foreign(s); what != "" {
		return nil, fmt.Errorf("%w: this is %s", image.ErrUnknown, what)
	}
	return nil, image.ErrUnknown
}

// known are the filesystem packages, each of which looks for its magic first.
var known = []func(store.Store, Options) (image.FS, error){
	func(s store.Store, o Options) (image.FS, error) { return opened(ext4.Open(s, o)) },
	func(s store.Store, o Options) (image.FS, error) { return opened(f2fs.Open(s, o)) },
}

// opened keeps a nil pointer out of the interface.
func opened[F image.FS](fs F, err error) (image.FS, error) {
	if err != nil {
		return nil, err
	}
	return fs, nil
}

// foreign names what else the store holds, by magic.
func foreign(s store.Store) string {
	for _, f := range []struct {
		off   int64
		magic string
		what  string
	}{
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
