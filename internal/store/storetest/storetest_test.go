package storetest

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"fsenc/internal/store"
)

func sector(b byte) []byte { return bytes.Repeat([]byte{b}, sectorSize) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, s store.Store, p []byte, off int64) {
	t.Helper()
	_, err := s.WriteAt(p, off)
	must(t, err)
}

func TestCutterKeepsWhatWasSynced(t *testing.T) {
	base := bytes.Repeat(sector('.'), 4)
	clock := NewClock(3)
	d := clock.Store(base)
	write(t, d, sector('a'), 0)
	must(t, d.Sync())
	write(t, d, sector('b'), 512)
	write(t, d, []byte("xyz"), 1022)
	got := make([]byte, 5)
	if _, err := d.ReadAt(got, 1021); err != nil || string(got) != "bxyz." {
		t.Fatalf("read back %q, %v", got, err)
	}
	if _, err := d.WriteAt(sector('c'), 0); !errors.Is(err, ErrPowerCut) || !d.Cut() {
		t.Fatalf("write 3: %v", err)
	}
	for _, err := range []error{d.Sync(), d.Zero(0, 1), second(d.ReadAt(got, 0))} {
		if !errors.Is(err, ErrPowerCut) {
			t.Errorf("after the cut: %v", err)
		}
	}
	none := bytes.Join([][]byte{sector('a'), sector('.'), sector('.'), sector('.')}, nil)
	if !bytes.Equal(d.Survivor(0), none) {
		t.Error("seed 0 is not what was synced")
	}
	all := bytes.Clone(none)
	copy(all[512:], sector('b'))
	copy(all[1022:], "xyz")
	if !bytes.Equal(d.Survivor(1), all) {
		t.Error("seed 1 is not everything")
	}
	if !bytes.Equal(base, bytes.Repeat(sector('.'), 4)) {
		t.Error("base was written to")
	}
}

// second drops the count of a read or write.
func second(_ int, err error) error { return err }

// Each of the states that a disk may be in after two writes of a sector and
// one of another comes up for some seed, and the same one each time.
func TestSurvivorTriesAllStates(t *testing.T) {
	d := NewCutter(bytes.Repeat(sector('.'), 2), 3)
	write(t, d, sector('a'), 0)
	write(t, d, sector('b'), 0)
	write(t, d, sector('c'), 512)
	seen := map[string]bool{}
	for seed := range uint64(100) {
		img := d.Survivor(seed)
		if !bytes.Equal(img, d.Survivor(seed)) {
			t.Fatalf("seed %d gives two states", seed)
		}
		seen[string([]byte{img[0], img[512]})] = true
	}
	for _, want := range []string{"..", ".c", "a.", "ac", "b.", "bc"} {
		if !seen[want] {
			t.Errorf("state %q never came", want)
		}
	}
	if len(seen) != 6 {
		t.Errorf("states %v", seen)
	}
}

func TestClockIsShared(t *testing.T) {
	clock := NewClock(2)
	img, log := clock.Store(sector('.')), clock.Log(nil)
	write(t, log, []byte("record"), 0)
	write(t, img, []byte("x"), 0)
	if _, err := log.WriteAt([]byte("y"), 6); !errors.Is(err, ErrPowerCut) {
		t.Fatalf("third write: %v", err)
	}
	if err := img.Sync(); !errors.Is(err, ErrPowerCut) {
		t.Fatalf("image after the cut: %v", err)
	}
	if clock.Ops() != 2+1 || log.Ops() != 3 {
		t.Errorf("%d ops", clock.Ops())
	}
}

func TestSyncClock(t *testing.T) {
	clock := NewSyncClock(1)
	d := clock.Log(nil)
	write(t, d, sector('a'), 0)
	must(t, d.Sync())
	write(t, d, sector('b'), 512)
	if err := d.Sync(); !errors.Is(err, ErrPowerCut) || clock.Syncs() != 2 {
		t.Fatalf("second sync: %v after %d", err, clock.Syncs())
	}
	if got := d.Survivor(0); !bytes.Equal(got, sector('a')) {
		t.Errorf("%d bytes survive seed 0", len(got))
	}
	if got := d.Survivor(1); !bytes.Equal(got[512:], sector('b')) {
		t.Error("seed 1 lost the second sector")
	}
}

func TestFaulty(t *testing.T) {
	m := NewMem(make([]byte, 8))
	f := NewFaulty(m, Write, 1, syscall.ENOSPC)
	write(t, f, []byte("ab"), 0)
	if _, err := f.WriteAt([]byte("cdef"), 2); err != syscall.ENOSPC || !f.Failed() {
		t.Fatalf("second write: %v", err)
	}
	if want := "abcd\x00\x00\x00\x00"; string(m.Bytes()) != want {
		t.Errorf("%q, want %q", m.Bytes(), want)
	}
	must(t, errors.Join(f.Sync(), f.Zero(0, 2), second(f.ReadAt(make([]byte, 8), 0))))
	for _, c := range []Call{Read, Sync, Zero} {
		f := NewFaulty(m, c, 0, syscall.EIO)
		errs := []error{second(f.ReadAt(make([]byte, 1), 0)), nil, f.Sync(), f.Zero(0, 1)}
		for i, err := range errs {
			if want := Call(i) == c; want != (err == syscall.EIO) {
				t.Errorf("fault in call %d: call %d gave %v", c, i, err)
			}
		}
	}
}
