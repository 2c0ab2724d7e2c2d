package convert_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fsenc/internal/convert"
	"fsenc/internal/feature"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
	"fsenc/internal/txn"
	"fsenc/test/btrfsjudge"
	"fsenc/test/linux"
)

// btrfsLayouts are images that mkfs.btrfs fills without the kernel.
var btrfsLayouts = []layout{
	{"mixed", "32M", []string{"-M", "-n", "4096"}},
	{"default", "128M", nil},
	{"single, xxhash", "128M", []string{"-m", "single", "--csum", "xxhash"}},
	{"data twice, sha256", "256M", []string{"-d", "dup", "--csum", "sha256"}},
	{"large nodes, blake2", "128M", []string{"-n", "65536", "--csum", "blake2"}},
	{"small nodes, old features", "128M", []string{"-n", "4096", "-O", "^no-holes,^extref", "-R", "^free-space-tree"}},
}

// makeBtrfs returns the bytes of an image with the tree that fill makes, ready
// for encryption.
func (l layout) makeBtrfs(t testing.TB, fill func(dir string)) []byte {
	t.Helper()
	src := t.TempDir()
	fill(src)
	img := filepath.Join(t.TempDir(), "img")
	if out, err := exec.Command("truncate", "-s", l.size, img).CombinedOutput(); err != nil {
		t.Fatalf("truncate: %v: %s", err, out)
	}
	args := append(append([]string{"-q", "-f", "--rootdir", src}, l.args...), img)
	if out, err := exec.Command("/usr/sbin/mkfs.btrfs", args...).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.btrfs: %v: %s", err, out)
	}
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	b = setFeatures(t, b, []string{feature.Encrypt}, nil)
	checkBtrfs(t, b)
	return b
}

// checkBtrfs lets btrfs check look for errors, checksums of data included. It
// knows nothing of encryption yet, so what it sees has no marks of that.
func checkBtrfs(t testing.TB, img []byte) {
	t.Helper()
	if err := btrfsjudge.CheckShadow(t.TempDir(), img); err != nil {
		t.Fatal(err)
	}
}

func TestEncryptAndDecryptBtrfs(t *testing.T) {
	keys, pol := testKey(t)
	for _, l := range btrfsLayouts {
		t.Run(l.name, func(t *testing.T) {
			home := storetest.NewMem(l.makeBtrfs(t, func(dir string) { fill(t, dir) }))
			before := snapshot(t, home, nil)
			for _, small := range []bool{false, true} {
				if err := (job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true, small: small}).run(t.Context(), home, newLog()); err != nil {
					t.Fatal(err)
				}
				checkBtrfs(t, home.Bytes())
				if d := cmp.Diff(before, snapshot(t, home, keys)); d != "" {
					t.Fatalf("encrypted tree differs (-before +after):\n%s", d)
				}
				noPlaintext(t, home.Bytes())
				if err := (job{op: convert.Rekey, keys: keys, pol: pol, small: small}).run(t.Context(), home, newLog()); err != nil {
					t.Fatal(err)
				}
				checkBtrfs(t, home.Bytes())
				if d := cmp.Diff(before, snapshot(t, home, keys)); d != "" {
					t.Fatalf("rekeyed tree differs (-before +after):\n%s", d)
				}
				if err := (job{op: convert.Decrypt, keys: keys, pol: pol, small: small}).run(t.Context(), home, newLog()); err != nil {
					t.Fatal(err)
				}
				checkBtrfs(t, home.Bytes())
				if d := cmp.Diff(before, snapshot(t, home, nil)); d != "" {
					t.Fatalf("decrypted tree differs (-before +after):\n%s", d)
				}
			}
		})
	}
}

