package kernel

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/btrfsjudge"
	"fsenc/test/linux"
	"fsenc/test/mkimage"
)

// topLevel is the id of the subvolume that every btrfs has.
const topLevel = 5

// btrfsRow is one way to make and to mount an image of btrfs.
type btrfsRow struct {
	name    string
	mkfs    []string
	options string
}

var btrfsRows = []btrfsRow{
	{"default", nil, ""},
	{"single", []string{"-m", "single", "-d", "single"}, ""},
	{"dup", []string{"-m", "dup", "-d", "dup"}, ""},
	{"mixed", []string{"-M", "-n", "4096"}, ""},
	{"large nodes", []string{"-n", "65536", "--csum", "blake2"}, ""},
	{"old features", []string{"-n", "4096", "-O", "^no-holes,^extref,^skinny-metadata", "-R", "^free-space-tree"}, ""},
	{"xxhash", []string{"--csum", "xxhash"}, "compress-force=zstd"},
	{"sha256", []string{"--csum", "sha256"}, "compress-force=zlib"},
	{"lzo", nil, "compress-force=lzo"},
	{"no sums", nil, "nodatasum"},
	{"no inline", nil, "max_inline=0"},
	{"quota", []string{"-R", "quota"}, ""},
}

// build makes an image, lets f fill it through the kernel and returns the tree
// that the kernel shows after a new mount.
func (r btrfsRow) build(t *testing.T, f func(dir string)) (string, []manifest.Entry) {
	t.Helper()
	mkimage.NeedRoot(t)
	image := filepath.Join(t.TempDir(), "img")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 400<<20)); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkfs.btrfs", append(append([]string{"-q"}, r.mkfs...), image)...)
	onBtrfs(t, image, r.options, f)
	return image, lookAtBtrfs(t, image)
}

