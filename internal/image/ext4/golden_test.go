package ext4

import (
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store"
)

func TestGolden(t *testing.T) {
	imagetest.Run(t, imagetest.Names(t, "ext4-"), func(s store.Store) (image.FS, error) {
		return Open(s, Options{AllowDirty: true})
	})
}
