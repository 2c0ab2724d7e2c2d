package kernel

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/linux"
	"fsenc/test/mkimage"
)

const (
	exitNoKey   = 12
	exitNoSpace = 15
)

// build makes an image of a row whose trees f makes.
func build(t *testing.T, r mkimage.Row, f func(dir string) error) (string, []manifest.Entry) {
	t.Helper()
	image := mkimage.Make(t, r)
	mkimage.Mounted(t, image, true, func(dir string) {
		if err := f(dir); err != nil {
			t.Fatal(err)
		}
	})
	mustBeClean(t, image, "before")
	return image, look(t, image)
}

// Directories of thousands of names get an index of two levels, and every
// name in it is found; so is every name after the kernel has added to it.
func TestLargeDirectories(t *testing.T) {
	for _, c := range []struct {
		name, blocks, features string
		names                  int
	}{
		{"1k blocks", "1024", "", 12000},
		{"4k blocks", "4096", "", 30000},
		{"1k blocks, three levels", "1024", "large_dir", 60000},
		{"no index", "1024", "^dir_index", 2500},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"-b", c.blocks, "-N", fmt.Sprint(c.names + 2000)}
			if c.features != "" {
				args = append(args, "-O", c.features)
			}
			image, before := build(t, mkimage.Row{Name: "large", Size: 192 << 20, Args: args}, func(dir string) error {
				if err := os.Mkdir(filepath.Join(dir, "secret"), 0o755); err != nil {
					return err
				}
				first := filepath.Join(dir, "secret", "hush first")
				if err := os.WriteFile(first, nil, 0o644); err != nil {
					return err
				}
				for i := range c.names {
					name := filepath.Join(dir, "secret", fmt.Sprintf("hush %x", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))[:12+i%57])
					name += fmt.Sprint(i)
					if i%3 != 0 {
						if err := os.WriteFile(name, nil, 0o644); err != nil {
							return err
						}
					} else if err := os.Symlink("whisper", name); err != nil {
						return err
					}
				}
				return nil
			})
			key, keyFile := masterKey(t, "large")
			run(t, "setup", image, "--yes")
			run(t, "encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			mustBeClean(t, image, "after encrypt-dir")
			noMarks(t, image)
			same(t, "after encrypt-dir", before, look(t, image, key), manifest.Encryption)
			mkimage.Mounted(t, image, true, func(dir string) {
				if _, err := linux.AddKey(dir, key); err != nil {
					t.Fatal(err)
				}
				for i := range 500 {
					if err := os.Symlink("whisper", filepath.Join(dir, "secret", fmt.Sprintf("hush later %d", i))); err != nil {
						t.Fatal(err)
					}
				}
			})
			mustBeClean(t, image, "after the kernel wrote")
			written := look(t, image, key)
			run(t, "decrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			mustBeClean(t, image, "after decrypt-dir")
			same(t, "after decrypt-dir", written, look(t, image), manifest.Encryption)
		})
	}
}

