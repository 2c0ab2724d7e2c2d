package txn_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
	"fsenc/internal/txn"
)

// places are four pages that a pointer, a byte at pointerOff, takes in turn:
// what it pointed to before is free and is overwritten soon.
const (
	pointerOff = 3000
	placesOff  = 100 << 10
)

func version(k int) []byte { return bytes.Repeat([]byte{byte(k)}, 4096) }

// mover writes versions of a page to so many places in turn, one of so many
// through the log, and commits the pointer to it. If early, it lets them be
// written before the commit.
type mover struct {
	places, logged int
	early          bool
}

func (m mover) run(home, log store.Store) error {
	h := txn.Header{ID: [16]byte{1, 2, 3}, MarkOff: markOff, Kind: "test"}
	tx, err := txn.Create(home, log, h, nil)
	if err != nil {
		return err
	}
	mark := func(b [16]byte) error {
		_, err := tx.WriteAt(b[:], markOff)
		return err
	}
	if err := mark(tx.Mark()); err != nil {
		return err
	}
	if err := tx.WriteFresh(version(0), placesOff); err != nil {
		return err
	}
	if _, err := tx.WriteAt([]byte{0}, pointerOff); err != nil {
		return err
	}
	if err := tx.Begin(nil); err != nil {
		return err
	}
	tx.SetMarker(mark)
	for k := 1; k < 12; k++ {
		off := placesOff + int64(k%m.places)*4096
		if k%m.logged == 0 {
			_, err = tx.WriteAt(version(k), off)
		} else {
			err = tx.WriteFresh(version(k), off)
		}
		if err != nil {
			return err
		}
		if m.early {
			if err := tx.WriteEarly(); err != nil {
				return err
			}
		}
		if _, err := tx.WriteAt([]byte{byte(k)}, pointerOff); err != nil {
			return err
		}
		b := make([]byte, 4096)
		if _, err := tx.ReadAt(b, off); err != nil || !bytes.Equal(b, version(k)) {
			return fmt.Errorf("version %d reads as %d: %w", k, b[0], err)
		}
		next, _ := tx.NextMark()
		if err := errors.Join(mark(next), tx.Start([]byte{byte(k)})); err != nil {
			return err
		}
		if _, err := tx.ReadAt(b, off); err != nil || !bytes.Equal(b, version(k)) {
			return fmt.Errorf("version %d reads as %d beside its commit: %w", k, b[0], err)
		}
	}
	return tx.Checkpoint()
}

// Whatever a power cut leaves, the version that the last commit points to is
// whole, wherever it was written. With two places each version but those of the
// log is written where the one is that a commit still points to which the next is
// being carried out after.
func TestPowerLossOfFresh(t *testing.T) {
	for name, m := range map[string]mover{
		"four places": {places: 4, logged: 3},
		"two places":  {places: 2, logged: 100},
		"early":       {places: 2, logged: 100, early: true},
		"early, log":  {places: 4, logged: 3, early: true},
	} {
		t.Run(name, m.powerLoss)
	}
	t.Run("spilled", func(t *testing.T) {
		txn.SpillAt(t, 1)
		mover{places: 4, logged: 3}.powerLoss(t)
		mover{places: 2, logged: 100}.powerLoss(t)
	})
}

