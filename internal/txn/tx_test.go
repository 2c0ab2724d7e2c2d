package txn_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
	"fsenc/internal/txn"
)

const (
	imageLen = 256 << 10
	markOff  = 1024 + 512
	dataOff  = 64 << 10 // contents lie from here on, metadata before
)

// invert is the contents' transformation of these tests: each byte on its own.
func invert(tag txn.Tag, b []byte) error {
	if len(b) != int(binary.LittleEndian.Uint64(tag[8:])) {
		return fmt.Errorf("tag of %x for %d bytes", tag, len(b))
	}
	for i := range b {
		b[i] = ^b[i]
	}
	return nil
}

func startImage() []byte {
	img := make([]byte, imageLen)
	for i := range img {
		img[i] = byte(i * 7 >> 3)
	}
	clear(img[1024:2048])
	return img
}

// script is a transaction of a few commits of mixed size, most of which are carried
// out while the next one is staged; want collects what the image must be after each.
func script(home, log store.Store, m txn.Method, want *[][]byte) error {
	h := txn.Header{ID: [16]byte{1, 2, 3}, MarkOff: markOff, Kind: "test", Method: m}
	shadow := startImage()
	keep := func() {
		if want != nil {
			*want = append(*want, bytes.Clone(shadow))
		}
	}
	keep()
	tx, err := txn.Create(home, log, h, []byte("the plan"))
	if err != nil {
		return err
	}
	tx.SetTransform(invert)
	write := func(p []byte, off int64) error {
		copy(shadow[off:], p)
		_, err := tx.WriteAt(p, off)
		return err
	}
	// Like a superblock, what is around the mark has a time of writing.
	now := byte(0)
	mark := func(mark [16]byte) error {
		now++
		return errors.Join(write(mark[:], markOff), write([]byte{now}, markOff-100))
	}
	if err := errors.Join(mark(tx.Mark()), tx.Begin([]byte{0})); err != nil {
		return err
	}
	tx.SetMarker(mark)
	keep()
	rng := rand.New(rand.NewPCG(1, 2))
	for k := byte(1); k < 7; k++ {
		for range rng.IntN(6) {
			p := make([]byte, 1+rng.IntN(3000))
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			if err := write(p, 4096+rng.Int64N(dataOff-8192)); err != nil {
				return err
			}
		}
		for _, run := range rng.Perm(30)[:rng.IntN(8)] {
			stageRun(tx, shadow, dataOff+int64(run)*4096)
		}
		next, _ := tx.NextMark()
		commit := tx.Start
		if k%4 == 3 {
			commit = tx.Commit
		}
		if err := errors.Join(mark(next), commit([]byte{k})); err != nil {
			return err
		}
		keep()
		if err := readsAs(tx, shadow); err != nil {
			return fmt.Errorf("beside commit %d: %w", k, err)
		}
		if k%3 == 2 {
			if err := tx.Checkpoint(); err != nil {
				return err
			}
		}
	}
	if err := tx.Checkpoint(); err != nil {
		return err
	}
	if err := errors.Join(mark([16]byte{}), tx.End([]byte{9})); err != nil {
		return err
	}
	keep()
	return tx.Wipe()
}

// readsAs compares metadata, which are the same before and after a commit.
func readsAs(tx *txn.Tx, shadow []byte) error {
	got := make([]byte, dataOff)
	if _, err := tx.ReadAt(got, 0); err != nil {
		return err
	}
	if !bytes.Equal(got, shadow[:dataOff]) {
		return errors.New("what was staged is not what is read")
	}
	return nil
}

func stageRun(tx *txn.Tx, shadow []byte, off int64) {
	r := txn.Rewrite{Off: off, Len: 4096}
	binary.LittleEndian.PutUint64(r.Tag[8:], 4096)
	part := shadow[off:][:4096]
	for i := range part {
		part[i] = ^part[i]
	}
	tx.Rewrite(r)
}

func TestCommitsReachHome(t *testing.T) {
	for _, m := range []txn.Method{txn.Checksum, txn.Journal} {
		var want [][]byte
		home := storetest.NewMem(startImage())
		if err := script(home, storetest.NewClock(1<<30).Log(nil), m, &want); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(home.Bytes(), want[len(want)-1]) {
			t.Errorf("%v: image differs from what was written", m)
		}
	}
}

// Each write and each sync is the last one once, with several choices of what
// survives; recovery ends at a commit, and again ends there.
func TestPowerLoss(t *testing.T) {
	for _, m := range []txn.Method{txn.Checksum, txn.Journal} {
		var want [][]byte
		if err := script(storetest.NewMem(startImage()), storetest.NewClock(1<<30).Log(nil), m, &want); err != nil {
			t.Fatal(err)
		}
		for _, clock := range []func(int) *storetest.Clock{storetest.NewClock, storetest.NewSyncClock} {
			for k := 0; ; k++ {
				c := clock(k)
				home, log := c.Store(startImage()), c.Log(nil)
				err := script(home, log, m, nil)
				if !c.Cut() {
					if err != nil {
						t.Fatal(err)
					}
					break
				}
				for seed := range uint64(8) {
					checkSurvivor(t, fmt.Sprintf("%v, cut %d, seed %d", m, k, seed), home.Survivor(seed), log.Survivor(seed), want)
				}
			}
		}
	}
}

