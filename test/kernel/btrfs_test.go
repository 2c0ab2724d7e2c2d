package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fsenc/internal/image/imagetest"
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

// btrfsRows are the formats of one device that mkfs.btrfs makes.
var btrfsRows = []btrfsRow{
	{"default", nil, ""},
	{"single", []string{"-m", "single", "-d", "single"}, ""},
	{"dup", []string{"-m", "dup", "-d", "dup"}, ""},
	{"mixed", []string{"-M", "-n", "4096"}, ""},
	{"small nodes", []string{"-n", "4096"}, ""},
	{"large nodes", []string{"-n", "65536", "--csum", "blake2"}, ""},
	{"no free space tree", []string{"-R", "^free-space-tree"}, ""},
	{"holes", []string{"-O", "^no-holes"}, ""},
	{"large metadata items", []string{"-O", "^skinny-metadata"}, ""},
	{"no extref", []string{"-O", "^extref"}, ""},
	{"of 2012", []string{"-O", "^no-holes,^skinny-metadata,^extref", "-R", "^free-space-tree"}, ""},
	{"xxhash", []string{"--csum", "xxhash"}, "compress-force=zstd"},
	{"sha256", []string{"-n", "32768", "--csum", "sha256"}, "compress-force=zlib"},
	{"lzo", nil, "compress-force=lzo"},
	{"no sums", nil, "nodatasum"},
	{"no inline", nil, "max_inline=0"},
	{"quota", []string{"-R", "quota"}, ""},
	{"one stripe", []string{"-d", "raid0", "-m", "dup"}, ""},
	{"other uuid", nil, ""}, // which btrfstune gives it
	{blockGroupTree, nil, ""},
}

// blockGroupTree is a row that mkfs.btrfs 6.2 cannot make. The one of 6.14 has
// made an empty image, with -O block-group-tree.
const blockGroupTree = "block group tree"

func (r btrfsRow) has(feature string) bool {
	return !strings.Contains(strings.Join(r.mkfs, " "), "^"+feature)
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
	switch r.name {
	case blockGroupTree:
		if err := unpackTo(image, "testdata/btrfs-block-group-tree.img.zst"); err != nil {
			t.Fatal(err)
		}
	default:
		tool(t, "mkfs.btrfs", append(append([]string{"-q"}, r.mkfs...), image)...)
	}
	if r.name == "other uuid" {
		tool(t, "btrfstune", "-m", image)
	}
	onBtrfs(t, image, r.options, f)
	return image, lookAtBtrfs(t, image)
}

func unpackTo(image, from string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.Create(image)
	if err != nil {
		return err
	}
	_, err = imagetest.Unpack(w, r)
	return errors.Join(err, w.Close())
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
	checkBtrfs(t, s, when)
}

func checkBtrfs(t *testing.T, image, when string) {
	t.Helper()
	out, err := exec.Command("btrfs", "check", "--check-data-csum", image).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "no error found") {
		t.Fatalf("%s: btrfs check: %v\n%s", when, err, out)
	}
}

// worksAsShadow lets the kernel read all of an image and change what is plain,
// after which btrfs check is content.
func worksAsShadow(t *testing.T, image string) {
	t.Helper()
	s := shadow(t, image)
	defer os.Remove(s)
	onBtrfs(t, s, "", func(dir string) {
		scrub(t, dir)
		if err := errors.Join(linux.Add(filepath.Join(dir, "plain")), os.RemoveAll(filepath.Join(dir, "plain/-deep"))); err != nil {
			t.Errorf("the kernel writes beside the encrypted tree: %v", err)
		}
		scrub(t, dir)
	})
	checkBtrfs(t, s, "after the kernel wrote")
}

func scrub(t *testing.T, dir string) {
	t.Helper()
	if out := tool(t, "btrfs", "scrub", "start", "-B", dir); !strings.Contains(out, "no errors found") {
		t.Errorf("scrub: %s", out)
	}
}

// verdict reads an image with code that shares nothing with fsenc, and finds it
// in order.
func verdict(t *testing.T, image string, key []byte) *btrfsjudge.Verdict {
	t.Helper()
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	v, err := btrfsjudge.Judge([][]byte{key}, b)
	if err != nil {
		t.Fatalf("the judge: %v", err)
	}
	for _, s := range v.Broken {
		t.Errorf("the judge: %s", s)
	}
	return v
}