func (m mover) powerLoss(t *testing.T) {
	base := startImage()
	copy(base[placesOff:], version(0))
	base[pointerOff] = 0
	cuts := 0
	for _, clock := range []func(int) *storetest.Clock{storetest.NewClock, storetest.NewSyncClock} {
		for k := 0; ; k++ {
			c := clock(k)
			home, log := c.Store(base), c.Log(nil)
			if err := m.run(home, log); !c.Cut() {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			cuts++
			for seed := range uint64(12) {
				img := storetest.NewMem(home.Survivor(seed))
				tx, err := txn.Open(img, storetest.NewMem(log.Survivor(seed)))
				if errors.Is(err, txn.ErrNotLog) || errors.Is(err, txn.ErrLogDamaged) {
					continue // it was cut off before anything began
				}
				if err != nil {
					t.Fatalf("cut %d, seed %d: %v", k, seed, err)
				}
				if err := tx.Recover(); err != nil && !errors.Is(err, txn.ErrNeverBegun) {
					t.Fatalf("cut %d, seed %d: %v", k, seed, err)
				}
				v := int(img.Bytes()[pointerOff])
				if p := tx.Position(); len(p) == 1 && int(p[0]) != v {
					t.Fatalf("cut %d, seed %d: points to version %d, committed was %d", k, seed, v, p[0])
				}
				if got := img.Bytes()[placesOff+v%m.places*4096:][:4096]; !bytes.Equal(got, version(v)) {
					t.Fatalf("cut %d, seed %d: version %d is not whole", k, seed, v)
				}
			}
		}
	}
	if cuts < 40 {
		t.Errorf("only %d cuts", cuts)
	}
}

// Before the mark is set, and in a transaction that can only be dropped, nothing
// is written to the image.
func TestFreshBeforeBegin(t *testing.T) {
	base := startImage()
	for _, scratch := range []bool{false, true} {
		home := storetest.NewMem(bytes.Clone(base))
		tx := txn.Scratch(home)
		if !scratch {
			var err error
			if tx, err = txn.Create(home, newLogStore(), txn.Header{Kind: "test"}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.WriteFresh(version(7), placesOff); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(home.Bytes(), base) {
			t.Errorf("scratch %v: the image was written to", scratch)
		}
		b := make([]byte, 4096)
		if _, err := tx.ReadAt(b, placesOff); err != nil || !bytes.Equal(b, version(7)) {
			t.Errorf("scratch %v: reads as %d, %v", scratch, b[0], err)
		}
	}
}

// brokenOnce is a store of which one call fails once, when the time has come.
type brokenOnce struct {
	store.Store
	write, sync atomic.Bool
}

var errBroken = errors.New("broken")

func (b *brokenOnce) WriteAt(p []byte, off int64) (int, error) {
	if b.write.CompareAndSwap(true, false) {
		return 0, errBroken
	}
	return b.Store.WriteAt(p, off)
}

func (b *brokenOnce) Sync() error {
	if b.sync.CompareAndSwap(true, false) {
		return errBroken
	}
	return b.Store.Sync()
}

// What fails beside the work ends the transaction with the next commit, even if a
// second try would succeed; and what a commit that fails was to free is not
// overwritten.
func TestEarlyFails(t *testing.T) {
	for _, row := range []struct {
		name    string
		fail    func(home, log *brokenOnce)
		before  bool // it is the commit before that fails
		written bool // the page that is written early
	}{
		{name: "write", fail: func(home, _ *brokenOnce) { home.write.Store(true) }},
		{name: "sync", fail: func(home, _ *brokenOnce) { home.sync.Store(true) }, written: true},
		{name: "commit before", fail: func(_, log *brokenOnce) { log.sync.Store(true) }, before: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			mem := storetest.NewMem(startImage())
			home, log := &brokenOnce{Store: mem}, &brokenOnce{Store: newLogStore()}
			tx := begun(t, home, log)
			if _, err := tx.WriteAt([]byte{1}, pointerOff); err != nil {
				t.Fatal(err)
			}
			commit := tx.Commit
			if row.before {
				row.fail(home, log)
				commit = tx.Start
			}
			if err := commit(nil); err != nil {
				t.Fatal(err)
			}
			if !row.before {
				row.fail(home, log)
			}
			if err := errors.Join(tx.WriteFresh(version(7), placesOff), tx.WriteEarly()); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 4096)
			if _, err := tx.ReadAt(b, placesOff); err != nil || !bytes.Equal(b, version(7)) {
				t.Errorf("reads as %d, %v", b[0], err)
			}
			for range 2 {
				if err := tx.Commit(nil); !errors.Is(err, errBroken) || !errors.Is(err, txn.ErrUnfinished) {
					t.Errorf("commit: got %v", err)
				}
			}
			if got := mem.Bytes()[placesOff] == 7; got != row.written {
				t.Errorf("written early: %v", got)
			}
		})
	}
}

// slowStore takes its time to write version 1.
type slowStore struct{ store.Store }

func (s slowStore) WriteAt(p []byte, off int64) (int, error) {
	if p[0] == 1 {
		time.Sleep(20 * time.Millisecond)
	}
	return s.Store.WriteAt(p, off)
}

// What is written early comes after what the commit before writes to that page,
// with a log and without one.
func TestEarlyComesAfter(t *testing.T) {
	txn.SpillAt(t, 1)
	for _, logged := range []bool{false, true} {
		mem := storetest.NewMem(startImage())
		tx := txn.Unlogged(slowStore{mem})
		if logged {
			tx = begun(t, slowStore{mem}, newLogStore())
		}
		_, err := tx.WriteAt(version(1), placesOff)
		if err := errors.Join(err, tx.Start(nil), tx.WriteFresh(version(2), placesOff), tx.Commit(nil)); err != nil {
			t.Fatal(err)
		}
		if got := mem.Bytes()[placesOff]; got != 2 {
			t.Errorf("logged %v: version %d", logged, got)
		}
	}
}

func newLogStore() store.Store { return storetest.NewClock(1 << 30).Log(nil) }

// begun is a transaction that has set the mark.
func begun(t *testing.T, home, log store.Store) *txn.Tx {
	t.Helper()
	tx, err := txn.Create(home, log, txn.Header{ID: [16]byte{1}, MarkOff: markOff, Kind: "test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := tx.Mark()
	_, err = tx.WriteAt(m[:], markOff)
	if err := errors.Join(err, tx.Begin(nil)); err != nil {
		t.Fatal(err)
	}
	return tx
}

// A page is given back once it is written, and only to who asks.
func TestSpare(t *testing.T) {
	tx := begun(t, storetest.NewMem(startImage()), newLogStore())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(k int) []byte {
		t.Helper()
		p := version(k)
		must(tx.WriteFresh(p, placesOff+int64(k)*4096))
		must(tx.Start(nil))
		return p
	}
	write(1)
	must(tx.Join())
	if tx.Spare() != nil {
		t.Error("a page was kept before anybody asked for one")
	}
	p := write(2)
	if tx.Spare() != nil {
		t.Error("a page came back before its commit was carried out")
	}
	must(tx.Join())
	q := tx.Spare()
	if len(q) != 4096 || &q[0] != &p[0] || tx.Spare() != nil {
		t.Error("not the one page that was written")
	}
	clear(q)
	for k := 1; k <= 2; k++ {
		b := make([]byte, 4096)
		if _, err := tx.ReadAt(b, placesOff+int64(k)*4096); err != nil || !bytes.Equal(b, version(k)) {
			t.Errorf("page %d reads as %d, %v", k, b[0], err)
		}
	}
}