func checkSurvivor(t *testing.T, name string, img, log []byte, want [][]byte) {
	t.Helper()
	home := storetest.NewMem(img)
	tx, err := txn.Open(home, storetest.NewMem(log))
	if errors.Is(err, txn.ErrLogDamaged) {
		// The plan was not recorded yet, or the log is being wiped.
		if !bytes.Equal(img, want[0]) && !bytes.Equal(img, want[len(want)-1]) {
			t.Fatalf("%s: %v, but the image was touched", name, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	// First without the transform, as when the key is not there yet.
	for _, f := range []txn.Transform{nil, invert, invert} {
		tx.SetTransform(f)
		if err := tx.Recover(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	at := 0 // the commit that the position names
	switch p := tx.Position(); {
	case len(p) == 0:
	case p[0] == 9:
		at = len(want) - 1
	default:
		at = int(p[0]) + 1
	}
	if !bytes.Equal(img, want[at]) {
		t.Fatalf("%s: image is not that of commit %d", name, at)
	}
}

// A log that outlived its End is not replayed over an image that moved on.
func TestStaleLog(t *testing.T) {
	log := storetest.NewClock(1 << 30).Log(nil)
	home := storetest.NewMem(startImage())
	noWipe := &logThatKeeps{Store: log}
	if err := script(home, noWipe, txn.Checksum, nil); err == nil {
		t.Fatal("the log was wiped")
	}
	copy(home.Bytes()[markOff-100:], "the kernel was here")
	moved := bytes.Clone(home.Bytes())
	tx, err := txn.Open(home, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Recover(); err != nil || !tx.Finished() {
		t.Fatalf("recover: %v, finished %v", err, tx.Finished())
	}
	if !bytes.Equal(home.Bytes(), moved) {
		t.Error("a stale log was replayed")
	}
}

// logThatKeeps refuses the header's erasure.
type logThatKeeps struct{ store.Store }

func (l *logThatKeeps) WriteAt(p []byte, off int64) (int, error) {
	if off == 0 && len(p) > 0 && p[0] == 0 {
		return 0, errors.New("kept")
	}
	return l.Store.WriteAt(p, off)
}

// The log and the image must belong together.
func TestForeignImage(t *testing.T) {
	c := storetest.NewSyncClock(5)
	home, log := c.Store(startImage()), c.Log(nil)
	if err := script(home, log, txn.Journal, nil); !errors.Is(err, txn.ErrUnfinished) {
		t.Fatalf("got %v, want ErrUnfinished", err)
	}
	for name, img := range map[string][]byte{
		"other size":  make([]byte, imageLen+512),
		"unmarked":    startImage(),
		"other mark":  bytes.Repeat([]byte{0x55}, imageLen),
		"never begun": startImage(),
	} {
		before := bytes.Clone(img)
		tx, err := txn.Open(storetest.NewMem(img), storetest.NewMem(log.Survivor(1)))
		if err == nil {
			err = tx.Recover()
		}
		if !errors.Is(err, txn.ErrLogForeign) {
			t.Errorf("%s: got %v, want ErrLogForeign", name, err)
		}
		if !bytes.Equal(img, before) {
			t.Errorf("%s: image was written", name)
		}
	}
}

// Staged bytes never carry a neighbour's along further than their unit.
func TestNoNeighboursInLog(t *testing.T) {
	img := startImage()
	copy(img[8192+128:], "SECRET NEIGHBOUR")
	log := storetest.NewClock(1 << 30).Log(nil)
	tx, err := txn.Create(storetest.NewMem(img), log, txn.Header{ID: [16]byte{1}, MarkOff: markOff}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.WriteAt(make([]byte, 128), 8192); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.WriteAt(make([]byte, 128), 8192+256); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(nil); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(log.Survivor(1), []byte("NEIGHBOUR")) {
		t.Error("the log holds bytes that were not written")
	}
}

func FuzzOpen(f *testing.F) {
	c := storetest.NewSyncClock(6)
	home, log := c.Store(startImage()), c.Log(nil)
	if err := script(home, log, txn.Checksum, nil); err == nil {
		f.Fatal("not cut")
	}
	f.Add(log.Survivor(1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		img := home.Survivor(1)
		tx, err := txn.Open(storetest.NewMem(img), storetest.NewMem(b))
		if err != nil {
			return
		}
		tx.SetTransform(invert)
		if err := tx.Recover(); err != nil {
			return
		}
	})
}
