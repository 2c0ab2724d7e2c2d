package mkimage

import (
	"testing"

	"fsenc/test/linux"
)

// Every layout of f2fs can be made and filled, fsck.f2fs is content with it,
// and together they hold what f2fs alone has.
func TestBuildF2FS(t *testing.T) {
	images, trees := BuildF2FS(t, F2FSRows)
	var projects, digests, folding, compressed, huge int
	for i, tree := range trees {
		if out, err := CheckF2FS(t, images[i]); err != nil {
			t.Errorf("%s: %v\n%s", F2FSRows[i].Name, err, out)
		}
		for _, e := range tree {
			if e.Err != "" {
				t.Errorf("%s: %q: %s", F2FSRows[i].Name, e.Path, e.Err)
			}
			count := func(n *int, is bool) {
				if is {
					*n++
				}
			}
			count(&projects, e.Project != 0)
			count(&digests, e.Verity != "")
			count(&folding, e.Flags&linux.FlagCasefold != 0)
			count(&compressed, e.Flags&linux.FlagCompress != 0)
			count(&huge, e.Size > 8_000_000_000)
		}
	}
	if projects < 4 || digests < 10 || folding < 3 || compressed < 30 || huge < 8 {
		t.Errorf("%d inodes with a project, %d with verity, %d folding directories, %d compressed files, %d huge ones",
			projects, digests, folding, compressed, huge)
	}
}