// tool runs a command of btrfs-progs.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// onBtrfs mounts an image, "ro" among the options for reading only.
func onBtrfs(t *testing.T, image, options string, f func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	m, err := linux.MountImage(image, dir, "btrfs", options == "ro", strings.TrimPrefix(options, "ro"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	f(dir)
}

func lookAtBtrfs(t *testing.T, image string) []manifest.Entry {
	t.Helper()
	return lookBelow(t, image, ".")["."]
}

// lookBelow looks at subvolumes one by one: inodes of two may have one number.
func lookBelow(t *testing.T, image string, tops ...string) map[string][]manifest.Entry {
	t.Helper()
	trees := make(map[string][]manifest.Entry)
	onBtrfs(t, image, "ro", func(dir string) {
		for _, top := range tops {
			trees[top] = mkimage.Walk(t, filepath.Join(dir, top))
		}
	})
	return trees
}

// shadow is a copy without the marks of encryption, which btrfs check and the
// kernel of this machine refuse.
func shadow(t *testing.T, image string) string {
	t.Helper()
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "shadow")
	if err := errors.Join(btrfsjudge.Shadow(b), os.WriteFile(name, b, 0o600)); err != nil {
		t.Fatal(err)
	}
	return name
}

// soundBtrfs lets btrfs check judge all trees and all checksums.
func soundBtrfs(t *testing.T, image, when string) {
	t.Helper()
	s := shadow(t, image)
	defer os.Remove(s)
	if out, err := exec.Command("btrfs", "check", "--check-data-csum", s).CombinedOutput(); err != nil {
		t.Fatalf("%s: btrfs check: %v\n%s", when, err, out)
	}
}

// judged reads the encrypted image with code that shares nothing with fsenc,
// and compares with what the kernel showed.
func judged(t *testing.T, image string, key []byte, subvolume uint64, want []manifest.Entry, under string) map[string]btrfsjudge.File {
	t.Helper()
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	files, err := btrfsjudge.Files(b, subvolume, key)
	if err != nil {
		t.Fatalf("the judge: %v", err)
	}
	seen := 0
	for _, e := range want {
		if e.Path != under && !strings.HasPrefix(e.Path, under+"/") {
			continue
		}
		if e.SameAs != "" {
			i := slices.IndexFunc(want, func(o manifest.Entry) bool { return o.Path == e.SameAs })
			path := e.Path
			e = want[i]
			e.Path = path
		}
		f, ok := files["/"+e.Path]
		carries := e.Type == manifest.File || e.Type == manifest.Dir || e.Type == manifest.Symlink
		switch {
		case !ok:
			t.Errorf("the judge does not see %q", e.Path)
		case e.Type == manifest.File && f.SHA256 != e.SHA256:
			t.Errorf("%q: the judge reads %s, the kernel read %s", e.Path, f.SHA256, e.SHA256)
		case e.Type == manifest.Symlink && f.Target != e.Target:
			t.Errorf("%q: target %q, want %q", e.Path, f.Target, e.Target)
		case f.Encrypted != carries:
			t.Errorf("%q: encrypted is %v", e.Path, f.Encrypted)
		}
		seen++
	}
	if seen < 5 {
		t.Errorf("only %d entries compared", seen)
	}
	return files
}

// reflink makes dst a reflink of src, or of length bytes of it from an offset.
func reflink(dst, src string, from, length, to uint64) error {
	s, err := os.Open(src)
	if err != nil {
		return err
	}
	defer s.Close()
	d, err := os.OpenFile(dst, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	r := &unix.FileCloneRange{Src_fd: int64(s.Fd()), Src_offset: from, Src_length: length, Dest_offset: to}
	return errors.Join(unix.IoctlFileCloneRange(int(d.Fd()), r), d.Close())
}

// fillBtrfs makes the trees, and in each what only btrfs has: files that share
// extents, whole and in part, and parts of extents written over.
func fillBtrfs(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"secret", "plain"} {
		root := filepath.Join(dir, name)
		if err := linux.Fill(root, linux.Tree{BlockSize: 4096, BigXattr: 3000}); err != nil {
			t.Fatal(err)
		}
		base, line := filepath.Join(root, "shared"), "nothing to hide\n"
		if name == "secret" {
			base, line = filepath.Join(root, linux.MarkName+"-shared"), linux.MarkContents+"\n"
		}
		body := strings.Repeat(line, 20000)
		err := errors.Join(
			os.WriteFile(base, []byte(body), 0o640),
			exec.Command("sync", "-f", base).Run(),
			reflink(base+" whole", base, 0, 0, 0),
			reflink(base+" in part", base, 65536, 131072, 8192),
			exec.Command("sync", "-f", base).Run(),
			overwrite(base, 40960, 12288),
		)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// overwrite writes n bytes in the middle of a file.
func overwrite(name string, off int64, n int) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(strings.Repeat("over", n/4)), off)
	return errors.Join(err, f.Close())
}

// In every layout a tree is encrypted, reads the same by the judge, and shares
// what it shared; it gets other keys; and decrypted it reads the same through
// the kernel. At each stop btrfs check is content.
func TestBtrfs(t *testing.T) {
	for _, r := range btrfsRows {
		t.Run(r.name, func(t *testing.T) {
			image, before := r.build(t, func(dir string) { fillBtrfs(t, dir) })
			key, keyFile := masterKey(t, r.name)

			run(t, "setup", image, "--no-metadata", "--yes")
			run(t, "encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			soundBtrfs(t, image, "after encrypt-dir")
			noMarks(t, image)
			fsckIsContent(t, image, keyFile)
			readsBtrfsBack(t, image, keyFile, before)
			if r.name != "lzo" { // which the judge cannot unpack
				files := judged(t, image, key, topLevel, before, "secret")
				shared := "/secret/" + linux.MarkName + "-shared"
				if !slices.ContainsFunc(files[shared].Disk, func(d uint64) bool { return slices.Contains(files[shared+" whole"].Disk, d) }) {
					t.Error("files that shared extents do not any more")
				}
			}

			run(t, "rekey", image, "/secret", "--key-file", keyFile, "--yes")
			soundBtrfs(t, image, "after rekey")
			readsBtrfsBack(t, image, keyFile, before)

			run(t, "decrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			run(t, "setup", image, "--remove", "--yes")
			tool(t, "btrfs", "check", "--check-data-csum", image)
			same(t, "after decrypt-dir", before, lookAtBtrfs(t, image), manifest.Encryption)
			onBtrfs(t, image, "", func(dir string) {
				if out := tool(t, "btrfs", "scrub", "start", "-B", dir); !strings.Contains(out, "no errors found") {
					t.Errorf("scrub: %s", out)
				}
				if err := linux.Add(filepath.Join(dir, "secret")); err != nil {
					t.Errorf("write after decrypt-dir: %v", err)
				}
			})
			tool(t, "btrfs", "check", "--check-data-csum", image)
		})
	}
}

// readsBtrfsBack extracts /secret and compares it with what the kernel showed.
// Directories there count no subdirectories as links.
func readsBtrfsBack(t *testing.T, image, keyFile string, want []manifest.Entry) {
	t.Helper()
	mkimage.InRoom(t, func(dir string) {
		run(t, "extract", image, "/secret", "-C", dir, "--key-file", keyFile)
		got := mkimage.Walk(t, dir)
		for i := range got {
			if got[i].Type == manifest.Dir {
				got[i].Nlink = 1
			}
		}
		ignore := manifest.Inos | manifest.Encryption | manifest.Ranges | manifest.Flags
		same(t, "extracted", manifest.Below(want, "secret"), got, ignore)
	})
}

// A tree in a subvolume with snapshots: refused as it stands; with "unshare"
// the snapshots stay as they are; with "whole" they go along.
func TestBtrfsSnapshots(t *testing.T) {
	r := btrfsRow{name: "snapshots"}
	image, _ := r.build(t, func(dir string) {
		tool(t, "btrfs", "-q", "subvolume", "create", filepath.Join(dir, "sub"))
		fillBtrfs(t, filepath.Join(dir, "sub"))
		tool(t, "btrfs", "-q", "subvolume", "snapshot", filepath.Join(dir, "sub"), filepath.Join(dir, "snap"))
		if err := overwrite(filepath.Join(dir, "snap/secret", linux.MarkName+"-shared"), 8192, 4096); err != nil {
			t.Fatal(err)
		}
	})
	before := lookBelow(t, image, "sub", "snap")
	key, keyFile := masterKey(t, r.name)
	run(t, "setup", image, "--no-metadata", "--yes")
	plain, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}

	out, code := try(t, "encrypt-dir", image, "/sub/secret", "--key-file", keyFile, "--yes")
	if code == 0 || !strings.Contains(out, "--shared") {
		t.Errorf("shared with a snapshot: exit %d: %s", code, out)
	}
	if now, err := os.ReadFile(image); err != nil || string(now) != string(plain) {
		t.Error("the refusal changed the image")
	}
	const sub = 256 // the first subvolume that is made
	for _, how := range []string{"unshare", "whole"} {
		t.Run(how, func(t *testing.T) {
			if err := os.WriteFile(image, plain, 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, "encrypt-dir", image, "/sub/secret", "--shared", how, "--key-file", keyFile, "--yes")
			soundBtrfs(t, image, "after encrypt-dir")
			fsckIsContent(t, image, keyFile)
			judged(t, image, key, sub, before["sub"], "secret")
			if how == "whole" {
				judged(t, image, key, sub+1, before["snap"], "secret")
			}
			args := []string{"decrypt-dir", image, "/sub/secret", "--key-file", keyFile, "--yes"}
			if how == "whole" {
				args = append(args, "--shared", how)
			}
			run(t, args...)
			run(t, "setup", image, "--remove", "--yes")
			tool(t, "btrfs", "check", "--check-data-csum", image)
			for top, now := range lookBelow(t, image, "sub", "snap") {
				same(t, top+" after decrypt-dir", before[top], now, manifest.Encryption)
			}
		})
	}
}

// The kernel and btrfs check refuse an image that encrypts, as they refuse one
// with a conversion at work; nobody mistakes it for a plain one.
func TestBtrfsRefusedByKernel(t *testing.T) {
	image, _ := btrfsRow{name: "refused"}.build(t, func(dir string) {
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	run(t, "setup", image, "--no-metadata", "--yes")
	dir := t.TempDir()
	m, err := linux.MountImage(image, dir, "btrfs", true, "")
	if err == nil {
		t.Error("the kernel mounts an image with a feature that it does not know", m.Unmount())
	}
	if out, err := exec.Command("btrfs", "check", image).CombinedOutput(); err == nil {
		t.Errorf("btrfs check takes an image with a feature that it does not know: %s", out)
	}
	run(t, "setup", image, "--remove", "--yes")
	onBtrfs(t, image, "", func(dir string) {
		if _, err := os.Stat(filepath.Join(dir, "file")); errors.Is(err, fs.ErrNotExist) {
			t.Error("the file is gone")
		}
	})
}
