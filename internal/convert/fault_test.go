package convert_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	"fsenc/internal/txn"
)

// host is where a fault is: which store, which call, and what it says. What is
// full refuses writes, also of zeros; the rest of what hosts refuse is EIO.
type host struct {
	ofLog bool
	call  storetest.Call
	errno unix.Errno
	step  int // from one call that fails to the next
}

var hosts = []host{
	{false, storetest.Read, unix.EIO, 1}, {false, storetest.Write, unix.EIO, 1}, {false, storetest.Write, unix.ENOSPC, 1},
	{false, storetest.Sync, unix.EIO, 1}, {false, storetest.Zero, unix.EIO, 1}, {false, storetest.Zero, unix.ENOSPC, 1},
	{true, storetest.Read, unix.EIO, 1}, {true, storetest.Write, unix.EIO, 1}, {true, storetest.Write, unix.ENOSPC, 1},
	{true, storetest.Sync, unix.EIO, 1}, {true, storetest.Sync, unix.ENOSPC, 1},
}

// faults lets run fail at each of the calls once, on a copy of image and log each
// time, and gives what is there then to judge.
func faults(t *testing.T, hosts []host, img, log []byte, run func(home, log store.Store) error, judge func(err error, img, log []byte)) (n int) {
	t.Helper()
	for _, h := range hosts {
		for k := 0; ; k += h.step {
			home, logStore := storetest.NewMem(bytes.Clone(img)), storetest.NewClock(1<<30).Log(bytes.Clone(log))
			var a, b store.Store = home, logStore
			var faulty *storetest.Faulty
			if h.ofLog {
				faulty = storetest.NewFaulty(logStore, h.call, k, h.errno)
				b = faulty
			} else {
				faulty = storetest.NewFaulty(home, h.call, k, h.errno)
				a = faulty
			}
			err := run(a, b)
			if !faulty.Failed() {
				if err != nil {
					t.Fatalf("%+v: %v", h, err)
				}
				break
			}
			n++
			if !errors.Is(err, h.errno) {
				t.Fatalf("%+v, call %d: got %v", h, k, err)
			}
			judge(err, home.Bytes(), logStore.Survivor(1))
		}
	}
	return n
}

// Every call that can fail fails once, of the image or of the log, in each
// conversion and in resume and undo. Either nothing was changed, or the error
// says that resume is the way on; then resume and undo end with the right tree.
func TestErrorsOfTheHost(t *testing.T) {
	keys, pol := testKey(t)
	plain := layouts[0].makeOf(t, func(dir string) {
		put(t, dir, "secret/file", 7000)
		put(t, dir, "secret/sub/other", 1500)
	})
	enc := job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true, small: true}
	secret := storetest.NewMem(bytes.Clone(plain))
	if err := enc.run(t.Context(), secret, newLog()); err != nil {
		t.Fatal(err)
	}
	whole := storetest.NewClock(1 << 30)
	if err := enc.run(t.Context(), whole.Store(plain), whole.Log(nil)); err != nil {
		t.Fatal(err)
	}
	half := storetest.NewClock(whole.Ops() / 2)
	home, log := half.Store(plain), half.Log(nil)
	if err := enc.run(t.Context(), home, log); err == nil {
		t.Fatal("not cut")
	}
	run := func(j job) func(home, log store.Store) error {
		return func(home, log store.Store) error { return j.run(t.Context(), home, log) }
	}
	goOn := func(d convert.Direction) func(home, log store.Store) error {
		return func(home, log store.Store) error { return finish(t.Context(), home, log, enc, d) }
	}
	adiantum := policies(pol, keys.Keys()[0])["adiantum"]
	r := recovery{keys: keys, want: snapshot(t, storetest.NewMem(plain), nil), judged: make(map[[32]byte]bool)}
	for _, c := range []struct {
		name     string
		img, log []byte
		run      func(home, log store.Store) error
	}{
		{"encrypt", plain, nil, run(enc)},
		{"decrypt", secret.Bytes(), nil, run(job{op: convert.Decrypt, keys: keys, pol: pol, small: true})},
		{"rekey", secret.Bytes(), nil, run(job{op: convert.Rekey, keys: keys, pol: adiantum, small: true})},
		{"resume", home.Survivor(2), log.Survivor(2), goOn(convert.Forward)},
		{"undo", home.Survivor(2), log.Survivor(2), goOn(convert.Back)},
	} {
		n := r.faults(t, hosts, c.name, c.img, c.log, c.run)
		if n < 20 {
			t.Errorf("%s: only %d failures", c.name, n)
		}
		t.Logf("%s: %d failures, %d states recovered from", c.name, n, 2*n)
	}
}