// judged compares what the judge reads with what the kernel showed: all of it,
// of which what lies under a directory is encrypted.
func judged(t *testing.T, files map[string]btrfsjudge.File, want []manifest.Entry, under string) {
	t.Helper()
	for _, e := range want {
		f, ok := files[path.Join("/", e.Path)]
		secret := e.Path == under || under == "." || strings.HasPrefix(e.Path, under+"/")
		name := e.Path
		if e.SameAs != "" {
			e = want[slices.IndexFunc(want, func(o manifest.Entry) bool { return o.Path == e.SameAs })]
		}
		if e.Type == manifest.Dir || e.Type == manifest.Symlink {
			f.Size = uint64(e.Size) // of the names, and of the target with its length
		}
		carries := e.Type == manifest.File || e.Type == manifest.Dir || e.Type == manifest.Symlink
		got := fmt.Sprintf("mode %o, %d links, of %d:%d, %d bytes", f.Mode&0o7777, f.Links, f.UID, f.GID, f.Size)
		seen := fmt.Sprintf("mode %o, %d links, of %d:%d, %d bytes", e.Mode, e.Nlink, e.UID, e.GID, e.Size)
		switch {
		case !ok:
			t.Errorf("the judge does not see %q", name)
		case got != seen:
			t.Errorf("%q: the judge reads %s, the kernel %s", name, got, seen)
		case f.SHA256 != e.SHA256 || f.Target != e.Target:
			t.Errorf("%q: the judge reads %s %q, the kernel read %s %q", name, f.SHA256, f.Target, e.SHA256, e.Target)
		case f.Encrypted != (secret && carries):
			t.Errorf("%q: encrypted is %v", name, f.Encrypted)
		}
	}
	if len(want) < 5 {
		t.Errorf("only %d entries compared", len(want))
	}
}

// sharing lists which paths have parts of one extent of the disk.
func sharing(files map[string]btrfsjudge.File) (groups []string) {
	at := make(map[uint64][]string)
	for p, f := range files {
		for _, d := range slices.Compact(slices.Sorted(slices.Values(f.Disk))) {
			at[d] = append(at[d], p)
		}
	}
	for _, paths := range at {
		if slices.Sort(paths); len(paths) > 1 {
			groups = append(groups, strings.Join(paths, " "))
		}
	}
	slices.Sort(groups)
	return groups
}