// The paddings, several directories in one command, a second key, and a
// directory that is encrypted already.
func TestSeveralTrees(t *testing.T) {
	row := mkimage.Row{Name: "several", Size: 128 << 20, Args: []string{"-b", "1024"}}
	paddings := []string{"4", "8", "16", "32"}
	image, before := build(t, row, func(dir string) error {
		for _, p := range paddings {
			for _, twin := range []string{"a", "b"} {
				if err := os.MkdirAll(filepath.Join(dir, "home"), 0o755); err != nil {
					return err
				}
				if err := linux.Fill(filepath.Join(dir, "home", twin+p), linux.Tree{BlockSize: 1024}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	run(t, "setup", image, "--yes")
	keys := [][]byte{}
	for _, p := range paddings {
		key, keyFile := masterKey(t, "padding "+p)
		keys = append(keys, key)
		run(t, "encrypt-dir", image, "/home/a"+p, "/home/b"+p, "--padding", p, "--key-file", keyFile, "--yes")
		mustBeClean(t, image, "after padding "+p)
	}
	after := look(t, image, keys...)
	same(t, "after encrypt-dir", before, after, manifest.Encryption)
	policies := make(map[string]int)
	for _, e := range after {
		if e.Policy != nil {
			policies[e.Policy.Raw]++
		}
	}
	if len(policies) != len(paddings) {
		t.Errorf("%d policies, want %d", len(policies), len(paddings))
	}

	_, first := masterKey(t, "padding 4")
	_, second := masterKey(t, "padding 8")
	sum := digest(t, image)
	if out, code := try(t, "encrypt-dir", image, "/home", "--key-file", first, "--yes"); code == 0 {
		t.Errorf("a tree with other policies inside was encrypted: %s", out)
	}
	if out, code := try(t, "decrypt-dir", image, "/home/a4", "--key-file", second, "--yes"); code != exitNoKey {
		t.Errorf("decrypt-dir with a wrong key: exit %d, want %d: %s", code, exitNoKey, out)
	}
	if digest(t, image) != sum {
		t.Error("a refused command changed the image")
	}
	run(t, "decrypt-dir", image, "/home/a4", "/home/b4", "--key-file", first, "--yes")
	mustBeClean(t, image, "after decrypt-dir of two of eight")
	same(t, "after decrypt-dir", before, look(t, image, keys[1:]...), manifest.Encryption)
}

// A directory deep in a tree, and one that is empty.
func TestPartOfATree(t *testing.T) {
	image, before := mkimage.Build(t, mkimage.Rows[0])
	key, keyFile := masterKey(t, "part")
	part := "secret/hush-deep/hush-level0/hush-level1"
	run(t, "setup", image, "--yes")
	run(t, "encrypt-dir", image, "/"+part, "/secret/hush-deep/hush-empty directory", "--key-file", keyFile, "--yes")
	mustBeClean(t, image, "after encrypt-dir")
	after := look(t, image, key)
	same(t, "after encrypt-dir", before, after, manifest.Encryption)
	for _, e := range after {
		want := e.Path == part || strings.HasPrefix(e.Path, part+"/") || e.Path == "secret/hush-deep/hush-empty directory"
		if e.Encrypted != want {
			t.Errorf("%q: encrypted is %v, want %v", e.Path, e.Encrypted, want)
		}
	}
	written := addTo(t, image, key)
	mustBeClean(t, image, "after the kernel wrote")
	run(t, "decrypt-dir", image, "/"+part, "/secret/hush-deep/hush-empty directory", "--key-file", keyFile, "--yes")
	mustBeClean(t, image, "after decrypt-dir")
	same(t, "after decrypt-dir", written, look(t, image), manifest.Encryption)
}

// A file in several thousand pieces has an extent tree of two levels.
func TestFragmented(t *testing.T) {
	for _, features := range []string{"^has_journal", "^extent,^64bit"} {
		t.Run(features, func(t *testing.T) {
			t.Parallel()
			row := mkimage.Row{Name: "fragmented", Size: 64 << 20, Args: []string{"-b", "1024", "-O", features}}
			image, before := build(t, row, func(dir string) error {
				if err := os.Mkdir(filepath.Join(dir, "secret"), 0o755); err != nil {
					return err
				}
				f, err := os.Create(filepath.Join(dir, "secret", "hush"))
				if err != nil {
					return err
				}
				for i := range int64(12000) {
					if _, err := f.WriteAt([]byte(linux.MarkContents), 2*1024*i); err != nil {
						return err
					}
				}
				return f.Close()
			})
			key, keyFile := masterKey(t, "fragmented")
			run(t, "setup", image, "--yes")
			run(t, "encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			mustBeClean(t, image, "after encrypt-dir")
			noMarks(t, image)
			same(t, "after encrypt-dir", before, look(t, image, key), manifest.Encryption)
			run(t, "decrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			mustBeClean(t, image, "after decrypt-dir")
			same(t, "after decrypt-dir", before, look(t, image), manifest.Encryption)
		})
	}
}

// A full image is found by the plan: nothing is written.
func TestFull(t *testing.T) {
	row := mkimage.Row{Name: "full", Size: 16 << 20, Args: []string{"-b", "1024", "-I", "128", "-O", "encrypt", "-m", "0"}}
	image, before := build(t, row, func(dir string) error {
		if err := linux.Fill(filepath.Join(dir, "secret"), linux.Tree{BlockSize: 1024}); err != nil {
			return err
		}
		// Inodes of 128 bytes put each context into a block, and there is none.
		big, err := os.Create(filepath.Join(dir, "big"))
		if err != nil {
			return err
		}
		piece := make([]byte, 1024)
		for {
			if _, err := big.Write(piece); err != nil {
				return big.Close()
			}
		}
	})
	key, keyFile := masterKey(t, "full")
	sum := digest(t, image)
	if out, code := try(t, "encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes"); code != exitNoSpace {
		t.Errorf("exit %d, want %d: %s", code, exitNoSpace, out)
	}
	if digest(t, image) != sum {
		t.Error("the image has changed")
	}
	same(t, "after the refusal", before, look(t, image, key), 0)
}

// A block device is as good as a file.
func TestBlockDevice(t *testing.T) {
	image, before := mkimage.Build(t, mkimage.Rows[0])
	key, keyFile := masterKey(t, "device")
	out, err := exec.Command("losetup", "--find", "--show", image).Output()
	if err != nil {
		t.Fatal(err)
	}
	device := strings.TrimSpace(string(out))
	defer func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("detach: %v: %s", err, out)
		}
	}()
	journal := filepath.Join(t.TempDir(), "journal")
	run(t, "setup", device, "--yes")
	run(t, "encrypt-dir", device, "/secret", "--key-file", keyFile, "--yes", "--journal", journal)
	mustBeClean(t, device, "after encrypt-dir")
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-o", "ro", device, dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	defer func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	}()
	if _, err := linux.AddKey(dir, key); err != nil {
		t.Fatal(err)
	}
	same(t, "after encrypt-dir", before, mkimage.Walk(t, dir), manifest.Encryption)
	// Now it is mounted, by way of a device.
	if out, code := try(t, "decrypt-dir", device, "/secret", "--key-file", keyFile, "--yes", "--journal", journal); code != exitInUse {
		t.Errorf("mounted device: exit %d, want %d: %s", code, exitInUse, out)
	}
	if out, code := try(t, "decrypt-dir", image, "/secret", "--key-file", keyFile, "--yes"); code != exitInUse {
		t.Errorf("image of a loop device: exit %d, want %d: %s", code, exitInUse, out)
	}
}

// Blocks larger than a page: this kernel does not mount them, e2fsck judges
// what is written and fsenc itself reads it back.
func TestLargeBlocks(t *testing.T) {
	for _, size := range []string{"8192", "16384", "65536"} {
		t.Run(size, func(t *testing.T) {
			t.Parallel()
			row := mkimage.Row{
				Name: "blocks", Size: 256 << 20, Args: []string{"-b", size},
				Populate: true, Tree: linux.Tree{BlockSize: 4096, NotMounted: true},
			}
			image := mkimage.Make(t, row)
			_, keyFile := masterKey(t, "blocks")
			mkimage.InRoom(t, func(plain string) {
				run(t, "extract", image, "/secret", "-C", plain)
				want := mkimage.Walk(t, plain)
				run(t, "setup", image, "--yes")
				run(t, "encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
				mustBeClean(t, image, "after encrypt-dir")
				noMarks(t, image)
				readsBack(t, image, keyFile, want)
				run(t, "decrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
				mustBeClean(t, image, "after decrypt-dir")
				readsBack(t, image, keyFile, want)
			})
		})
	}
}
