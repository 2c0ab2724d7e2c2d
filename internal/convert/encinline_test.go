package convert_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fsenc/internal/convert"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/feature"
	"fsenc/internal/fsck"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
	"fsenc/internal/txn"
)

// inlineLayout has inodes of a size, encrypted inline data and stable inodes.
func inlineLayout(inodeSize int) layout {
	return layout{"", "4M", []string{"-b", "1024", "-N", "512", "-I", fmt.Sprint(inodeSize), "-O", "encrypt,inline_data,stable_inodes,^has_journal",
		"+encrypted_inline_data"}}
}

// inlineFiles are the regular files whose contents are in the inode: their
// attributes and what is stored.
func inlineFiles(t testing.TB, s store.Store) (files []image.Attr, stored [][]byte) {
	t.Helper()
	fs, err := probe.Open(s, probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = fs.Inodes(func(a image.Attr, err error) error {
		if err != nil || !a.Inline || a.Type != image.TypeRegular {
			return err
		}
		b, err := fs.Inline(a.Ino)
		files, stored = append(files, a), append(stored, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, stored
}

// ownFsck finds nothing that is more than a note.
func ownFsck(t testing.TB, s store.Store, keys *crypt.Keyring) (res fsck.Result) {
	t.Helper()
	fs, err := probe.Open(s, probe.Options{})
	if err == nil {
		res, err = fsck.Check(t.Context(), fs, fsck.Options{Keys: keys, Content: true, Report: func(f fsck.Finding) {
			if f.Severity > image.Info {
				t.Errorf("fsck: %+v", f)
			}
		}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// Small files stay where they are, encrypted as the start of their first block
// would be; those that have no room beside a context move out; undoing gives
// each its bytes back.
func TestKeepsInline(t *testing.T) {
	keys, pol := testKey(t)
	plain := inlineLayout(512).makeOf(t, func(dir string) {
		for _, n := range []int{0, 1, 15, 16, 17, 59, 60, 61, 64, 65, 300, 304, 305, 320, 321, 340} {
			put(t, dir, fmt.Sprintf("secret/file %d", n), n)
		}
		put(t, dir, "plain/stays", 100)
	})
	home := storetest.NewMem(bytes.Clone(plain))
	before, contents := inlineFiles(t, home)
	if len(before) != 17 {
		t.Fatalf("mke2fs left %d files in their inodes", len(before))
	}
	p, err := planOf(t, convert.Encrypt, plain)
	if err != nil || p.Totals.Inline != 13 || p.Totals.MovedOut != 3 {
		t.Fatalf("planned %+v, %v", p, err)
	}
	if err := (job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true}).run(t.Context(), home, newLog()); err != nil {
		t.Fatal(err)
	}
	sealed := checkInline(t, home, keys, before, contents)
	if sealed != 13 {
		t.Errorf("%d files are encrypted in their inodes, want 13", sealed)
	}
	for _, b := range contents[1 : len(contents)-1] {
		if len(b) >= 16 && bytes.Contains(home.Bytes(), b[:16]) {
			t.Errorf("plaintext of a file of %d bytes is left", len(b))
		}
	}
	if res := ownFsck(t, home, keys); res.Inline != 13 {
		t.Errorf("fsck counts %d files", res.Inline)
	}
	e2fsck(t, home.Bytes())
	if err := (job{op: convert.Decrypt, keys: keys, pol: pol}).run(t.Context(), home, newLog()); err != nil {
		t.Fatal(err)
	}
	after, decrypted := inlineFiles(t, home)
	if len(after) != len(before)-3 {
		t.Errorf("%d files are in their inodes after decryption", len(after))
	}
	for i, a := range after {
		for k, b := range before {
			if a.Ino == b.Ino && !bytes.Equal(decrypted[i], contents[k]) {
				t.Errorf("inode %d holds %x, not %x", a.Ino, decrypted[i], contents[k])
			}
		}
	}
	e2fsck(t, home.Bytes())
}

// checkInline compares encrypted contents inside of inodes with what the cipher
// of blocks, which the kernel has proven, makes of the same bytes and zeros.
func checkInline(t testing.TB, home store.Store, keys *crypt.Keyring, before []image.Attr, contents [][]byte) (sealed int) {
	t.Helper()
	fs, err := probe.Open(home, probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sb := fs.Super()
	files, stored := inlineFiles(t, home)
	for i, a := range files {
		if !a.Encrypted {
			continue
		}
		sealed++
		raw, err := fs.Context(a.Ino)
		if err != nil {
			t.Fatal(err)
		}
		ctx, err := policy.ParseContext(raw)
		if err != nil {
			t.Fatal(err)
		}
		key, err := keys.For(ctx.Policy)
		if err != nil {
			t.Fatal(err)
		}
		cipher, err := key.Contents(ctx, uint64(a.Ino), crypt.Volume{UUID: sb.UUID, BlockSize: sb.BlockSize})
		if err != nil {
			t.Fatal(err)
		}
		for k, b := range before {
			if b.Ino != a.Ino {
				continue
			}
			block := make([]byte, sb.BlockSize)
			copy(block, contents[k])
			cipher.EncryptBlocks(block, block, 0)
			if want := block[:(a.Size+15)&^15]; !bytes.Equal(stored[i], want) {
				t.Errorf("file of %d bytes: %x, want %x", a.Size, stored[i], want)
			}
		}
		cipher.Close()
	}
	return sealed
}

// The example of docs/formats.md, and one of zeros; OpenSSL has computed both
// from the file's key.
func TestInlineVector(t *testing.T) {
	keys, pol := testKey(t) // bytes 0 to 63
	c := policy.Context{Policy: pol}
	for i := range c.Nonce {
		c.Nonce[i] = byte(i)
	}
	cipher, err := keys.Keys()[0].Inline(c, 13, crypt.Volume{BlockSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer cipher.Close()
	for plain, want := range map[string]string{
		strings.Repeat("\x00", 17):            "95e92dafc4497a2bde98d2a2e698ebfced469d0924ca35665f7a35ccc957454f",
		"Dear diary, nobody can read this.\n": "ae17bea6e2b3a9a82f9777a4f314516eaf71933901b1893e5db896d3e10fb3a03edeb1b0be963a077830ccbb689ebbd9",
	} {
		if got := fmt.Sprintf("%x", cipher.EncryptInline(nil, []byte(plain))); got != want {
			t.Errorf("%q: %s, want %s", plain, got, want)
		}
	}
}

// A file that is a hole, of which the inode has fewer bytes than its size, is
// encrypted in full length.
func TestInlineHole(t *testing.T) {
	keys, pol := testKey(t)
	plain := inlineLayout(512).makeOf(t, func(dir string) {
		put(t, dir, "secret/file", 100)
		for _, n := range []int64{40, 200, 320, 3000} {
			name := filepath.Join(dir, fmt.Sprintf("secret/hole %d", n))
			if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, n)); err != nil {
				t.Fatal(err)
			}
		}
	})
	home := storetest.NewMem(bytes.Clone(plain))
	before := snapshot(t, home, nil)
	if err := (job{op: convert.Encrypt, keys: keys, pol: pol}).run(t.Context(), home, newLog()); err != nil {
		t.Fatal(err)
	}
	if files, _ := inlineFiles(t, home); len(files) < 4 {
		t.Errorf("%d files in their inodes", len(files))
	}
	ownFsck(t, home, keys)
	e2fsck(t, home.Bytes())
	if d := cmp.Diff(before, snapshot(t, home, keys)); d != "" {
		t.Errorf("tree differs (-before +after):\n%s", d)
	}
	if err := (job{op: convert.Decrypt, keys: keys, pol: pol}).run(t.Context(), home, newLog()); err != nil {
		t.Fatal(err)
	}
	e2fsck(t, home.Bytes())
	if d := cmp.Diff(before, snapshot(t, home, nil)); d != "" {
		t.Errorf("decrypted tree differs (-before +after):\n%s", d)
	}
}

// Trees of files of any size, in inodes of any size, are what they were after
// they have been encrypted, rekeyed and decrypted with any policies.
func TestInlineRoundTrips(t *testing.T) {
	keys, pol := testKey(t)
	all := policies(pol, keys.Keys()[0])
	var names []string
	for name := range all {
		names = append(names, name)
	}
	r := rand.New(rand.NewPCG(5, 6))
	for _, inodeSize := range []int{128, 256, 512, 1024, 1024, 1024} {
		l := inlineLayout(inodeSize)
		if inodeSize == 128 { // without room for inline data
			l.args[5] = "256"
		}
		plain := l.makeOf(t, func(dir string) {
			for i := range 60 {
				put(t, dir, fmt.Sprintf("secret/%d/file %d", i%3, i), r.IntN(inodeSize+200))
			}
		})
		home := storetest.NewMem(plain)
		before := snapshot(t, home, nil)
		ops := []convert.Op{convert.Encrypt, convert.Rekey, convert.Rekey, convert.Rekey, convert.Decrypt}
		for _, op := range ops {
			name := names[r.IntN(len(names))]
			if err := (job{op: op, keys: keys, pol: all[name]}).run(t.Context(), home, newLog()); err != nil {
				t.Fatalf("inodes of %d bytes, %v %s: %v", inodeSize, op, name, err)
			}
			if d := cmp.Diff(before, snapshot(t, home, keys)); d != "" {
				t.Fatalf("inodes of %d bytes, %v %s (-before +after):\n%s", inodeSize, op, name, d)
			}
			ownFsck(t, home, keys)
			e2fsck(t, home.Bytes())
		}
		if files, _ := inlineFiles(t, home); inodeSize > 256 && len(files) < 5 {
			t.Errorf("inodes of %d bytes: only %d files are left in them", inodeSize, len(files))
		}
	}
}

// One data unit is all that an inode holds: with units of 512 bytes, longer
// files move out.
func TestInlineDataUnits(t *testing.T) {
	keys, pol := testKey(t)
	units := policies(pol, keys.Keys()[0])["units"]
	plain := inlineLayout(1024).makeOf(t, func(dir string) {
		for _, n := range []int{496, 512, 513, 800} {
			put(t, dir, fmt.Sprintf("secret/file %d", n), n)
		}
	})
	home := storetest.NewMem(plain)
	before := snapshot(t, home, nil)
	if err := (job{op: convert.Encrypt, keys: keys, pol: pol}).run(t.Context(), home, newLog()); err != nil {
		t.Fatal(err)
	}
	if files, _ := inlineFiles(t, home); len(files) != 4 {
		t.Errorf("units of a block: %d files in their inodes", len(files))
	}
	if err := (job{op: convert.Rekey, keys: keys, pol: units}).run(t.Context(), home, newLog()); err != nil {
		t.Fatal(err)
	}
	if files, _ := inlineFiles(t, home); len(files) != 2 {
		t.Errorf("units of 512 bytes: %d files in their inodes", len(files))
	}
	if d := cmp.Diff(before, snapshot(t, home, keys)); d != "" {
		t.Errorf("tree differs (-before +after):\n%s", d)
	}
	ownFsck(t, home, keys)
	e2fsck(t, home.Bytes())
}

// With hardware-wrapped keys there is no key for contents in an inode that
// would not be the software's.
func TestInlineHardwareKey(t *testing.T) {
	key, err := crypt.NewHardwareKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	keys := new(crypt.Keyring)
	keys.Add(key)
	pol := policy.Policy{Version: 2, Contents: policy.ModeAES256XTS, Filenames: policy.ModeAES256CTS,
		Flags: 2 | policy.FlagIVInoLblk64, Identifier: key.Identifier()}
	plain := inlineLayout(512).makeOf(t, func(dir string) { put(t, dir, "secret/file", 100) })
	home := storetest.NewMem(bytes.Clone(plain))
	err = (job{op: convert.Encrypt, keys: keys, pol: pol}).run(t.Context(), home, newLog())
	if !errors.Is(err, convert.ErrInlineKey) || !bytes.Equal(home.Bytes(), plain) {
		t.Errorf("got %v, want %v and nothing written", err, convert.ErrInlineKey)
	}
	without := storetest.NewMem(setFeatures(t, plain, nil, []string{feature.EncryptedInlineData}))
	if err := (job{op: convert.Encrypt, keys: keys, pol: pol}).run(t.Context(), without, newLog()); err != nil {
		t.Errorf("without the feature: %v", err)
	}
}

// A payload whose length cannot be is found before anything is written.
func TestDamagedInline(t *testing.T) {
	keys, pol := testKey(t)
	home := storetest.NewMem(inlineLayout(512).makeOf(t, func(dir string) { put(t, dir, "secret/file", 100) }))
	if err := (job{op: convert.Encrypt, keys: keys, pol: pol}).run(t.Context(), home, newLog()); err != nil {
		t.Fatal(err)
	}
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	files, _ := inlineFiles(t, home)
	if err := errors.Join(fs.(image.InlineEncrypter).SetInline(files[0].Ino, make([]byte, 64)), fs.Flush()); err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(home.Bytes())
	for _, op := range []convert.Op{convert.Decrypt, convert.Rekey} {
		if err := (job{op: op, keys: keys, pol: pol}).run(t.Context(), home, newLog()); !errors.Is(err, image.ErrCorrupt) {
			t.Errorf("%v: %v", op, err)
		}
	}
	if _, err := convert.FindInline(t.Context(), fs); !errors.Is(err, image.ErrCorrupt) {
		t.Errorf("moving out: %v", err)
	}
	if !bytes.Equal(home.Bytes(), damaged) {
		t.Error("the image was written to")
	}
}

// moveOut moves everything out of inodes and clears the feature, as setup does.
func moveOut(ctx context.Context, home store.Store, keys *crypt.Keyring, newLog func() store.Store) error {
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err != nil {
		return err
	}
	l, err := convert.FindInline(ctx, fs)
	if err != nil {
		return err
	}
	err = convert.MoveOut(ctx, home, l.Inodes, keys, func() (store.Store, error) { return newLog(), nil },
		func(_ store.Store, err error) error { return err })
	if err != nil {
		return err
	}
	return convert.Edit(home, newLog(), func(fs image.FS) error { return fs.SetFeatures(nil, []string{feature.EncryptedInlineData}) })
}

// Moving out survives a power cut at every write: what the log of the step
// says is done, and then the rest is.
func TestPowerLossOfMoveOut(t *testing.T) {
	keys, pol := testKey(t)
	base := inlineLayout(512).makeOf(t, func(dir string) {
		for _, n := range []int{1, 16, 60, 61, 200, 320} {
			put(t, dir, fmt.Sprintf("secret/file %d", n), n)
		}
	})
	home := storetest.NewMem(base)
	want := snapshot(t, home, nil)
	if err := (job{op: convert.Encrypt, keys: keys, pol: pol}).run(t.Context(), home, newLog()); err != nil {
		t.Fatal(err)
	}
	cuts := 0
	for _, clock := range []func(int) *storetest.Clock{storetest.NewClock, storetest.NewSyncClock} {
		for k := 0; ; k++ {
			c := clock(k)
			img := c.Store(home.Bytes())
			var logs []*storetest.Cutter
			err := moveOut(t.Context(), img, keys, func() store.Store {
				logs = append(logs, c.Log(nil))
				return logs[len(logs)-1]
			})
			if !c.Cut() {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			cuts++
			for seed := range uint64(3) {
				name := fmt.Sprintf("cut %d seed %d", k, seed)
				var log []byte
				if len(logs) > 0 {
					log = logs[len(logs)-1].Survivor(seed)
				}
				movedOut(t, name, img.Survivor(seed), log, keys, want)
			}
		}
	}
	if cuts < 10 {
		t.Errorf("only %d cuts", cuts)
	}
	t.Logf("%d cuts", cuts)
}

// movedOut recovers, begins again, and compares.
func movedOut(t *testing.T, name string, img, log []byte, keys *crypt.Keyring, want map[string]string) {
	t.Helper()
	home := storetest.NewMem(img)
	if log != nil {
		_, _, err := convert.Open(home, storetest.NewClock(1<<30).Log(log))
		if err != nil && !errors.Is(err, txn.ErrNeverBegun) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if d := cmp.Diff(want, snapshot(t, home, keys)); d != "" {
		t.Fatalf("%s: recovered tree differs (-want +got):\n%s", name, d)
	}
	if err := moveOut(t.Context(), home, keys, newLog); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if files, _ := inlineFiles(t, home); len(files) > 0 {
		t.Errorf("%s: %d files are in their inodes", name, len(files))
	}
	if d := cmp.Diff(want, snapshot(t, home, keys)); d != "" {
		t.Fatalf("%s: tree differs (-want +got):\n%s", name, d)
	}
	ownFsck(t, home, keys)
	e2fsck(t, home.Bytes())
}

// Moving out needs room for a block for each file, and says so before it begins.
func TestMoveOutNoSpace(t *testing.T) {
	keys, pol := testKey(t)
	l := inlineLayout(512)
	l.size = "1M"
	l.args = append(l.args, "-m", "0")
	plain := l.makeOf(t, func(dir string) {
		for i := range 300 {
			put(t, dir, fmt.Sprintf("secret/file %d", i), 100)
		}
		put(t, dir, "large", 480<<10)
	})
	home := storetest.NewMem(plain)
	if err := (job{op: convert.Encrypt, keys: keys, pol: pol}).run(t.Context(), home, newLog()); err != nil {
		t.Fatal(err)
	}
	encrypted := bytes.Clone(home.Bytes())
	if err := moveOut(t.Context(), home, keys, newLog); !errors.Is(err, image.ErrNoSpace) {
		t.Errorf("got %v, want %v", err, image.ErrNoSpace)
	}
	if !bytes.Equal(home.Bytes(), encrypted) {
		t.Error("the image was written to")
	}
}

// usedBlocks are all blocks in use, of which the table of inodes is part.
func usedBlocks(t testing.TB, home store.Store) int64 {
	t.Helper()
	fs, err := probe.Open(home, probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sb := fs.Super()
	return (sb.SizeBytes - sb.FreeBytes) / int64(sb.BlockSize)
}

// Ten thousand files of 1 KiB take at most 0.55 of the blocks that they take
// without encrypted inline data, in inodes of the same size or of the usual one,
// each table of inodes being as large as it has to be.
func TestInlineSpace(t *testing.T) {
	const n, bar = 10_000, 0.55
	src := t.TempDir()
	for i := range n {
		put(t, src, fmt.Sprintf("secret/%d/file %d", i/1000, i), 1024)
	}
	made := func(inodeSize int, more ...string) *storetest.Mem {
		args := []string{"-b", "4096", "-N", "10100", "-I", fmt.Sprint(inodeSize), "-O", "encrypt,inline_data,^has_journal,^resize_inode"}
		return storetest.NewMem(layout{"", "96M", append(args, more...)}.makeIn(t, src))
	}
	with, same, usual := made(2048, "+encrypted_inline_data"), made(2048), made(256)
	keys, pol := testKey(t)
	before := snapshot(t, with, nil)
	for _, home := range []store.Store{with, same, usual} {
		if err := (job{op: convert.Encrypt, keys: keys, pol: pol}).run(t.Context(), home, newLog()); err != nil {
			t.Fatal(err)
		}
	}
	blocks := usedBlocks(t, with)
	for what, other := range map[string]int64{"inodes of 2048 bytes": usedBlocks(t, same), "inodes of 256 bytes": usedBlocks(t, usual)} {
		ratio := float64(blocks) / float64(other)
		if t.Logf("%d blocks, without the feature and with %s %d: %.2f", blocks, what, other, ratio); ratio > bar {
			t.Errorf("%.2f, want %.2f or less", ratio, bar)
		}
	}
	// So many move out in several steps.
	if err := moveOut(t.Context(), with, keys, newLog); err != nil {
		t.Fatal(err)
	}
	if files, _ := inlineFiles(t, with); len(files) > 0 {
		t.Errorf("%d files are in their inodes", len(files))
	}
	if d := cmp.Diff(before, snapshot(t, with, keys)); d != "" {
		t.Errorf("tree differs (-before +after):\n%s", d)
	}
	e2fsck(t, with.Bytes())
}

// On f2fs and btrfs too files stay inside of their inodes, if f2fs's mounts all
// read them, are found in order there, and move out.
func TestInlineOnOthers(t *testing.T) {
	keys, pol := testKey(t)
	lblk64 := policies(pol, keys.Keys()[0])["lblk64"]
	src := t.TempDir()
	for _, n := range []int{0, 1, 15, 16, 17, 1000, 3000, 3440, 3441, 3900, 4095, 4096} {
		put(t, src, fmt.Sprintf("secret/file %d", n), n)
	}
	for _, tt := range []struct {
		name   string
		make   [][]string
		size   int64
		pol    policy.Policy
		inline uint64
		out    uint64
	}{
		{"f2fs", [][]string{{"mkfs.f2fs", "-q", "-O", "extra_attr,encrypt", "IMG"}, {"sload.f2fs", "-f", src, "IMG"}}, 64 << 20, lblk64, 7, 0},
		{"f2fs, a key per file", [][]string{{"mkfs.f2fs", "-q", "-O", "extra_attr,encrypt", "IMG"}, {"sload.f2fs", "-f", src, "IMG"}}, 64 << 20, pol, 0, 7},
		{"btrfs", [][]string{{"mkfs.btrfs", "-q", "--rootdir", src, "IMG"}}, 128 << 20, pol, 9, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home := storetest.NewMem(setFeatures(t, foreign(t, tt.size, tt.make), []string{feature.Encrypt, feature.EncryptedInlineData}, nil))
			before := snapshot(t, home, nil)
			_, contents := inlineFiles(t, home)
			p, err := planTo(t, home, tt.pol)
			if err != nil || p.Totals.Inline != tt.inline || p.Totals.MovedOut != tt.out {
				t.Fatalf("planned %+v, %v", p.Totals, err)
			}
			if err := (job{op: convert.Encrypt, keys: keys, pol: tt.pol, wipe: true}).run(t.Context(), home, newLog()); err != nil {
				t.Fatal(err)
			}
			for _, b := range contents {
				if len(b) >= 16 && bytes.Contains(home.Bytes(), b[:16]) {
					t.Errorf("plaintext of a file of %d bytes is left", len(b))
				}
			}
			same := func(what string) {
				t.Helper()
				if d := cmp.Diff(before, snapshot(t, home, keys)); d != "" {
					t.Fatalf("%s: tree differs (-before +after):\n%s", what, d)
				}
			}
			same("encrypted")
			if res := ownFsck(t, home, keys); res.Inline != tt.inline {
				t.Errorf("fsck counts %d files", res.Inline)
			}
			encrypted := bytes.Clone(home.Bytes())
			if err := (job{op: convert.Decrypt, keys: keys}).run(t.Context(), home, newLog()); err != nil {
				t.Fatal(err)
			}
			same("decrypted")
			home = storetest.NewMem(encrypted)
			if err := moveOut(t.Context(), home, keys, newLog); err != nil {
				t.Fatal(err)
			}
			same("moved out")
			ownFsck(t, home, keys)
		})
	}
}

// foreign makes an image with commands, in which IMG is its path.
func foreign(t testing.TB, size int64, commands [][]string) []byte {
	t.Helper()
	img := filepath.Join(t.TempDir(), "img")
	if err := errors.Join(os.WriteFile(img, nil, 0o600), os.Truncate(img, size)); err != nil {
		t.Fatal(err)
	}
	for _, c := range commands {
		c[len(c)-1] = img
		if out, err := exec.Command("/usr/sbin/"+c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", c[0], err, out)
		}
	}
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// planTo plans the encryption of /secret.
func planTo(t testing.TB, home store.Store, pol policy.Policy) (*convert.Plan, error) {
	t.Helper()
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	keys, _ := testKey(t)
	return convert.PlanEncrypt(t.Context(), fs, []convert.Top{lookup(t, home, nil, "/secret")}, pol, convert.Options{Keys: keys})
}
