package kernel

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/test/linux"
	"fsenc/test/mkimage"
)

// f2fsCrash is an image that the machine leaves in need of recovery.
type f2fsCrash struct {
	how   linux.Crash
	word  string // of the refusal
	image string
}

func f2fsCrashes(t *testing.T) []*f2fsCrash {
	t.Helper()
	list := []*f2fsCrash{
		{how: linux.Running, word: "not unmounted"},
		{how: linux.Fsynced, word: "wait to be replayed"},
		{how: linux.Orphan, word: "orphans"},
	}
	for _, c := range list {
		c.image = mkimage.MakeF2FS(t, mkimage.F2FSRow{Name: string(c.how), SizeMiB: 64, Args: []string{"-O", "encrypt"}})
	}
	return list
}

// refused checks that every command which writes says what is wrong, and
// leaves the image alone.
func (c *f2fsCrash) refused(t *testing.T) {
	mustRefuse(t, c.image, []int{exitInUse})
	before := digest(t, c.image)
	for _, args := range [][]string{{"setup", c.image, "--yes"}, {"wipe-free", c.image, "--yes"}} {
		if out, code := try(t, args...); code != exitInUse || !strings.Contains(out, c.word) {
			t.Errorf("%s: exit %d, want %d and a word of %q:\n%s", args[0], code, exitInUse, c.word, out)
		}
	}
	if digest(t, c.image) != before {
		t.Error("the image has changed")
	}
}

// unfinished is a copy of an image with the mark.
func unfinished(t *testing.T, image string) string {
	t.Helper()
	marked := copyOf(t, image, filepath.Join(t.TempDir(), "unfinished.img"))
	f, err := store.OpenFile(marked, true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fs, err := probe.Open(f, probe.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.SetUnfinished([16]byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if err := fs.Flush(); err != nil {
		t.Fatal(err)
	}
	return marked
}

// copyOf copies an image and returns where it is now.
func copyOf(t *testing.T, image, to string) string {
	t.Helper()
	if out, err := exec.Command("cp", "--sparse=always", image, to).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v: %s", err, out)
	}
	return to
}

// Images that take more than fsenc has, or rules of their own, are refused
// with a word about them, and stay as they are.
func TestRefuseF2FS(t *testing.T) {
	second := filepath.Join(t.TempDir(), "second.img")
	if err := os.WriteFile(second, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(second, 96<<20); err != nil {
		t.Fatal(err)
	}
	_, keyFile := masterKey(t, "refuse")
	for _, c := range []struct {
		name string
		args []string
		word string
	}{
		{"several devices", []string{"-O", "encrypt", "-c", second}, "device"},
		{"read-only feature", []string{"-O", "ro,encrypt"}, "read-only"},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := mkimage.MakeF2FS(t, mkimage.F2FSRow{Name: "refused", SizeMiB: 64, Args: c.args})
			mustRefuse(t, image, []int{exitDamaged, exitRefused})
			out, _ := try(t, "encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			if !strings.Contains(out, c.word) {
				t.Errorf("no word of %q:\n%s", c.word, out)
			}
		})
	}
}

// One damaged superblock or checkpoint is no reason to give up reading: after
// a conversion the other says the same. With both damaged nothing is done at
// all.
func TestDamagedF2FS(t *testing.T) {
	const block = 4096
	const pack = 512 * block // mkfs.f2fs puts the first one here on an image of this size
	row := mkimage.F2FSRow{Name: "damaged", SizeMiB: 128, Args: []string{"-O", "encrypt,extra_attr,sb_checksum"}, Populate: true}
	row.Tree = linux.Tree{BlockSize: block, NotMounted: true}
	pristine := mkimage.MakeF2FS(t, row)
	_, keyFile := masterKey(t, "damaged")
	run(t, "setup", pristine, "--yes")
	run(t, "encrypt-dir", pristine, "/secret", "--key-file", keyFile, "--yes")
	want := run(t, "ls", "-R", pristine, "/secret", "--key-file", keyFile)
	for _, c := range []struct {
		name    string
		offsets []int64
		exit    int
	}{
		{"first superblock", []int64{1024 + 16}, 0},
		{"second superblock", []int64{block + 1024 + 16}, 0},
		{"both superblocks", []int64{1024 + 16, block + 1024 + 16}, exitDamaged},
		{"first checkpoint", []int64{pack + 16}, 0},
		{"second checkpoint", []int64{2*pack + 16}, 0},
		{"both checkpoints", []int64{pack + 16, 2*pack + 16}, exitDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := copyOf(t, pristine, filepath.Join(t.TempDir(), "damaged.img"))
			for _, off := range c.offsets {
				flip(t, image, off)
			}
			before := digest(t, image)
			out, code := try(t, "ls", "-R", image, "/secret", "--key-file", keyFile)
			if code != c.exit || code == 0 && out != want {
				t.Errorf("ls: exit %d, want %d\n%s", code, c.exit, out)
			}
			if digest(t, image) != before {
				t.Error("the image has changed")
			}
			if c.exit != 0 {
				mustRefuse(t, image, []int{c.exit})
			}
		})
	}
}

// flip inverts a byte of a file.
func flip(t *testing.T, file string, off int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{^b[0]}, off); err != nil {
		t.Fatal(err)
	}
}
