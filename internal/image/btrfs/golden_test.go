package btrfs

import (
	"errors"
	"slices"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
)

// dirtyLog is the image with a log tree that was not replayed.
const dirtyLog = "oracle/btrfs-v6-dirtylog"

func TestGolden(t *testing.T) {
	names := slices.DeleteFunc(imagetest.Names(t, "oracle/btrfs-"), func(n string) bool { return n == dirtyLog })
	imagetest.Run(t, names, func(s store.Store) (image.FS, error) { return Open(s, image.Options{Write: true}) })
}

// What waits to be replayed is refused, and can be looked at.
func TestNeedsRecovery(t *testing.T) {
	s := storetest.NewMem(imagetest.GoldenBytes(t, dirtyLog))
	for _, write := range []bool{false, true} {
		if _, err := Open(s, image.Options{Write: write}); !errors.Is(err, image.ErrNeedsRecovery) {
			t.Errorf("opened for writing %v: %v", write, err)
		}
	}
	fs, err := Open(s, image.Options{AllowDirty: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Lookup(fs.Root(), []byte("e")); err != nil {
		t.Error(err)
	}
}
