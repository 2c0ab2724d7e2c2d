package convert_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fsenc/internal/convert"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store/storetest"
)

// debugfs edits an image.
func debugfs(t testing.TB, img []byte, command string) []byte {
	t.Helper()
	p := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(p, img, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/usr/sbin/debugfs", "-w", "-R", command, p).CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v: %s", err, out)
	}
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Blocks behind the end of a file, of which e2fsck accepts one, are converted
// like the others, and come back; the tail of the last block becomes zeros.
func TestWrittenBlockBehindTheEnd(t *testing.T) {
	keys, pol := testKey(t)
	data := content("secret/file", 3000)
	plain := layouts[0].makeOf(t, func(dir string) { put(t, dir, "secret/file", 3000) })
	for _, size := range []string{"1025", "2048"} {
		short := debugfs(t, plain, "sif /secret/file size "+size)
		home := storetest.NewMem(bytes.Clone(short))
		if err := (job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true}).run(t.Context(), home, newLog()); err != nil {
			t.Fatal(err)
		}
		if size == "2048" {
			e2fsck(t, home.Bytes())
		}
		if bytes.Contains(home.Bytes(), data[2048:2080]) {
			t.Errorf("size %s: plaintext is left behind the end", size)
		}
		if err := (job{op: convert.Decrypt, keys: keys, pol: pol}).run(t.Context(), home, newLog()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(home.Bytes(), data[2048:]) {
			t.Errorf("size %s: what was behind the end did not come back", size)
		}
		if tail := data[1025:2048]; bytes.Contains(home.Bytes(), tail) != (size == "2048") {
			t.Errorf("size %s: tail of the last block", size)
		}
	}
}

// Damage that only the wipe would meet is found by the plan.
func TestDamageInTheWayOfTheWipe(t *testing.T) {
	keys, pol := testKey(t)
	l := layouts[0]
	l.size = "24M"
	img := l.makeOf(t, func(dir string) {
		put(t, dir, "secret/file", 3000)
		put(t, dir, "plain/large", 18<<20)
	})
	bitmap := binary.LittleEndian.Uint32(img[2048+64:]) // of group 1
	img[bitmap*1024+100] ^= 1
	home := storetest.NewMem(bytes.Clone(img))
	err := (job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true}).run(t.Context(), home, newLog())
	if !errors.Is(err, image.ErrCorrupt) || errors.Is(err, convert.ErrVerify) {
		t.Errorf("got %v", err)
	}
	if !bytes.Equal(home.Bytes(), img) {
		t.Error("the image was changed")
	}
}

// The descriptor of a v1 policy can be anything: resume knows the key that the
// conversion was begun with, and takes no other.
func TestResumeWithFreeDescriptor(t *testing.T) {
	keys, pol := testKey(t)
	v1 := pol
	v1.Version, v1.Identifier, v1.Descriptor = 1, policy.Identifier{}, policy.Descriptor{1, 2, 3, 4, 5, 6, 7, 8}
	keys.Bind(v1.Descriptor, keys.Keys()[0])
	home := storetest.NewMem(layouts[0].makeOf(t, func(dir string) { put(t, dir, "secret/file", 3000) }))
	before := snapshot(t, home, nil)
	if err := (job{op: convert.Encrypt, keys: keys, pol: v1}).run(t.Context(), home, newLog()); err != nil {
		t.Fatal(err)
	}
	log, stop := newLog(), errors.New("stop")
	j := job{op: convert.Decrypt, keys: keys, pol: v1, begun: func() error { return stop }}
	if err := j.run(t.Context(), home, log); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	in, _, err := convert.Open(home, log)
	if err != nil {
		t.Fatal(err)
	}
	other, err := crypt.NewMasterKey(bytes.Repeat([]byte{7}, 64))
	if err != nil {
		t.Fatal(err)
	}
	wrong := new(crypt.Keyring)
	wrong.Add(other)
	if _, err := in.Resume(wrong); !errors.Is(err, crypt.ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	wrong.Bind(v1.Descriptor, other)
	if _, err := in.Resume(wrong); !errors.Is(err, crypt.ErrWrongKey) {
		t.Errorf("another key: %v", err)
	}
	right, _ := testKey(t)
	c, err := in.Resume(right)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context(), convert.Forward); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, snapshot(t, home, nil)); d != "" {
		t.Errorf("decrypted tree differs (-before +after):\n%s", d)
	}
}

