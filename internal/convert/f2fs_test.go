package convert_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fsenc/internal/convert"
	"fsenc/internal/store/storetest"
)

// f2fsLayouts are images that sload.f2fs fills without the kernel.
var f2fsLayouts = []layout{
	{"plain", "64M", []string{"-O", "encrypt"}},
	{"extra", "64M", []string{"-O", "encrypt,extra_attr"}},
	{"checksums", "64M", []string{"-O", "encrypt,extra_attr,inode_checksum,inode_crtime,lost_found,sb_checksum"}},
	{"quota", "96M", []string{"-O", "encrypt,extra_attr,inode_checksum,project_quota,quota,verity,sb_checksum"}},
	{"large nat bitmap", "64M", []string{"-i", "-O", "encrypt"}},
	{"large sections", "256M", []string{"-O", "encrypt", "-s", "4"}},
	{"zones", "256M", []string{"-O", "encrypt", "-s", "2", "-z", "2"}},
}

// makeF2FS returns the bytes of an image with the tree that fill makes.
func (l layout) makeF2FS(t testing.TB, fill func(dir string)) []byte {
	t.Helper()
	src := t.TempDir()
	fill(src)
	img := filepath.Join(t.TempDir(), "img")
	if out, err := exec.Command("truncate", "-s", l.size, img).CombinedOutput(); err != nil {
		t.Fatalf("truncate: %v: %s", err, out)
	}
	if out, err := exec.Command("/usr/sbin/mkfs.f2fs", append(append([]string{"-q", "-f"}, l.args...), img)...).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.f2fs: %v: %s", err, out)
	}
	// It repairs what it has made with a wrong checksum, and then says 1.
	out, err := exec.Command("/usr/sbin/sload.f2fs", "-f", src, img).CombinedOutput()
	if exit := new(exec.ExitError); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("sload.f2fs: %v: %s", err, out)
	}
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	fsckF2FS(t, b)
	return b
}

// fsckF2FS lets fsck.f2fs look for errors: what it says counts besides its
// exit code.
func fsckF2FS(t testing.TB, img []byte) {
	t.Helper()
	p := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(p, img, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(p)
	out, err := exec.Command("/usr/sbin/fsck.f2fs", "--dry-run", p).CombinedOutput()
	if err != nil {
		t.Fatalf("fsck.f2fs: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		for _, bad := range []string{"ASSERT", "[FIX]", "[Fail]", "FIX"} {
			if strings.Contains(line, bad) {
				t.Fatalf("fsck.f2fs: %s\n%s", line, out)
			}
		}
	}
}

func TestEncryptAndDecryptF2FS(t *testing.T) {
	keys, pol := testKey(t)
	for _, l := range f2fsLayouts {
		t.Run(l.name, func(t *testing.T) {
			home := storetest.NewMem(l.makeF2FS(t, func(dir string) { fill(t, dir) }))
			before := snapshot(t, home, nil)
			for _, small := range []bool{false, true} {
				if err := (job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true, small: small}).run(t.Context(), home, newLog()); err != nil {
					t.Fatal(err)
				}
				fsckF2FS(t, home.Bytes())
				if d := cmp.Diff(before, snapshot(t, home, keys)); d != "" {
					t.Fatalf("encrypted tree differs (-before +after):\n%s", d)
				}
				noPlaintext(t, home.Bytes())
				if err := (job{op: convert.Rekey, keys: keys, pol: pol, small: small}).run(t.Context(), home, newLog()); err != nil {
					t.Fatal(err)
				}
				fsckF2FS(t, home.Bytes())
				if d := cmp.Diff(before, snapshot(t, home, keys)); d != "" {
					t.Fatalf("rekeyed tree differs (-before +after):\n%s", d)
				}
				if err := (job{op: convert.Decrypt, keys: keys, pol: pol, small: small}).run(t.Context(), home, newLog()); err != nil {
					t.Fatal(err)
				}
				fsckF2FS(t, home.Bytes())
				if d := cmp.Diff(before, snapshot(t, home, nil)); d != "" {
					t.Fatalf("decrypted tree differs (-before +after):\n%s", d)
				}
			}
		})
	}
}