// faults is faults of a conversion: it ends with the right tree in either direction,
// or nothing was changed.
func (r *recovery) faults(t *testing.T, hosts []host, name string, img, log []byte, run func(home, log store.Store) error) int {
	t.Helper()
	return faults(t, hosts, img, log, run, func(err error, now, log []byte) {
		after := errors.Is(err, convert.ErrVerify) || errors.Is(err, convert.ErrLogLeft)
		if !after && !errors.Is(err, txn.ErrUnfinished) && !bytes.Equal(now, img) {
			t.Fatalf("%s: %v, but the image was changed", name, err)
		}
		for _, d := range []convert.Direction{convert.Forward, convert.Back} {
			r.recover(t, name+" after "+err.Error(), d, bytes.Clone(now), log)
		}
	})
}

// The same for an edit, of which there is nothing to resume: Open ends it.
func TestErrorsOfTheHostInEdit(t *testing.T) {
	base, edit := editBase(t), editOf
	want := snapshot(t, storetest.NewMem(base), nil)
	done := storetest.NewMem(bytes.Clone(base))
	if err := convert.Edit(done, newLog(), edit); err != nil {
		t.Fatal(err)
	}
	wantDone := snapshot(t, done, nil)
	n := faults(t, hosts, base, nil, func(home, log store.Store) error { return convert.Edit(home, log, edit) }, func(err error, img, log []byte) {
		if !errors.Is(err, txn.ErrUnfinished) && !errors.Is(err, convert.ErrLogLeft) && !bytes.Equal(img, base) {
			t.Fatalf("%v, but the image was changed", err)
		}
		judgeEdit(t, err.Error(), img, log, want, wantDone)
	})
	if n < 20 {
		t.Errorf("only %d failures", n)
	}
	t.Logf("edit: %d failures", n)
}

// judgeEdit recovers an image, which then is as before or as after the edit,
// and reports which.
func judgeEdit(t *testing.T, name string, img, log []byte, before, after map[string]string) bool {
	t.Helper()
	if _, _, err := convert.Open(storetest.NewMem(img), storetest.NewClock(1<<30).Log(log)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	fs, err := probe.Open(storetest.NewMem(img), probe.Options{Write: true})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	is := before
	if fs.Super().Encrypt {
		is = after
	}
	if d := cmp.Diff(is, snapshot(t, storetest.NewMem(img), nil)); d != "" {
		t.Fatalf("%s (-want +got):\n%s", name, d)
	}
	e2fsck(t, img)
	return fs.Super().Encrypt
}

// editBase is a small image without what editOf makes.
func editBase(t *testing.T) []byte {
	l := layouts[1]
	l.args = []string{"-b", "1024", "-O", "^has_journal"}
	l.size = "2M"
	return l.make(t)
}

func editOf(fs image.FS) error {
	if err := fs.SetFeatures([]string{feature.Encrypt}, nil); err != nil {
		return err
	}
	ino, err := fs.Mkdir(fs.Root(), []byte(".fscrypt"), image.NewFile{Perm: 0o755, Time: time.Unix(1, 0)})
	if err != nil {
		return err
	}
	_, err = fs.Create(ino, []byte("file"), content("file", 3000), image.NewFile{Perm: 0o600, Time: time.Unix(1, 0)})
	return err
}

// An edit of features is there whole or not at all after every power cut.
func TestPowerLossOfEdit(t *testing.T) {
	base, edit := editBase(t), editOf
	want := snapshot(t, storetest.NewMem(base), nil)
	done := storetest.NewMem(bytes.Clone(base))
	if err := convert.Edit(done, newLog(), edit); err != nil {
		t.Fatal(err)
	}
	wantDone := snapshot(t, done, nil)
	cuts, outcomes := 0, make(map[bool]int)
	for _, clock := range []func(int) *storetest.Clock{storetest.NewClock, storetest.NewSyncClock} {
		for k := 0; ; k++ {
			c := clock(k)
			home, log := c.Store(base), c.Log(nil)
			if err := convert.Edit(home, log, edit); !c.Cut() {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			cuts++
			for seed := range uint64(6) {
				name := fmt.Sprintf("cut %d, seed %d", k, seed)
				outcomes[judgeEdit(t, name, home.Survivor(seed), log.Survivor(seed), want, wantDone)]++
			}
		}
	}
	if outcomes[true] == 0 || outcomes[false] == 0 {
		t.Errorf("outcomes: %v", outcomes)
	}
	t.Logf("%d cuts, %d states recovered from", cuts, outcomes[true]+outcomes[false])
}

// Resume and undo lose power at every write themselves.
func TestPowerLossOfRecovery(t *testing.T) {
	keys, pol := testKey(t)
	plain := layouts[0].makeOf(t, func(dir string) {
		put(t, dir, "secret/file", 7000)
		put(t, dir, "secret/sub/other", 1500)
	})
	r := recovery{keys: keys, want: snapshot(t, storetest.NewMem(plain), nil), judged: make(map[[32]byte]bool)}
	j := job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true, small: true}
	whole := storetest.NewClock(1 << 30)
	if err := j.run(t.Context(), whole.Store(plain), whole.Log(nil)); err != nil {
		t.Fatal(err)
	}
	for _, first := range []int{whole.Ops() / 3, whole.Ops() / 2, whole.Ops() * 2 / 3} {
		c := storetest.NewClock(first)
		home, log := c.Store(plain), c.Log(nil)
		if err := j.run(t.Context(), home, log); err == nil {
			t.Fatal("not cut")
		}
		for _, d := range []convert.Direction{convert.Forward, convert.Back} {
			for k := 0; ; k++ {
				c := storetest.NewClock(k)
				again, againLog := c.Store(home.Survivor(2)), c.Log(log.Survivor(2))
				err := finish(t.Context(), again, againLog, j, d)
				if !c.Cut() {
					if err != nil {
						t.Fatal(err)
					}
					break
				}
				r.cuts++
				for seed := range uint64(3) {
					r.recover(t, "recovery cut again", convert.Back-d, again.Survivor(seed), againLog.Survivor(seed))
					r.states++
				}
			}
		}
	}
	t.Logf("%d cuts, %d states recovered from, %d different results", r.cuts, r.states, len(r.judged))
}

func finish(ctx context.Context, home, log store.Store, j job, d convert.Direction) error {
	i, _, err := convert.Open(home, log)
	if err != nil || i == nil {
		return err
	}
	c, err := i.Resume(j.keys)
	if err != nil {
		return err
	}
	c.SmallBatches()
	return c.Run(ctx, d)
}

// A copy has the converted tree and no plaintext, and the old image is only
// read.
func TestCopy(t *testing.T) {
	keys, pol := testKey(t)
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			plain := l.make(t)
			old := storetest.NewMem(bytes.Clone(plain))
			new := storetest.NewMem(make([]byte, len(plain)))
			d := store.NewDerived(old, new)
			fs, err := probe.Open(d, probe.Options{Write: true})
			if err != nil {
				t.Fatal(err)
			}
			o := convert.Options{Keys: keys, Wipe: true}
			p, err := convert.PlanEncrypt(t.Context(), fs, []convert.Top{lookup(t, old, nil, "/secret")}, pol, o)
			if err != nil {
				t.Fatal(err)
			}
			c, err := convert.BeginCopy(d, p, keys)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.Run(t.Context(), convert.Forward), d.Finish()); err != nil {
				t.Fatal(err)
			}
			if sha256.Sum256(old.Bytes()) != sha256.Sum256(plain) {
				t.Error("the old image was changed")
			}
			noPlaintext(t, new.Bytes())
			e2fsck(t, new.Bytes())
			if d := cmp.Diff(snapshot(t, old, nil), snapshot(t, new, keys)); d != "" {
				t.Errorf("the copy differs (-old +new):\n%s", d)
			}
		})
	}
}