// In every layout a tree is encrypted, reads the same by the judge, and shares
// what it shared; it gets other keys; and decrypted it reads the same through
// the kernel. At each stop btrfs check is content.
func TestBtrfs(t *testing.T) {
	for _, r := range btrfsRows {
		t.Run(r.name, func(t *testing.T) {
			image, before := r.build(t, func(dir string) { fillBtrfs(t, dir, r) })
			key, keyFile := masterKey(t, r.name)
			shared := sharing(verdict(t, image, nil).Trees[topLevel])

			run(t, "setup", image, "--no-metadata", "--yes")
			run(t, "encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			soundBtrfs(t, image, "after encrypt-dir")
			noMarks(t, image)
			fsckIsContent(t, image, keyFile)
			v := verdict(t, image, key)
			judged(t, v.Trees[topLevel], before, "secret")
			if d := cmp.Diff(shared, sharing(v.Trees[topLevel])); d != "" || len(shared) < 4 {
				t.Errorf("files that share extents (-before +after):\n%s", d)
			}
			readsBtrfsBack(t, image, keyFile, before)
			worksAsShadow(t, image)

			run(t, "rekey", image, "/secret", "--key-file", keyFile, "--yes")
			soundBtrfs(t, image, "after rekey")
			judged(t, verdict(t, image, key).Trees[topLevel], before, "secret")
			readsBtrfsBack(t, image, keyFile, before)

			run(t, "decrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			run(t, "setup", image, "--remove", "--yes")
			checkBtrfs(t, image, "after decrypt-dir")
			same(t, "after decrypt-dir", before, lookAtBtrfs(t, image), manifest.Encryption)
			onBtrfs(t, image, "", func(dir string) {
				scrub(t, dir)
				if err := linux.Add(filepath.Join(dir, "secret")); err != nil {
					t.Errorf("write after decrypt-dir: %v", err)
				}
			})
			checkBtrfs(t, image, "after the kernel wrote")
		})
	}
}

// A conversion that is killed is undone, and the kernel finds what it had written;
// or it is finished.
func TestBtrfsKilled(t *testing.T) {
	for _, name := range []string{"default", "small nodes", "no inline", "lzo"} {
		t.Run(name, func(t *testing.T) {
			r := btrfsRows[slices.IndexFunc(btrfsRows, func(r btrfsRow) bool { return r.name == name })]
			image, before := r.build(t, func(dir string) { fillBtrfs(t, dir, r) })
			key, keyFile := masterKey(t, name)
			convert := func(command string) []string {
				return []string{command, image, "/secret", "--key-file", keyFile, "--yes"}
			}
			asBefore := func(when string) {
				run(t, "setup", image, "--remove", "--yes")
				checkBtrfs(t, image, when)
				same(t, when, before, lookAtBtrfs(t, image), manifest.Encryption)
				onBtrfs(t, image, "", func(dir string) { scrub(t, dir) })
			}

			run(t, "setup", image, "--no-metadata", "--yes")
			killed(t, image, convert("encrypt-dir")...)
			run(t, "undo", image, "--key-file", keyFile)
			asBefore("encrypt-dir undone")

			run(t, "setup", image, "--no-metadata", "--yes")
			killed(t, image, convert("encrypt-dir")...)
			run(t, "resume", image, "--key-file", keyFile)
			killed(t, image, convert("decrypt-dir")...)
			run(t, "undo", image, "--key-file", keyFile)
			soundBtrfs(t, image, "decrypt-dir undone")
			judged(t, verdict(t, image, key).Trees[topLevel], before, "secret")
			noMarks(t, image)

			killed(t, image, convert("decrypt-dir")...)
			run(t, "resume", image, "--key-file", keyFile)
			asBefore("decrypt-dir resumed")
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
		want := slices.Clone(want)
		for i := range want { // what only btrfs takes
			want[i].Xattrs = maps.Clone(want[i].Xattrs)
			delete(want[i].Xattrs, "btrfs.compression")
		}
		ignore := manifest.Inos | manifest.Encryption | manifest.Ranges | manifest.Flags
		same(t, "extracted", manifest.Below(want, "secret"), got, ignore)
	})
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

// Encrypted inline data is a format of our own: small files stay in their items,
// but for those that have something behind them.
func TestBtrfsInline(t *testing.T) {
	for _, r := range []btrfsRow{{"inline", nil, ""}, {"small nodes, compressed", []string{"-n", "4096", "--csum", "sha256"}, "compress-force=zstd"}} {
		t.Run(r.name, func(t *testing.T) {
			image, before := r.build(t, func(dir string) { fillBtrfs(t, dir, r) })
			key, keyFile := masterKey(t, r.name)
			run(t, "setup", image, "--no-metadata", "--yes", "--feature", "encrypt,encrypted_inline_data")
			run(t, "encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			soundBtrfs(t, image, "after encrypt-dir")
			noMarks(t, image)
			fsckIsContent(t, image, keyFile)
			v := verdict(t, image, key)
			judged(t, v.Trees[topLevel], before, "secret")
			inline := 0
			for p, f := range v.Trees[topLevel] {
				if strings.HasPrefix(p, "/secret/") && f.SHA256 != "" && f.Size > 0 && f.Disk == nil {
					inline++
				}
			}
			if inline < 20 {
				t.Errorf("%d files have their contents in items", inline)
			}
			readsBtrfsBack(t, image, keyFile, before)

			run(t, "rekey", image, "/secret", "--key-file", keyFile, "--yes")
			soundBtrfs(t, image, "after rekey")
			judged(t, verdict(t, image, key).Trees[topLevel], before, "secret")

			run(t, "setup", image, "--remove", "--feature", "encrypted_inline_data", "--key-file", keyFile, "--yes")
			soundBtrfs(t, image, "after the removal of the feature")
			judged(t, verdict(t, image, key).Trees[topLevel], before, "secret")

			run(t, "decrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			run(t, "setup", image, "--remove", "--yes")
			checkBtrfs(t, image, "after decrypt-dir")
			same(t, "after decrypt-dir", before, lookAtBtrfs(t, image), manifest.Encryption)
		})
	}
}

// The longest targets make items that the series writes and that btrfs check
// holds for too long; targets longer still cannot be encrypted.
func TestBtrfsLongestTargets(t *testing.T) {
	image, before := btrfsRow{name: "targets"}.build(t, func(dir string) {
		for _, n := range []int{1, 4064, 4065, 4080, 4093, 4094} {
			if err := errors.Join(os.MkdirAll(filepath.Join(dir, "secret"), 0o755),
				os.Symlink(strings.Repeat("t", n), filepath.Join(dir, "secret", fmt.Sprint(n)))); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "long"), 0o755), os.Symlink(strings.Repeat("t", 4095), filepath.Join(dir, "long/link"))); err != nil {
			t.Fatal(err)
		}
	})
	key, keyFile := masterKey(t, "targets")
	run(t, "setup", image, "--no-metadata", "--yes")
	run(t, "encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
	judged(t, verdict(t, image, key).Trees[topLevel], before, "secret")
	if out, code := try(t, "encrypt-dir", image, "/long", "--key-file", keyFile, "--yes"); code == 0 || !strings.Contains(out, "/long/link") {
		t.Errorf("a target of 4095 bytes: exit %d: %s", code, out)
	}
	run(t, "decrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
	run(t, "setup", image, "--remove", "--yes")
	checkBtrfs(t, image, "after decrypt-dir")
	same(t, "after decrypt-dir", before, lookAtBtrfs(t, image), manifest.Encryption)
}