// An image that was written to between plan and confirmation is not touched.
func TestPlanOfAnOlderImage(t *testing.T) {
	keys, pol := testKey(t)
	img := layouts[0].makeOf(t, func(dir string) { put(t, dir, "secret/file", 3000) })
	home := storetest.NewMem(bytes.Clone(img))
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	top := lookup(t, home, nil, "/secret")
	p, err := convert.PlanEncrypt(t.Context(), fs, []convert.Top{top}, pol, convert.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	changed := debugfs(t, img, "ssv last_mounted /mnt")
	home = storetest.NewMem(bytes.Clone(changed))
	if _, err := convert.Begin(home, newLog(), p, keys); !errors.Is(err, image.ErrInUse) {
		t.Errorf("got %v", err)
	}
	if !bytes.Equal(home.Bytes(), changed) {
		t.Error("the image was changed")
	}
}

// A block of a directory outside of the tree, which the kernel took from the
// tree without clearing it: what no entry covers is wiped too, and a power cut
// at any write of it loses nothing.
func TestSlackOfOtherDirectories(t *testing.T) {
	keys, pol := testKey(t)
	img := layouts[3].makeOf(t, func(dir string) {
		put(t, dir, "secret/file", 100)
		put(t, dir, "plain/stays", 100)
	})
	old := []byte("a name that is of some length")
	i := bytes.Index(img, []byte("stays"))
	copy(img[i+100:], old)
	e2fsck(t, img)
	home := storetest.NewMem(bytes.Clone(img))
	j := job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true}
	if err := j.run(t.Context(), home, newLog()); err != nil {
		t.Fatal(err)
	}
	e2fsck(t, home.Bytes())
	if bytes.Contains(home.Bytes(), old) {
		t.Error("a name is left in another directory")
	}
	r := recovery{keys: keys, want: snapshot(t, storetest.NewMem(img), nil), judged: make(map[[32]byte]bool)}
	r.powerLoss(t, j, img)
}

// Planning a deep tree takes no more memory than a wide one: paths of
// directories that are open would add up to the square of the depth.
func TestPlanOfDeepTree(t *testing.T) {
	keys, pol := testKey(t)
	l := layouts[0]
	l.size, l.args = "16M", []string{"-b", "1024", "-N", "4096", "-O", "encrypt,^has_journal"}
	home := storetest.NewMem(l.makeOf(t, func(dir string) { put(t, dir, "secret/file", 100) }))
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	top := lookup(t, home, nil, "/secret")
	name, at := bytes.Repeat([]byte("n"), 120), top.Ino
	const depth = 3500
	for range depth {
		if at, err = fs.Mkdir(at, name, image.NewFile{Perm: 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p, err := convert.PlanEncrypt(t.Context(), fs, []convert.Top{top}, pol, convert.Options{Keys: keys})
	if err != nil || p.Totals.Dirs != depth+1 {
		t.Fatalf("%v, %v", p, err)
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / depth; n > 64<<10 {
		t.Errorf("%d bytes allocated for each directory", n)
	}
}

// A file that is encrypted already may have a name in an encrypted directory
// below the top and one in a plain one, as the kernel makes it.
func TestLinkIntoEncryptedDirectory(t *testing.T) {
	keys, pol := testKey(t)
	img := layouts[0].makeOf(t, func(dir string) { put(t, dir, "secret/sub/inner", 100) })
	home := storetest.NewMem(img)
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	inner := lookup(t, home, nil, "/secret/sub/inner").Ino
	sub := lookup(t, home, nil, "/secret/sub")
	p, err := convert.PlanEncrypt(t.Context(), fs, []convert.Top{sub}, pol, convert.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	c, err := convert.Begin(home, newLog(), p, keys)
	if err == nil {
		err = c.Run(t.Context(), convert.Forward)
	}
	if err != nil {
		t.Fatal(err)
	}
	img = debugfs(t, home.Bytes(), fmt.Sprintf("ln <%d> /secret/other", inner))
	img = debugfs(t, img, fmt.Sprintf("sif <%d> links_count 2", inner))
	e2fsck(t, img)
	home = storetest.NewMem(img)
	if err := (job{op: convert.Encrypt, keys: keys, pol: pol}).run(t.Context(), home, newLog()); err != nil {
		t.Fatal(err)
	}
	e2fsck(t, home.Bytes())
}
