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
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fsenc/internal/convert"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/feature"
	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/imagetest/manifest"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
	"fsenc/internal/txn"
	"fsenc/test/goldenkeys"
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
			for _, pace := range []job{{}, {small: true}, {early: 12}} {
				pace.keys, pace.pol = keys, pol
				if err := pace.as(convert.Encrypt).run(t.Context(), home, newLog()); err != nil {
					t.Fatal(err)
				}
				fsckF2FS(t, home.Bytes())
				if d := cmp.Diff(before, snapshot(t, home, keys)); d != "" {
					t.Fatalf("encrypted tree differs (-before +after):\n%s", d)
				}
				noPlaintext(t, home.Bytes())
				if err := pace.as(convert.Rekey).run(t.Context(), home, newLog()); err != nil {
					t.Fatal(err)
				}
				fsckF2FS(t, home.Bytes())
				if d := cmp.Diff(before, snapshot(t, home, keys)); d != "" {
					t.Fatalf("rekeyed tree differs (-before +after):\n%s", d)
				}
				if err := pace.as(convert.Decrypt).run(t.Context(), home, newLog()); err != nil {
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
		key := goldenkeys.Key(t, k.MasterKey)
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
	small, early := job{keys: keys, pol: pol, small: true}, job{keys: keys, pol: pol, early: 12}
	if err := small.as(convert.Encrypt).run(t.Context(), encrypted, newLog()); err != nil {
		t.Fatal(err)
	}
	for _, j := range []job{small, early} {
		r.powerLoss(t, j.as(convert.Encrypt), plain)
		r.powerLoss(t, j.as(convert.Decrypt), encrypted.Bytes())
	}
	t.Logf("%d cuts, %d states recovered from, %d different results", r.cuts, r.states, len(r.judged))
}

func TestResumeAndUndoTakeTurnsF2FS(t *testing.T) {
	takeTurns(t, f2fsLayouts[2].makeF2FS(t, func(dir string) { fill(t, dir) }), fsckF2FS)
}

// An edit makes a file and clears the mark, or leaves the image as it was.
func TestEditF2FS(t *testing.T) {
	l := layout{"edit", "64M", []string{"-O", "extra_attr"}}
	plain := l.makeF2FS(t, func(dir string) { put(t, dir, "secret/first", 10) })
	want := snapshot(t, storetest.NewMem(plain), nil)
	for _, fails := range []bool{false, true} {
		home := storetest.NewMem(bytes.Clone(plain))
		err := convert.Edit(home, newLog(), func(fs image.FS) error {
			if err := fs.SetFeatures([]string{feature.Encrypt}, nil); err != nil || fails {
				return errors.Join(err, errors.ErrUnsupported)
			}
			_, err := fs.Create(fs.Root(), []byte("new"), content("new", 9000), image.NewFile{Perm: 0o600, Time: time.Unix(1, 0)})
			return err
		})
		if fails != errors.Is(err, errors.ErrUnsupported) || !fails && err != nil {
			t.Fatal(err)
		}
		fsckF2FS(t, home.Bytes())
		fs, err := probe.Open(home, probe.Options{Write: true})
		if err != nil || fs.Super().Encrypt == fails {
			t.Errorf("encrypt is set: %v, %v", fs.Super().Encrypt, err)
		}
		got := snapshot(t, home, nil)
		if _, there := got["/new"]; there == fails {
			t.Errorf("the file is there: %v", there)
		}
		delete(got, "/new")
		delete(got, "/")
		delete(want, "/")
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("tree differs (-want +got):\n%s", d)
		}
	}
}

// What a plan accepts succeeds, however full the image is, when it is done in one
// commit for each inode and in as few as there is room for; and as the image gets
// fuller it is refused.
func TestFullF2FS(t *testing.T) {
	keys, pol := testKey(t)
	l := layout{"full", "64M", []string{"-O", "encrypt,extra_attr"}}
	plain := l.makeF2FS(t, func(dir string) { put(t, dir, "secret/first", 10) })
	for _, pace := range []job{{small: true}, {early: 1 << 14}} {
		pace.keys, pace.pol = keys, pol
		pace.fuller(t, plain)
	}
}

