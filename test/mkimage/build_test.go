package mkimage

import (
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/linux"
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

// The virtual machine has the features that its rows are about.
func TestBuildVM(t *testing.T) {
	_, trees := BuildVM(t, VMRows)
	var projects, digests, folding int
	for _, tree := range trees {
		for _, e := range tree {
			if e.Err != "" {
				t.Errorf("%q: %s", e.Path, e.Err)
			}
			if e.Project != 0 {
				projects++
			}
			if e.Verity != "" {
				digests++
			}
			if e.Flags&linux.FlagCasefold != 0 {
				folding++
			}
		}
	}
	if projects < 4 || digests < 10 || folding < 6 {
		t.Errorf("%d inodes with a project, %d with verity, %d folding directories", projects, digests, folding)
	}
}
