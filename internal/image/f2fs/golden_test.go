package f2fs

import (
	"errors"
	"slices"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
)

// recovery is the image that was not unmounted after an fsync.
const recovery = "f2fs-recovery"

func TestGolden(t *testing.T) {
	names := slices.DeleteFunc(imagetest.Names(t, "f2fs-", "oracle/f2fs-"), func(n string) bool { return n == recovery })
	imagetest.Run(t, names, func(s store.Store) (image.FS, error) { return Open(s, image.Options{Write: true}) })
}

// What waits to be recovered is refused, and can be looked at.
func TestNeedsRecovery(t *testing.T) {
	s := storetest.NewMem(imagetest.GoldenBytes(t, recovery))
	for _, write := range []bool{false, true} {
		if _, err := Open(s, image.Options{Write: write}); !errors.Is(err, image.ErrNeedsRecovery) {
			t.Errorf("opened for writing %v: %v", write, err)
		}
	}
	fs, err := Open(s, image.Options{AllowDirty: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Lookup(fs.Root(), []byte("plain")); err != nil {
		t.Error(err)
	}
}
