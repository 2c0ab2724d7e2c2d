// Package golden has no code of its own: its tests read the golden images
// whole, and compare with what the kernel saw.
package golden

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
)

// unclean are images that need their journal replayed, or their contexts
// repaired.
var unclean = append([]string{"ext4-journal", postedDamage}, unreplayable...)

// unreplayable are those that only a kernel can bring into order.
var unreplayable = []string{"f2fs-recovery", "oracle/btrfs-v6-dirtylog"}

// They are refused by all that reads names or contents, and left as they are.
func TestRefused(t *testing.T) {
	for _, name := range unreplayable {
		img := imagetest.Golden(t, name)
		for _, args := range [][]string{{"ls", img, "/"}, {"extract", img, "/", "-C", t.TempDir()}, {"setup", "-y", img}} {
			cmd := exec.Command(program, args...)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState == nil {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != 11 || !strings.Contains(string(out), "mount the image once") {
				t.Errorf("%s of %s: exit %d: %s", args[0], name, code, out)
			}
		}
		after, err := os.ReadFile(img)
		if err != nil {
			t.Fatal(err)
		}
		if imagetest.Sum(after) != imagetest.Manifest(t, name).SHA256 {
			t.Errorf("%s was changed", name)
		}
	}
}

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
