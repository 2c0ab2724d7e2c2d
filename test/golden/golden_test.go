// Package golden has no code of its own: its tests read the golden images
// whole, and compare with what the kernel saw.
package golden

import (
	"slices"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
)

// unclean are images that need their journal replayed.
var unclean = []string{"ext4-journal", "f2fs-recovery"}

func sound(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(imagetest.Names(t, "", "oracle/"), func(n string) bool { return slices.Contains(unclean, n) })
}

// Everything that needs no key, through the interface that all filesystems
// share.
func TestWithoutKey(t *testing.T) {
	imagetest.Run(t, sound(t), func(s store.Store) (image.FS, error) { return probe.Open(s, probe.Options{}) })
}

// Opening for writing asks more, but changes nothing either.
func TestOpenForWriting(t *testing.T) {
	imagetest.Run(t, sound(t), func(s store.Store) (image.FS, error) { return probe.Open(s, probe.Options{Write: true}) })
}
