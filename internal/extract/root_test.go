package extract

import (
	"os"
	"slices"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/internal/tree"
	"fsenc/test/linux"
)

// In a directory the tree is that of the manifest to the last attribute, and
// holes are holes. Owners and device nodes need root.
func TestToDir(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("missing: root, for giving files away and making device nodes")
	}
	for _, name := range []string{"ext4-features", "ext4-indirect", "ext4-verity"} {
		t.Run(name, func(t *testing.T) {
			tr, m := golden(t, name)
			dir := t.TempDir()
			var left skips
			res, err := ToDir(t.Context(), tr, []tree.Node{tr.Root()}, dir, Options{Owners: true, Skip: left.add})
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range left { // more than an inode and a block of the host's filesystem hold
				if !strings.HasSuffix(x, "xattr user.big") {
					t.Errorf("skipped %q", x)
				}
			}
			got, err := linux.Walk(dir)
			if err != nil {
				t.Fatal(err)
			}
			want := manifest.Without(m.Entries, ".")
			got = manifest.Without(got, ".", "lost+found")
			for i := range want {
				want[i].Verity = "" // a copy is an ordinary file
			}
			for _, e := range slices.Concat(want, got) {
				delete(e.Xattrs, "user.big")
			}
			ignore := manifest.Inos | manifest.Encryption | manifest.Flags | manifest.Ranges
			for _, line := range manifest.Compare(want, got, ignore) {
				t.Error(line)
			}
			if res.Dirs == 0 || res.Bytes == 0 || name == "ext4-features" && res.Links == 0 {
				t.Errorf("%+v", res)
			}
		})
	}
}