// Every call that can fail fails once while a copy is made, of the old image or
// of the new file: the error comes out, and the old image is only read.
func TestErrorsOfTheHostInCopy(t *testing.T) {
	keys, pol := testKey(t)
	plain := layouts[0].makeOf(t, func(dir string) {
		put(t, dir, "secret/file", 7000)
		put(t, dir, "secret/sub/other", 1500)
	})
	failures := 0
	for _, h := range hosts {
		for k := 0; ; k++ {
			old, new := storetest.NewMem(bytes.Clone(plain)), storetest.NewMem(make([]byte, len(plain)))
			var a, b store.Store = old, new
			var faulty *storetest.Faulty
			if h.ofLog { // there is no log: here it stands for the new file
				faulty = storetest.NewFaulty(new, h.call, k, h.errno)
				b = faulty
			} else {
				faulty = storetest.NewFaulty(old, h.call, k, h.errno)
				a = faulty
			}
			d := store.NewDerived(a, b)
			err := copyTree(t, d, keys, pol)
			if !bytes.Equal(old.Bytes(), plain) {
				t.Fatalf("%+v, call %d: the old image was changed", h, k)
			}
			if !faulty.Failed() {
				if err != nil {
					t.Fatalf("%+v: %v", h, err)
				}
				e2fsck(t, new.Bytes())
				break
			}
			failures++
			if !errors.Is(err, h.errno) {
				t.Fatalf("%+v, call %d: got %v", h, k, err)
			}
		}
	}
	if failures < 20 {
		t.Errorf("only %d failures", failures)
	}
	t.Logf("copy: %d failures", failures)
}

// copyTree converts into a derived store and completes it.
func copyTree(t *testing.T, d *store.Derived, keys *crypt.Keyring, pol policy.Policy) error {
	fs, err := probe.Open(d, probe.Options{Write: true})
	if err != nil {
		return err
	}
	n, err := tree.New(fs, nil).Lookup("/secret")
	if err != nil {
		return err
	}
	p, err := convert.PlanEncrypt(t.Context(), fs, []convert.Top{{Path: "/secret", Ino: n.Ino}}, pol, convert.Options{Keys: keys, Wipe: true})
	if err != nil {
		return err
	}
	c, err := convert.BeginCopy(d, p, keys)
	if err != nil {
		return err
	}
	if err := c.Run(t.Context(), convert.Forward); err != nil {
		return err
	}
	return d.Finish()
}