// What is encrypted reads the same by code that shares nothing with ours.
func TestJudgeOfBtrfs(t *testing.T) {
	keys, pol := testKey(t)
	master := make([]byte, 64)
	for i := range master {
		master[i] = byte(i)
	}
	for _, l := range btrfsLayouts {
		t.Run(l.name, func(t *testing.T) {
			src := t.TempDir()
			home := storetest.NewMem(l.makeBtrfs(t, func(dir string) { fill(t, dir); fill(t, src) }))
			if err := (job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true}).run(t.Context(), home, newLog()); err != nil {
				t.Fatal(err)
			}
			const topLevel = 5
			files, err := btrfsjudge.Files(home.Bytes(), topLevel, master)
			if err != nil {
				t.Fatal(err)
			}
			compareJudged(t, src, files)
		})
	}
}

// compareJudged holds what the judge read against the directory it was made of.
func compareJudged(t *testing.T, src string, files map[string]btrfsjudge.File) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(src, func(p string, d os.DirEntry, err error) error {
		if err != nil || p == src {
			return err
		}
		rel, _ := filepath.Rel(src, p)
		f, ok := files["/"+rel]
		if !ok {
			t.Errorf("%s is not in the image", rel)
			return nil
		}
		seen++
		inTree := strings.HasPrefix(rel+"/", "secret/")
		if f.Encrypted != inTree {
			t.Errorf("%s: encrypted is %v", rel, f.Encrypted)
		}
		switch d.Type() {
		case 0:
			want, err := os.ReadFile(p)
			if err != nil || fmt.Sprintf("%x", sha256.Sum256(want)) != f.SHA256 {
				t.Errorf("%s: contents differ (%v)", rel, err)
			}
		case os.ModeSymlink:
			want, err := os.Readlink(p)
			if err != nil || want != f.Target {
				t.Errorf("%s: target %q, want %q (%v)", rel, f.Target, want, err)
			}
		}
		return nil
	})
	if err != nil || seen < 80 {
		t.Errorf("%d entries compared, %v", seen, err)
	}
}

// btrfsStride is how many writes lie between two power cuts.
var btrfsStride = 11

// A power cut while an image of btrfs is converted ends with the old tree or
// the new one, and both pass btrfs check.
func TestPowerLossBtrfs(t *testing.T) {
	keys, pol := testKey(t)
	plain := btrfsLayouts[0].makeBtrfs(t, func(dir string) {
		put(t, dir, "secret/file", 9000)
		put(t, dir, "secret/inline", 100)
		put(t, dir, "secret/sub/other", 1500)
		for i := range 5 {
			put(t, dir, fmt.Sprintf("secret/many/a name that is of some length %02d", i), i)
		}
		if err := os.Symlink(strings.Repeat("t", 1000), filepath.Join(dir, "secret/link")); err != nil {
			t.Fatal(err)
		}
	})
	r := recovery{keys: keys, want: snapshot(t, storetest.NewMem(plain), nil), judged: make(map[[32]byte]bool),
		check: checkBtrfs, stride: btrfsStride}
	encrypted := storetest.NewMem(bytes.Clone(plain))
	enc := job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true, small: true}
	if err := enc.run(t.Context(), encrypted, newLog()); err != nil {
		t.Fatal(err)
	}
	r.powerLoss(t, enc, plain)
	r.powerLoss(t, job{op: convert.Rekey, keys: keys, pol: pol, small: true}, encrypted.Bytes())
	r.powerLoss(t, job{op: convert.Decrypt, keys: keys, pol: pol, small: true}, encrypted.Bytes())
	t.Logf("%d cuts, %d states recovered from, %d different results", r.cuts, r.states, len(r.judged))
}

func TestResumeAndUndoTakeTurnsBtrfs(t *testing.T) {
	takeTurns(t, btrfsLayouts[0].makeBtrfs(t, func(dir string) { fill(t, dir) }), checkBtrfs)
}

