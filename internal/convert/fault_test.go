package convert_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"fsenc/internal/convert"
	"fsenc/internal/feature"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
	"fsenc/internal/txn"
)

// Every call that can fail fails once, of the image or of the log. Either
// nothing was changed, or the error says that resume is the way on; then
// resume and undo end with the right tree.
func TestErrorsOfTheHost(t *testing.T) {
	keys, pol := testKey(t)
	plain := layouts[0].makeOf(t, func(dir string) {
		put(t, dir, "secret/file", 7000)
		put(t, dir, "secret/sub/other", 1500)
	})
	j := job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true, small: true}
	r := recovery{keys: keys, want: snapshot(t, storetest.NewMem(plain), nil), judged: make(map[[32]byte]bool)}
	failures := 0
	for _, op := range []storetest.Call{storetest.Read, storetest.Write, storetest.Sync, storetest.Zero} {
		for _, ofLog := range []bool{false, true} {
			for n := 0; ; n++ {
				home, log := storetest.NewMem(bytes.Clone(plain)), storetest.NewClock(1<<30).Log(nil)
				var h, l store.Store = home, log
				errno := unix.EIO
				if ofLog {
					errno = unix.ENOSPC
					l = storetest.NewFaulty(log, op, n, errno)
				} else {
					h = storetest.NewFaulty(home, op, n, errno)
				}
				err := j.run(t.Context(), h, l)
				if err == nil {
					break
				}
				failures++
				if !errors.Is(err, errno) {
					t.Fatalf("op %v, call %d: got %v, want %v", op, n, err, errno)
				}
				after := errors.Is(err, convert.ErrVerify) || errors.Is(err, convert.ErrLogLeft)
				if !after && !errors.Is(err, txn.ErrUnfinished) && !bytes.Equal(home.Bytes(), plain) {
					t.Fatalf("op %v, call %d: %v, but the image was changed", op, n, err)
				}
				for _, d := range []convert.Direction{convert.Forward, convert.Back} {
					r.recover(t, "after "+err.Error(), d, bytes.Clone(home.Bytes()), log.Survivor(1))
				}
			}
		}
	}
	if failures < 60 {
		t.Errorf("only %d failures", failures)
	}
	t.Logf("%d failures", failures)
}

// An edit of features is there whole or not at all after every power cut.
func TestPowerLossOfEdit(t *testing.T) {
	l := layouts[1]
	l.args = []string{"-b", "1024", "-O", "^has_journal"}
	l.size = "2M"
	base := l.make(t)
	want := snapshot(t, storetest.NewMem(base), nil)
	edit := func(fs image.FS) error {
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
				img := home.Survivor(seed)
				if _, _, err := convert.Open(storetest.NewMem(img), storetest.NewClock(1<<30).Log(log.Survivor(seed))); err != nil {
					t.Fatalf("cut %d, seed %d: %v", k, seed, err)
				}
				fs, err := probe.Open(storetest.NewMem(img), probe.Options{Write: true})
				if err != nil {
					t.Fatalf("cut %d, seed %d: %v", k, seed, err)
				}
				is := want
				if fs.Super().Encrypt {
					is = wantDone
				}
				outcomes[fs.Super().Encrypt]++
				if d := cmp.Diff(is, snapshot(t, storetest.NewMem(img), nil)); d != "" {
					t.Fatalf("cut %d, seed %d (-want +got):\n%s", k, seed, d)
				}
				e2fsck(t, img)
			}
		}
	}
	if outcomes[true] == 0 || outcomes[false] == 0 {
		t.Errorf("outcomes: %v", outcomes)
	}
	t.Logf("%d cuts", cuts)
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
