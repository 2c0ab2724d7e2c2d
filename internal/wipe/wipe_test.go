package wipe_test

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

	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
	"fsenc/internal/tree"
	"fsenc/internal/wipe"
	"fsenc/test/mkimage"
)

const marker = "a-marker-of-what-was-deleted"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// layouts of mke2fs: the journal, inline data, the block map and clusters
// differ in what is residue.
var layouts = []struct {
	name, size string
	args       []string
}{
	{"1k", "2M", []string{"-b", "1024", "-O", "^has_journal"}},
	{"journal", "12M", []string{"-b", "4096"}},
	{"inline", "6M", []string{"-b", "1024", "-O", "inline_data"}},
	{"block map", "2M", []string{"-b", "1024", "-I", "128", "-O", "^has_journal,^extent,^64bit,^metadata_csum"}},
	{"bigalloc", "8M", []string{"-b", "1024", "-C", "4096", "-O", "bigalloc,^has_journal"}},
}

// used makes an image, lets the kernel write and delete in it, and returns
// its path.
func used(t *testing.T, size string, args []string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "img")
	args = append([]string{"-q", "-F", "-t", "ext4"}, append(args, path, size)...)
	if out, err := exec.Command("/usr/sbin/mke2fs", args...).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	mkimage.Mounted(t, path, true, func(dir string) {
		write := func(name string, n int) {
			must(t, os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte(marker), n), 0o600))
		}
		must(t, os.Mkdir(filepath.Join(dir, "gone"), 0o700))
		for i, n := range []int{1, 3, 40, 3000} {
			write(fmt.Sprintf("gone/%s%d", marker, i), n)
		}
		must(t, os.Symlink(marker, filepath.Join(dir, "gone/link")))
		must(t, os.WriteFile(filepath.Join(dir, "kept"), []byte("what stays"), 0o600))
		preallocated(t, filepath.Join(dir, "kept2"))
		must(t, exec.Command("sync", "-f", dir).Run())
		must(t, os.RemoveAll(filepath.Join(dir, "gone")))
	})
	return path
}

// preallocated makes a file with blocks that were never written, where the
// filesystem has such.
func preallocated(t *testing.T, path string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte("so does this"), 0o600))
	if out, err := exec.Command("fallocate", "-l", "20000", path).CombinedOutput(); err != nil && !strings.Contains(string(out), "not supported") {
		t.Fatalf("fallocate: %v: %s", err, out)
	}
}

// snapshot is what a reader sees, and fails where e2fsck does.
func snapshot(t *testing.T, img []byte) map[string]string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "img")
	must(t, os.WriteFile(path, img, 0o600))
	if out, err := mkimage.Check(path); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fs, err := probe.Open(storetest.NewMem(img), probe.Options{Write: true})
	must(t, err)
	out := map[string]string{}
	tr := tree.New(fs, nil)
	must(t, tr.Walk(tr.Root(), func(n tree.Node) error {
		a, err := tr.Attr(n)
		if err == nil && n.Type == image.TypeRegular {
			h := sha256.New()
			err = tr.ReadFile(n, h)
			out[n.Path] = fmt.Sprintf("%x ", h.Sum(nil))
		}
		out[n.Path] += fmt.Sprintf("%o %d %d %v", a.Mode, a.Size, a.AllocBytes, a.Mtime)
		return errors.Join(err, n.Err)
	}))
	return out
}

// free wipes an image in a store.
func free(t *testing.T, s store.Store, o wipe.Options) (wipe.Result, error) {
	t.Helper()
	fs, err := probe.Open(s, probe.Options{Write: true})
	if err != nil {
		return wipe.Result{}, err
	}
	return wipe.Free(t.Context(), fs, s, o)
}

// What the kernel deleted is gone, and nothing else; the file has holes then.
func TestFree(t *testing.T) {
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			path := used(t, l.size, l.args)
			before, err := os.ReadFile(path)
			must(t, err)
			if n := bytes.Count(before, []byte(marker)); n < 3000 {
				t.Fatalf("only %d markers to wipe", n)
			}
			want := snapshot(t, before)
			f, err := store.OpenFile(path, true)
			must(t, err)
			plan, err := free(t, f, wipe.Options{DryRun: true})
			must(t, err)
			if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, before) {
				t.Errorf("the dry run wrote, %v", err)
			}
			got, err := free(t, f, wipe.Options{})
			must(t, err)
			if got != plan || got.Zeroed < 3000*int64(len(marker)) || got.Examined < got.Zeroed {
				t.Errorf("%+v, planned %+v", got, plan)
			}
			again, err := free(t, f, wipe.Options{})
			must(t, err)
			must(t, f.Close())
			if again.Zeroed != 0 || again.Examined != got.Examined {
				t.Errorf("the second time: %+v after %+v", again, got)
			}
			after, err := os.ReadFile(path)
			must(t, err)
			if i := bytes.Index(after, []byte("-of-what-was-del")); i >= 0 {
				t.Errorf("a marker is left at byte %d", i)
			}
			if d := cmp.Diff(want, snapshot(t, after)); d != "" {
				t.Errorf("the files differ (-before +after):\n%s", d)
			}
		})
	}
}

// A power cut at each write: what survives is the same filesystem, whichever
// sectors it is made of.
func TestPowerLoss(t *testing.T) {
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			base, err := os.ReadFile(used(t, l.size, l.args))
			must(t, err)
			want := snapshot(t, base)
			judged := map[[32]byte]bool{}
			for cut := 0; ; cut++ {
				dev := storetest.NewCutter(base, cut)
				_, err := free(t, dev, wipe.Options{})
				for seed := range uint64(3) {
					img := dev.Survivor(seed)
					sum := sha256.Sum256(img)
					if judged[sum] {
						continue
					}
					judged[sum] = true
					if d := cmp.Diff(want, snapshot(t, img)); d != "" {
						t.Fatalf("cut at write %d, seed %d (-before +after):\n%s", cut, seed, d)
					}
				}
				if !dev.Cut() {
					must(t, err)
					t.Logf("%d cuts, %d states", cut, len(judged))
					return
				}
				if !errors.Is(err, storetest.ErrPowerCut) {
					t.Fatalf("cut at write %d: %v", cut, err)
				}
			}
		})
	}
}

// Contents of another size than the block are told from what follows them.
func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "img")
	src := t.TempDir()
	must(t, os.WriteFile(filepath.Join(src, "file"), bytes.Repeat([]byte("x"), 1500), 0o600))
	if out, err := exec.Command("/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", src, path, "2M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	img, err := os.ReadFile(path)
	must(t, err)
	at := bytes.Index(img, bytes.Repeat([]byte("x"), 1500))
	copy(img[at+1500:], marker)
	home := storetest.NewMem(img)
	_, err = free(t, home, wipe.Options{})
	must(t, err)
	if !bytes.Equal(img[at:at+1501], append(bytes.Repeat([]byte("x"), 1500), 0)) || bytes.Contains(img, []byte("marker-of")) {
		t.Error("the last block is not the file's bytes and zeros")
	}
}

func TestCancelled(t *testing.T) {
	base, err := os.ReadFile(used(t, "2M", layouts[0].args))
	must(t, err)
	s := storetest.NewMem(base)
	fs, err := probe.Open(s, probe.Options{Write: true})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	_, err = wipe.Free(ctx, fs, s, wipe.Options{Progress: func(wipe.Result) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	snapshot(t, base)
}