// Where what has moved early takes the room that the rest needs, the commit that
// frees what it was moved from comes at once.
func TestEarlyWithoutRoom(t *testing.T) {
	keys, pol := testKey(t)
	plain := f2fsLayouts[1].makeF2FS(t, func(dir string) {
		for i := range 20 {
			put(t, dir, fmt.Sprintf("secret/dir %d/file", i), 100)
		}
	})
	commits := func(full bool) (n int) {
		j := job{keys: keys, pol: pol, early: 1 << 14, full: full, report: func(p convert.Progress) {
			if p.Phase == "convert" {
				n++
			}
		}}
		if err := j.as(convert.Encrypt).run(t.Context(), storetest.NewMem(bytes.Clone(plain)), newLog()); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if room, full := commits(false), commits(true); room != 1 || full < 10 {
		t.Errorf("%d commits where there is room, %d where there is none", room, full)
	}
}

// fuller runs it on images that are fuller and fuller.
func (j job) fuller(t *testing.T, plain []byte) {
	accepted, refused := 0, 0
	for _, left := range []int64{1200, 700, 500, 440, 400, 300, 100} {
		home := storetest.NewMem(bytes.Clone(plain))
		fillF2FS(t, home, 400, left)
		before := snapshot(t, home, nil)
		err := j.as(convert.Encrypt).run(t.Context(), home, newLog())
		if errors.Is(err, image.ErrNoSpace) && !errors.Is(err, txn.ErrUnfinished) {
			refused++
			continue
		}
		if err != nil {
			t.Fatalf("with %d blocks left: %v", left, err)
		}
		accepted++
		fsckF2FS(t, home.Bytes())
		if d := cmp.Diff(before, snapshot(t, home, j.keys)); d != "" {
			t.Fatalf("with %d blocks left: tree differs (-before +after):\n%s", left, d)
		}
		if err := (job{op: convert.Decrypt, keys: j.keys}).run(t.Context(), home, newLog()); err != nil && !errors.Is(err, image.ErrNoSpace) {
			t.Fatalf("with %d blocks left: %v", left, err)
		}
		fsckF2FS(t, home.Bytes())
	}
	if accepted < 2 || refused < 2 {
		t.Errorf("%d plans accepted, %d refused", accepted, refused)
	}
}

// fillF2FS makes small files in the tree, and one beside it that leaves so many
// blocks.
func fillF2FS(t *testing.T, home *storetest.Mem, files int, left int64) {
	t.Helper()
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	top := lookup(t, home, nil, "/secret")
	n := image.NewFile{Perm: 0o600, Time: time.Unix(1, 0)}
	for i := range files {
		if _, err := fs.Create(top.Ino, fmt.Appendf(nil, "file number %d", i), content("small", 100), n); err != nil {
			t.Fatal(err)
		}
		if err := fs.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	filler := fs.Super().FreeBytes/4096 - left
	if _, err := fs.Create(fs.Root(), []byte("filler"), content("filler", int(filler)*4096), n); err != nil {
		t.Fatal(err)
	}
	if err := fs.Flush(); err != nil {
		t.Fatal(err)
	}
	fsckF2FS(t, home.Bytes())
}

// A log that never reached the image does not touch one that has been mounted
// since: the kernel writes a checkpoint, if nothing of the superblock.
func TestLogOfMountedImageF2FS(t *testing.T) {
	keys, pol := testKey(t)
	plain := f2fsLayouts[1].makeF2FS(t, func(dir string) { put(t, dir, "secret/first", 10) })
	for _, mounted := range []bool{false, true} {
		log := newLog()
		err := (job{op: convert.Encrypt, keys: keys, pol: pol}).run(t.Context(), storetest.NewCutter(plain, 0), log)
		if !errors.Is(err, txn.ErrUnfinished) {
			t.Fatal(err)
		}
		home := storetest.NewMem(bytes.Clone(plain))
		if mounted {
			fillF2FS(t, home, 1, 2000)
		}
		before := bytes.Clone(home.Bytes())
		i, out, err := convert.Open(home, log)
		if err != nil {
			t.Fatal(err)
		}
		if mounted && (i != nil || out != convert.NeverBegun || !bytes.Equal(home.Bytes(), before)) {
			t.Errorf("mounted since: outcome %v, or the image has changed", out)
		}
		if !mounted && (i == nil || out != convert.Ready) {
			t.Errorf("not mounted since: outcome %v", out)
		}
	}
}

// Calls of the host fail: the image is as it was, or the error says that resume
// is the way on, which ends with the right tree in either direction.
func TestErrorsOfTheHostF2FS(t *testing.T) {
	keys, pol := testKey(t)
	plain := f2fsLayouts[1].makeF2FS(t, func(dir string) {
		put(t, dir, "secret/file", 7000)
		put(t, dir, "secret/sub/other", 1500)
	})
	r := recovery{keys: keys, want: snapshot(t, storetest.NewMem(plain), nil), judged: make(map[[32]byte]bool), check: fsckF2FS}
	failures := 0
	for _, row := range []struct {
		job
		hosts []host
	}{
		{job{keys: keys, pol: pol, small: true}, []host{
			{false, storetest.Read, unix.EIO, 61}, {false, storetest.Write, unix.EIO, 7},
			{false, storetest.Sync, unix.EIO, 1}, {false, storetest.Zero, unix.EIO, 2}}},
		{job{keys: keys, pol: pol, early: 12}, []host{{false, storetest.Write, unix.EIO, 4}, {false, storetest.Sync, unix.EIO, 1}}},
	} {
		failures += r.faults(t, row.hosts, "encrypt", plain, nil, func(home, log store.Store) error {
			return row.as(convert.Encrypt).run(t.Context(), home, log)
		})
	}
	if failures < 30 {
		t.Errorf("only %d failures", failures)
	}
	t.Logf("%d failures", failures)
}
