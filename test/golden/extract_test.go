package golden

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/mkimage"
)

var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fsenc-golden-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "fsenc")
	build := exec.Command("go", "build", "-o", program, "fsenc")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	code := 1
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build fsenc: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// With its keys every image is extracted to the tree that the kernel saw:
// names, types, modes, owners, times, xattrs, links and contents. Reading
// leaves the image alone. Needs root, for owners and device nodes.
func TestExtract(t *testing.T) {
	for _, name := range sound(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := imagetest.Manifest(t, name)
			img := imagetest.Golden(t, name)
			mkimage.InRoom(t, func(dir string) {
				extract(t, name, img, dir)
				compare(t, m, mkimage.Walk(t, dir))
			})
			raw, err := os.ReadFile(img)
			if err != nil {
				t.Fatal(err)
			}
			if imagetest.Sum(raw) != m.SHA256 {
				t.Error("reading changed the image")
			}
		})
	}
}

func extract(t *testing.T, name, img, dir string) {
	t.Helper()
	args := append([]string{"--non-interactive", "extract", img, "/", "-C", dir}, keyFiles(t, name)...)
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("extract: %v\n%s", err, out)
	}
}

// compare leaves out what the manifest does not tell of: directories of the
// root that are no tops, and the root itself.
func compare(t *testing.T, m *manifest.Golden, got []manifest.Entry) {
	t.Helper()
	want := manifest.Without(m.Entries, "lost+found")
	if want[0].Path == "." {
		want = want[1:]
	}
	known := make(map[string]bool)
	for _, e := range want {
		delete(e.Xattrs, "btrfs.compression") // other filesystems have none
		top, _, _ := strings.Cut(e.Path, "/")
		known[top] = true
	}
	var rest []manifest.Entry
	for _, e := range got {
		if top, _, _ := strings.Cut(e.Path, "/"); known[top] {
			if e.Type == manifest.Dir && m.Entries[0].Nlink == 1 { // btrfs counts no subdirectories
				e.Nlink = 1
			}
			rest = append(rest, e)
		}
	}
	ignore := manifest.Inos | manifest.Encryption | manifest.Ranges | manifest.Flags
	for i, d := range manifest.Compare(want, rest, ignore) {
		if i == 20 {
			t.Fatal("and further differences")
		}
		t.Error(d)
	}
}
