package golden

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest"
)

// fsck has nothing to say of any sound image, and reports every fault of the
// broken ones at the inode that has it, with the key and without. It changes
// no image.
func TestCheck(t *testing.T) {
	for _, name := range sound(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			img := imagetest.Golden(t, name)
			if out, code := fsck(t, img, keyFiles(t, name)...); code != 0 {
				t.Errorf("exit %d: %s", code, out)
			}
		})
	}
	for _, name := range []string{"ext4-check", "f2fs-check"} {
		t.Run(name+" broken", func(t *testing.T) { checkBroken(t, name) })
	}
}

// checkBroken breaks an image in every way that its manifest has.
func checkBroken(t *testing.T, name string) {
	base, keys := imagetest.GoldenBytes(t, name), keyFiles(t, name)
	for _, b := range imagetest.Manifest(t, name).Broken {
		t.Run(b.Name, func(t *testing.T) {
			img := filepath.Join(t.TempDir(), "broken.img")
			if err := os.WriteFile(img, imagetest.Break(t, base, b), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, given := range [][]string{nil, keys} {
				out, code := fsck(t, img, given...)
				if code != exitErrorsLeft {
					t.Errorf("%s: exit %d: %s", b.What, code, out)
				}
				if b.Ino != 0 && !strings.Contains(out, fmt.Sprintf("inode %d:", b.Ino)) {
					t.Errorf("%s: nothing about inode %d: %s", b.What, b.Ino, out)
				}
			}
			after, err := os.ReadFile(img)
			if err != nil {
				t.Fatal(err)
			}
			if imagetest.Sum(after) != b.SHA256 {
				t.Error("checking changed the image")
			}
		})
	}
}

// Exit codes of fsck.
const (
	exitErrorsFixed = 1
	exitErrorsLeft  = 4
)

func fsck(t *testing.T, img string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(program, append([]string{"--non-interactive", "fsck", img, "--content"}, args...)...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// keyFiles writes the keys of an image to files and returns the flags that
// name them.
func keyFiles(t *testing.T, name string) []string {
	t.Helper()
	var args []string
	for i, k := range imagetest.Manifest(t, name).Keys {
		file := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := os.WriteFile(file, k.MasterKey, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--key-file", file)
	}
	return args
}
