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

	"fsenc/internal/convert"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/feature"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
	"fsenc/internal/tree"
)

// layout is a small image that mke2fs fills without the kernel.
type layout struct {
	name string
	size string
	args []string // "+FEATURE" sets one that mke2fs does not know
}

var layouts = []layout{
	{"1k", "2M", []string{"-b", "1024", "-O", "encrypt,^has_journal"}},
	{"4k-journal", "12M", []string{"-b", "4096", "-O", "encrypt"}},
	{"inline", "2M", []string{"-b", "1024", "-O", "encrypt,inline_data,^has_journal"}},
	{"block map", "2M", []string{"-b", "1024", "-I", "128", "-O", "encrypt,^has_journal,^extent,^64bit,^metadata_csum"}},
	{"bigalloc", "8M", []string{"-b", "1024", "-C", "4096", "-O", "encrypt,bigalloc,^has_journal"}},
	{"encrypted inline", "2M", []string{"-b", "1024", "-I", "512", "-O", "encrypt,inline_data,^has_journal", "+encrypted_inline_data"}},
}

// fill makes the tree that is converted, and one beside it.
func fill(t testing.TB, dir string) {
	t.Helper()
	for i, n := range []int{0, 1, 40, 1023, 1024, 1025, 5000, 70000} {
		put(t, dir, fmt.Sprintf("secret/file%d", i), n)
	}
	put(t, dir, "secret/sub/deep below/er/leaf", 300)
	put(t, dir, "plain/stays", 2000)
	for i := range 60 {
		put(t, dir, fmt.Sprintf("secret/many/a name that is of some length %02d", i), i)
	}
	for i, n := range []int{1, 20, 58, 59, 60, 61, 200, 1000} {
		if err := os.Symlink(strings.Repeat("t", n), filepath.Join(dir, fmt.Sprintf("secret/link%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "secret/file6"), filepath.Join(dir, "secret/sub/hard link")); err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, dir, name string, n int) {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, content(name, n), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func content(name string, n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		s := sha256.Sum256(fmt.Appendf(nil, "%s %d", name, i))
		b = append(b, s[:]...)
	}
	return b[:n]
}

// make returns the bytes of an image with the tree that fill makes.
func (l layout) make(t testing.TB) []byte {
	return l.makeOf(t, func(dir string) { fill(t, dir) })
}

func (l layout) makeOf(t testing.TB, fill func(dir string)) []byte {
	t.Helper()
	src := t.TempDir()
	fill(src)
	return l.makeIn(t, src)
}

// makeIn is make with a tree that is there.
func (l layout) makeIn(t testing.TB, src string) []byte {
	t.Helper()
	img := filepath.Join(t.TempDir(), "img")
	args := []string{"-q", "-F", "-t", "ext4", "-E", "hash_seed=aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "-d", src}
	var set []string
	for _, a := range l.args {
		if f, ok := strings.CutPrefix(a, "+"); ok {
			set = append(set, f)
		} else {
			args = append(args, a)
		}
	}
	if out, err := exec.Command("/usr/sbin/mke2fs", append(args, img, l.size)...).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	if len(set) > 0 {
		return setFeatures(t, b, set, nil)
	}
	return b
}

// setFeatures changes the features of an image in a copy.
func setFeatures(t testing.TB, img []byte, set, clear []string) []byte {
	t.Helper()
	home := storetest.NewMem(bytes.Clone(img))
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err == nil {
		err = errors.Join(fs.SetFeatures(set, clear), fs.Flush())
	}
	if err != nil {
		t.Fatal(err)
	}
	return home.Bytes()
}

func testKey(t testing.TB) (*crypt.Keyring, policy.Policy) {
	t.Helper()
	raw := make([]byte, 64)
	for i := range raw {
		raw[i] = byte(i)
	}
	key, err := crypt.NewMasterKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	ring := new(crypt.Keyring)
	ring.Add(key)
	pol := policy.Policy{Version: 2, Contents: policy.ModeAES256XTS, Filenames: policy.ModeAES256CTS, Flags: 3, Identifier: key.Identifier()}
	return ring, pol
}

// snapshot lists everything that a reader with the key sees.
func snapshot(t testing.TB, s store.Store, keys *crypt.Keyring) map[string]string {
	t.Helper()
	fs, err := probe.Open(s, probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	tr := tree.New(fs, keys)
	defer tr.Close()
	err = tr.Walk(tr.Root(), func(n tree.Node) error {
		if n.Err != nil {
			return n.Err
		}
		a, err := tr.Attr(n)
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%v %o %d:%d links %d mtime %d", n.Type, a.Mode, a.UID, a.GID, a.Links, a.Mtime.UnixNano())
		switch n.Type {
		case image.TypeRegular:
			h := sha256.New()
			if err := tr.ReadFile(n, h); err != nil {
				return err
			}
			line += fmt.Sprintf(" size %d %x", a.Size, h.Sum(nil))
		case image.TypeSymlink:
			target, err := tr.Readlink(n)
			if err != nil {
				return err
			}
			line += " -> " + string(target)
		}
		out[n.Path] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// e2fsck judges an image. It knows nothing of encrypted inline data: without the
// feature bit they are inline data to it.
func e2fsck(t testing.TB, img []byte) {
	t.Helper()
	const incompat, bit = 1024 + 0x60 + 3, 0x40
	if img[incompat]&bit != 0 {
		img = setFeatures(t, img, nil, []string{feature.EncryptedInlineData})
	}
	p := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(p, img, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/usr/sbin/e2fsck", "-fn", p).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
}

func lookup(t testing.TB, s store.Store, keys *crypt.Keyring, path string) convert.Top {
	t.Helper()
	fs, err := probe.Open(s, probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := tree.New(fs, keys).Lookup(path)
	if err != nil {
		t.Fatal(err)
	}
	return convert.Top{Path: path, Ino: n.Ino}
}

// job is a conversion of /secret, from planning to the end.
type job struct {
	op    convert.Op
	keys  *crypt.Keyring
	pol   policy.Policy
	wipe  bool
	small bool // many small commits
	early int  // if not 0, blocks of a commit, of which a part is written before
	full  bool // the filesystem says that there is no room to move more
	begun func() error

	report func(convert.Progress)
}

// as is the job with an operation; what is encrypted leaves nothing behind.
func (j job) as(op convert.Op) job {
	j.op, j.wipe = op, op == convert.Encrypt
	return j
}

func (j job) run(ctx context.Context, home, log store.Store) error {
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err != nil {
		return err
	}
	n, err := tree.New(fs, j.keys).Lookup("/secret")
	if err != nil {
		return err
	}
	tops := []convert.Top{{Path: "/secret", Ino: n.Ino}}
	o := convert.Options{Keys: j.keys, Wipe: j.wipe}
	var p *convert.Plan
	switch j.op {
	case convert.Encrypt:
		p, err = convert.PlanEncrypt(ctx, fs, tops, j.pol, o)
	case convert.Decrypt:
		p, err = convert.PlanDecrypt(ctx, fs, tops, o)
	case convert.Rekey:
		p, err = convert.PlanRekey(ctx, fs, tops, j.pol, o)
	}
	if err != nil {
		return err
	}
	c, err := convert.Begin(home, log, p, j.keys)
	if err != nil {
		return err
	}
	if j.small {
		c.SmallBatches()
	}
	if j.early > 0 {
		c.EarlyBatches(j.early)
	}
	if j.full {
		c.Fill()
	}
	if j.report != nil {
		c.OnProgress(j.report)
	}
	if j.begun != nil {
		if err := j.begun(); err != nil {
			return err
		}
	}
	if err := c.Run(ctx, convert.Forward); err != nil {
		return err
	}
	return convert.Verify(ctx, home, p, o)
}

func TestEncryptAndDecrypt(t *testing.T) {
	keys, pol := testKey(t)
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			home := storetest.NewMem(l.make(t))
			before := snapshot(t, home, nil)
			if err := (job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true}).run(t.Context(), home, newLog()); err != nil {
				t.Fatal(err)
			}
			e2fsck(t, home.Bytes())
			if d := cmp.Diff(before, snapshot(t, home, keys)); d != "" {
				t.Fatalf("encrypted tree differs (-before +after):\n%s", d)
			}
			noPlaintext(t, home.Bytes())
			if err := (job{op: convert.Decrypt, keys: keys, pol: pol}).run(t.Context(), home, newLog()); err != nil {
				t.Fatal(err)
			}
			e2fsck(t, home.Bytes())
			if d := cmp.Diff(before, snapshot(t, home, nil)); d != "" {
				t.Errorf("decrypted tree differs (-before +after):\n%s", d)
			}
		})
	}
}

func newLog() store.Store { return storetest.NewClock(1 << 30).Log(nil) }

// noPlaintext looks for names, targets and contents of the tree.
func noPlaintext(t testing.TB, img []byte) {
	t.Helper()
	marks := [][]byte{
		[]byte("a name that is of some length"), []byte(strings.Repeat("t", 58)),
		content("secret/file1", 16)[:16], content("secret/file2", 16), content("secret/file7", 70000)[65536:65552],
		[]byte("deep below"), []byte("hard link"), // four bytes would come up by chance
	}
	for _, m := range marks {
		if i := bytes.Index(img, m); i >= 0 {
			t.Errorf("plaintext %q is left at byte %d", m, i)
		}
	}
}

// Every write of a conversion is the last one once; whatever survives, resume
// and undo end with the old tree or the new one, and both pass e2fsck.
func TestPowerLoss(t *testing.T) {
	keys, pol := testKey(t)
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			plain := l.make(t)
			r := recovery{keys: keys, want: snapshot(t, storetest.NewMem(plain), nil), judged: make(map[[32]byte]bool)}
			encrypted := storetest.NewMem(bytes.Clone(plain))
			// Unmapped blocks of clusters are wiped one by one, hundreds of
			// writes that are all alike: the other layouts stand for them.
			enc := job{op: convert.Encrypt, keys: keys, pol: pol, wipe: l.name != "bigalloc"}
			if err := enc.run(t.Context(), encrypted, newLog()); err != nil {
				t.Fatal(err)
			}
			r.powerLoss(t, enc, plain)
			r.powerLoss(t, job{op: convert.Decrypt, keys: keys, pol: pol}, encrypted.Bytes())
			t.Logf("%d cuts, %d states recovered from, %d different results", r.cuts, r.states, len(r.judged))
		})
	}
}

// policies are one of each kind that these layouts take: the key, or with v1
// its descriptor by custom, is the same for all.
func policies(v2 policy.Policy, key *crypt.MasterKey) map[string]policy.Policy {
	with := func(change func(*policy.Policy)) policy.Policy {
		p := v2
		change(&p)
		return p
	}
	return map[string]policy.Policy{
		"xts":      v2,
		"hctr2":    with(func(p *policy.Policy) { p.Filenames, p.Flags = policy.ModeAES256HCTR2, 0 }),
		"adiantum": with(func(p *policy.Policy) { p.Contents, p.Filenames = policy.ModeAdiantum, policy.ModeAdiantum }),
		"direct": with(func(p *policy.Policy) {
			p.Contents, p.Filenames, p.Flags = policy.ModeAdiantum, policy.ModeAdiantum, 1|policy.FlagDirectKey
		}),
		"essiv":  with(func(p *policy.Policy) { p.Contents, p.Filenames = policy.ModeAES128CBC, policy.ModeAES128CTS }),
		"sm4":    with(func(p *policy.Policy) { p.Contents, p.Filenames = policy.ModeSM4XTS, policy.ModeSM4CTS }),
		"units":  with(func(p *policy.Policy) { p.Log2DataUnitSize = 9 }),
		"lblk64": with(func(p *policy.Policy) { p.Flags = 2 | policy.FlagIVInoLblk64 }),
		"lblk32": with(func(p *policy.Policy) { p.Flags = 2 | policy.FlagIVInoLblk32 }),
		"v1": {Version: 1, Contents: policy.ModeAES256XTS, Filenames: policy.ModeAES256CTS, Flags: 2,
			Descriptor: key.Descriptor()},
	}
}

// Every policy replaces every other, and then the tree is what it was.
func TestRekeyBetweenAllPolicies(t *testing.T) {
	keys, pol := testKey(t)
	l := layouts[0]
	l.args = []string{"-b", "1024", "-O", "encrypt,stable_inodes,^has_journal"}
	home := storetest.NewMem(l.make(t))
	before := snapshot(t, home, nil)
	all := policies(pol, keys.Keys()[0])
	if err := (job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true}).run(t.Context(), home, newLog()); err != nil {
		t.Fatal(err)
	}
	for a := range all {
		for b := range all {
			for _, to := range []string{a, b} {
				if err := (job{op: convert.Rekey, keys: keys, pol: all[to]}).run(t.Context(), home, newLog()); err != nil {
					t.Fatalf("%s to %s: %v", a, b, err)
				}
			}
			if d := cmp.Diff(before, snapshot(t, home, keys)); d != "" {
				t.Fatalf("tree differs from %s to %s (-before +after):\n%s", a, b, d)
			}
		}
		e2fsck(t, home.Bytes())
	}
	noPlaintext(t, home.Bytes())
}

// Rekeying survives a power cut at every write, by either method: of two
// modes with checksums, of others with a journal of contents.
func TestPowerLossOfRekey(t *testing.T) {
	keys, pol := testKey(t)
	all := policies(pol, keys.Keys()[0])
	plain := layouts[0].makeOf(t, func(dir string) {
		put(t, dir, "secret/file", 7000)
		put(t, dir, "secret/sub/other", 1500)
	})
	r := recovery{keys: keys, want: snapshot(t, storetest.NewMem(plain), nil), judged: make(map[[32]byte]bool)}
	for _, pair := range [][2]string{{"xts", "sm4"}, {"xts", "adiantum"}, {"essiv", "v1"}} {
		home := storetest.NewMem(bytes.Clone(plain))
		if err := (job{op: convert.Encrypt, keys: keys, pol: all[pair[0]]}).run(t.Context(), home, newLog()); err != nil {
			t.Fatal(err)
		}
		r.powerLoss(t, job{op: convert.Rekey, keys: keys, pol: all[pair[1]], small: true}, home.Bytes())
	}
	t.Logf("%d cuts, %d states recovered from, %d different results", r.cuts, r.states, len(r.judged))
}

// Of a conversion in many commits every write is the last one once, on one
// layout: what is special are the states with a file converted in part.
func TestPowerLossBetweenBatches(t *testing.T) {
	keys, pol := testKey(t)
	plain := layouts[0].makeOf(t, func(dir string) {
		put(t, dir, "secret/file", 9000)
		put(t, dir, "secret/sub/other", 1500)
	})
	r := recovery{keys: keys, want: snapshot(t, storetest.NewMem(plain), nil), judged: make(map[[32]byte]bool)}
	encrypted := storetest.NewMem(bytes.Clone(plain))
	enc := job{op: convert.Encrypt, keys: keys, pol: pol, small: true}
	if err := enc.run(t.Context(), encrypted, newLog()); err != nil {
		t.Fatal(err)
	}
	r.powerLoss(t, enc, plain)
	r.powerLoss(t, job{op: convert.Decrypt, keys: keys, pol: pol, small: true}, encrypted.Bytes())
	t.Logf("%d cuts, %d states recovered from, %d different results", r.cuts, r.states, len(r.judged))
}

// A conversion changes its mind between any two commits, and back.
func TestResumeAndUndoTakeTurns(t *testing.T) {
	takeTurns(t, layouts[0].make(t), e2fsck)
}

func takeTurns(t *testing.T, plain []byte, check func(testing.TB, []byte)) {
	t.Helper()
	keys, pol := testKey(t)
	want := snapshot(t, storetest.NewMem(plain), nil)
	home, log := storetest.NewMem(bytes.Clone(plain)), newLog()
	err := (job{op: convert.Encrypt, keys: keys, pol: pol, small: true, begun: func() error { return context.Canceled }}).run(t.Context(), home, log)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the interruption", err)
	}
	turns := 0
	for d := convert.Forward; ; turns++ {
		c := resumed(t, keys, home, log)
		ctx, stop := context.WithCancel(t.Context())
		left := 5 + turns%7 // commits until it changes its mind
		if d == convert.Back {
			left = 2 + turns%3
		}
		c.OnProgress(func(convert.Progress) {
			if left--; left == 0 {
				stop()
			}
		})
		err := c.Run(ctx, d)
		stop()
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		d = convert.Back - d
	}
	if turns < 10 {
		t.Errorf("only %d turns", turns)
	}
	if d := cmp.Diff(want, snapshot(t, home, keys)); d != "" {
		t.Errorf("tree differs (-want +got):\n%s", d)
	}
	check(t, home.Bytes())
}

// resumed opens an interrupted conversion, to go on in small batches.
func resumed(t *testing.T, keys *crypt.Keyring, home, log store.Store) *convert.Conversion {
	t.Helper()
	i, _, err := convert.Open(home, log)
	if err != nil {
		t.Fatal(err)
	}
	c, err := i.Resume(keys)
	if err != nil {
		t.Fatal(err)
	}
	c.SmallBatches()
	return c
}

// recovery judges what becomes of an image after a power cut.
type recovery struct {
	keys         *crypt.Keyring
	want         map[string]string
	judged       map[[32]byte]bool
	cuts, states int

	check  func(testing.TB, []byte) // e2fsck if nil
	stride int                      // from one cut to the next, 1 if zero
}

func (r *recovery) powerLoss(t *testing.T, j job, base []byte) {
	for _, clock := range []func(int) *storetest.Clock{storetest.NewClock, storetest.NewSyncClock} {
		for k := 0; ; k += max(1, r.stride) {
			c := clock(k)
			home, log := c.Store(base), c.Log(nil)
			err := j.run(t.Context(), home, log)
			if !c.Cut() {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			r.cuts++
			for seed := range uint64(3) {
				for _, d := range []convert.Direction{convert.Forward, convert.Back} {
					name := fmt.Sprintf("%v cut %d seed %d direction %d", j.op, k, seed, d)
					r.recover(t, name, d, home.Survivor(seed), log.Survivor(seed))
					r.states++
				}
			}
		}
	}
}

// recover resumes in one direction. A result that was judged before, but for
// the time in its superblock, is as good as it was then.
func (r *recovery) recover(t *testing.T, name string, d convert.Direction, img, log []byte) {
	t.Helper()
	home := storetest.NewMem(img)
	i, _, err := convert.Open(home, storetest.NewClock(1<<30).Log(log))
	if err == nil && i != nil {
		var c *convert.Conversion
		if c, err = i.Resume(r.keys); err == nil {
			err = c.Run(t.Context(), d)
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if _, err := probe.Open(home, probe.Options{Write: true}); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	same := bytes.Clone(img)
	clear(same[1024:2048])
	sum := sha256.Sum256(same)
	if r.judged[sum] {
		return
	}
	r.judged[sum] = true
	if diff := cmp.Diff(r.want, snapshot(t, home, r.keys)); diff != "" {
		t.Fatalf("%s: tree differs (-want +got):\n%s", name, diff)
	}
	if r.check != nil {
		r.check(t, img)
	} else {
		e2fsck(t, img)
	}
}
