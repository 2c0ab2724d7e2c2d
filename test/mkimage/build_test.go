package mkimage

import (
	"testing"

	"fsenc/internal/image/imagetest/manifest"
)

// Every row can be made, filled and checked, and holds every type of inode.
func TestBuild(t *testing.T) {
	for _, r := range Rows {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			_, tree := Build(t, r)
			types := make(map[string]int)
			for _, e := range tree {
				types[e.Type]++
				if e.Err != "" {
					t.Errorf("%q: %s", e.Path, e.Err)
				}
			}
			for _, want := range []string{manifest.File, manifest.Dir, manifest.Symlink, manifest.Fifo, manifest.Socket, manifest.CharDev, manifest.BlockDev} {
				if types[want] < 2 {
					t.Errorf("%d of type %s", types[want], want)
				}
			}
		})
	}
}
