package convert_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fsenc/internal/convert"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/imagetest/manifest"
	"fsenc/internal/image/probe"
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

// Every tree of the golden images, as kernels wrote them, is decrypted and
// encrypted again; those that are plain are encrypted and decrypted.
func TestConvertGoldenF2FS(t *testing.T) {
	names := append(imagetest.Names(t, "f2fs-"), imagetest.Names(t, "oracle/f2fs-")...)
	for _, name := range names {
		if name == "f2fs-recovery" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			g := golden{keys: goldenKeys(t, imagetest.Manifest(t, name)), home: storetest.NewMem(imagetest.GoldenBytes(t, name))}
			g.before = snapshot(t, g.home, g.keys)
			for _, top := range imagetest.Manifest(t, name).Tops {
				if top.Path != "outside" { // it has other names of encrypted files
					g.turn(t, "/"+top.Path)
				}
			}
		})
	}
}

func goldenKeys(t testing.TB, m *manifest.Golden) *crypt.Keyring {
	t.Helper()
	ring := new(crypt.Keyring)
	for _, k := range m.Keys {
		key, err := crypt.NewMasterKey(bytes.Clone(k.MasterKey))
		if err != nil {
			t.Fatal(err)
		}
		ring.Add(key)
		if k.Version == 1 {
			ring.Bind(policy.Descriptor(k.Descriptor), key)
		}
	}
	return ring
}

// golden is an image whose trees are converted one after another.
type golden struct {
	keys   *crypt.Keyring
	home   *storetest.Mem
	before map[string]string
}

// turn converts a tree to the other form and back.
func (g *golden) turn(t *testing.T, path string) {
	t.Helper()
	fs, err := probe.Open(g.home, probe.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	top := lookup(t, g.home, g.keys, path)
	a, err := fs.Stat(top.Ino)
	if err != nil {
		t.Fatal(err)
	}
	if a.Type != image.TypeDirectory {
		return
	}
	if !a.Encrypted {
		_, pol := testKey(t)
		key := g.keys.Keys()[0]
		pol.Identifier = key.Identifier()
		g.convert(t, convert.Encrypt, top, pol)
		g.convert(t, convert.Decrypt, top, pol)
		return
	}
	raw, err := fs.Context(top.Ino)
	if err != nil {
		t.Fatal(err)
	}
	c, err := policy.ParseContext(raw)
	if err != nil {
		t.Fatal(err)
	}
	g.convert(t, convert.Decrypt, top, c.Policy)
	g.convert(t, convert.Encrypt, top, c.Policy)
}

func (g *golden) convert(t *testing.T, op convert.Op, top convert.Top, pol policy.Policy) {
	t.Helper()
	fs, err := probe.Open(g.home, probe.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	var p *convert.Plan
	o := convert.Options{Keys: g.keys, Wipe: op == convert.Encrypt, OutsideLinks: true}
	if op == convert.Encrypt {
		p, err = convert.PlanEncrypt(t.Context(), fs, []convert.Top{top}, pol, o)
	} else {
		p, err = convert.PlanDecrypt(t.Context(), fs, []convert.Top{top}, o)
	}
	if err != nil {
		t.Fatalf("%v %s: %v", op, top.Path, err)
	}
	c, err := convert.Begin(g.home, newLog(), p, g.keys)
	if err != nil {
		t.Fatalf("%v %s: %v", op, top.Path, err)
	}
	if err := c.Run(t.Context(), convert.Forward); err != nil {
		t.Fatalf("%v %s: %v", op, top.Path, err)
	}
	if err := convert.Verify(t.Context(), g.home, p, o); err != nil {
		t.Fatalf("%v %s: %v", op, top.Path, err)
	}
	fsckF2FS(t, g.home.Bytes())
	if d := cmp.Diff(g.before, snapshot(t, g.home, g.keys)); d != "" {
		t.Fatalf("%v %s: tree differs (-before +after):\n%s", op, top.Path, d)
	}
}

// f2fsStride is how many writes lie between two power cuts: an image of f2fs is
// large, and each cut takes six recoveries and as many checks of it. Over
// several runs of the test with other values all writes are met.
var f2fsStride = 41

// A power cut while an image of f2fs is converted ends with the old tree or the
// new one, and both pass fsck.f2fs.
func TestPowerLossF2FS(t *testing.T) {
	keys, pol := testKey(t)
	l := layout{"small", "64M", []string{"-O", "encrypt,extra_attr"}}
	plain := l.makeF2FS(t, func(dir string) {
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
		check: fsckF2FS, stride: f2fsStride}
	encrypted := storetest.NewMem(bytes.Clone(plain))
	enc := job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true, small: true}
	if err := enc.run(t.Context(), encrypted, newLog()); err != nil {
		t.Fatal(err)
	}
	r.powerLoss(t, enc, plain)
	r.powerLoss(t, job{op: convert.Decrypt, keys: keys, pol: pol, small: true}, encrypted.Bytes())
	t.Logf("%d cuts, %d states recovered from, %d different results", r.cuts, r.states, len(r.judged))
}