// Calls of the host fail: the image is as it was, or the error says that resume
// is the way on, which ends with the right tree in either direction.
func TestErrorsOfTheHostBtrfs(t *testing.T) {
	keys, pol := testKey(t)
	plain := btrfsLayouts[0].makeBtrfs(t, func(dir string) {
		put(t, dir, "secret/file", 7000)
		put(t, dir, "secret/sub/other", 1500)
	})
	j := job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true, small: true}
	r := recovery{keys: keys, want: snapshot(t, storetest.NewMem(plain), nil), judged: make(map[[32]byte]bool), check: checkBtrfs}
	failures := r.faults(t, []host{
		{false, storetest.Read, unix.EIO, 11}, {false, storetest.Write, unix.EIO, 3},
		{false, storetest.Sync, unix.EIO, 1}, {false, storetest.Zero, unix.EIO, 2}},
		"encrypt", plain, nil, func(home, log store.Store) error { return j.run(t.Context(), home, log) })
	if failures < 20 {
		t.Errorf("only %d calls failed", failures)
	}
}

// What files have and never wrote may hold remains, and is wiped: of files that
// wrote some of it and of those that wrote nothing, in one go and by who resumes.
func TestUnwrittenBlocksOfBtrfs(t *testing.T) {
	keys, pol := testKey(t)
	remains := []byte("what was in a block that a file was given")
	img := filepath.Join(t.TempDir(), "img")
	plain := btrfsLayouts[1].makeBtrfs(t, func(dir string) { put(t, dir, "secret/file", 100) })
	// A kernel that knows no encryption does not mount it with the feature.
	if err := os.WriteFile(img, setFeatures(t, plain, nil, []string{feature.Encrypt}), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := linux.MountImage(img, filepath.Join(t.TempDir(), "mnt"), "btrfs", false, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, wrote := range map[string]int{"all idle": 0, "some idle": 20000} {
		p := filepath.Join(m.Dir, "secret", name)
		f, err := os.Create(p)
		if err == nil {
			err = unix.Fallocate(int(f.Fd()), 0, 0, 1<<20)
		}
		if err == nil {
			_, err = f.Write(content(name, wrote))
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Error(err)
		}
	}
	if err := m.Unmount(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	home := storetest.NewMem(setFeatures(t, b, []string{feature.Encrypt}, nil))
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	places := 0
	for _, name := range []string{"all idle", "some idle"} {
		all, err := fs.Extents(lookup(t, home, nil, "/secret/"+name).Ino)
		for _, x := range all {
			if !x.Unwritten || err != nil {
				continue
			}
			err = fs.Places(x.Pblk, x.Len, func(_ uint64, off, n int64) error {
				places++
				_, err := home.WriteAt(remains, off+n-4096)
				return err
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if places < 2 {
		t.Fatalf("%d places were never written", places)
	}
	before := snapshot(t, home, nil)
	check := func(t *testing.T, home *storetest.Mem) {
		t.Helper()
		checkBtrfs(t, home.Bytes())
		if d := cmp.Diff(before, snapshot(t, home, keys)); d != "" {
			t.Errorf("encrypted tree differs (-before +after):\n%s", d)
		}
		if n := bytes.Count(home.Bytes(), remains); n > 0 {
			t.Errorf("remains are left in %d of %d places", n, places)
		}
	}
	j := job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true}
	t.Run("whole", func(t *testing.T) {
		home := storetest.NewMem(bytes.Clone(home.Bytes()))
		if err := j.run(t.Context(), home, newLog()); err != nil {
			t.Fatal(err)
		}
		check(t, home)
	})
	t.Run("resumed", func(t *testing.T) {
		home, log := storetest.NewMem(bytes.Clone(home.Bytes())), newLog()
		ctx, cancel := context.WithCancel(t.Context())
		j := j
		j.small = true
		j.report = func(p convert.Progress) {
			if p.Items > 0 {
				cancel()
			}
		}
		if err := j.run(ctx, home, log); !errors.Is(err, txn.ErrUnfinished) {
			t.Fatal(err)
		}
		if !bytes.Contains(home.Bytes(), remains) {
			t.Fatal("it was interrupted too late")
		}
		if err := resumed(t, keys, home, log).Run(t.Context(), convert.Forward); err != nil {
			t.Fatal(err)
		}
		check(t, home)
	})
}
