package btrfs

import (
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store"
)

type missing struct{ image.FS }
type ro struct {
	missing
	*FS
}

func (r ro) Root() image.Ino { return r.FS.Root() }

func TestTmp(t *testing.T) {
	imagetest.Run(t, imagetest.Names(t, "oracle/btrfs-"), func(s store.Store) (image.FS, error) {
		fs, err := Open(s, image.Options{AllowDirty: true})
		if err != nil {
			return nil, err
		}
		return ro{FS: fs}, nil
	})
}
