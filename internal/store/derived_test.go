package store_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
)

// Whatever is written and zeroed through a Derived, the new store ends as a
// plain copy with the same changes, and the old one as it was.
func TestDerived(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		base := make([]byte, 70_000+rng.IntN(5000))
		for i := range base {
			if i/9000%2 == 0 {
				base[i] = byte(rng.Uint32())
			}
		}
		want := bytes.Clone(base)
		old, new := storetest.NewMem(bytes.Clone(base)), storetest.NewMem(make([]byte, len(base)))
		d := store.NewDerived(old, new)
		for range 40 {
			off := rng.IntN(len(base))
			n := rng.IntN(min(20_000, len(base)-off) + 1)
			if rng.IntN(3) == 0 {
				clear(want[off : off+n])
				must(t, d.Zero(int64(off), int64(n)))
				continue
			}
			p := bytes.Repeat([]byte{byte(rng.Uint32())}, n)
			copy(want[off:], p)
			_, err := d.WriteAt(p, int64(off))
			must(t, err)
		}
		got := make([]byte, len(base))
		_, err := d.ReadAt(got, 0)
		must(t, err)
		must(t, d.Finish())
		if !bytes.Equal(got, want) || !bytes.Equal(new.Bytes(), want) {
			t.Fatalf("seed %d: wrong bytes", seed)
		}
		if !bytes.Equal(old.Bytes(), base) {
			t.Fatalf("seed %d: the old store was written", seed)
		}
	}
}

// What is overwritten never reaches the new store.
func TestDerivedLeavesNoTrace(t *testing.T) {
	secret := bytes.Repeat([]byte("secret!!"), 4096/8)
	old := storetest.NewMem(bytes.Repeat(secret, 4))
	new := &recorder{Mem: storetest.NewMem(make([]byte, 4*4096))}
	d := store.NewDerived(old, new)
	_, err := d.WriteAt(make([]byte, 3*4096), 0)
	must(t, err)
	must(t, d.Zero(3*4096, 4096))
	must(t, d.Finish())
	if new.saw {
		t.Error("overwritten bytes were copied first")
	}
}

type recorder struct {
	*storetest.Mem
	saw bool
}

func (r *recorder) WriteAt(p []byte, off int64) (int, error) {
	r.saw = r.saw || bytes.Contains(p, []byte("secret"))
	return r.Mem.WriteAt(p, off)
}

// Writers of parts of one block do not lose each other's bytes.
func TestDerivedInParallel(t *testing.T) {
	d := store.NewDerived(storetest.NewMem(make([]byte, 1<<20)), storetest.NewMem(make([]byte, 1<<20)))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for off := w * 1024; off < 1<<20; off += 4096 {
				if _, err := d.WriteAt(bytes.Repeat([]byte{byte(w + 1)}, 1024), int64(off)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := make([]byte, 1<<20)
	_, err := d.ReadAt(got, 0)
	must(t, err)
	for i, b := range got {
		if int(b) != i/1024%4+1 {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
}

func TestDerivedFiles(t *testing.T) {
	dir := t.TempDir()
	const size = 8 << 20
	base := make([]byte, size)
	copy(base[5<<20:], "far out")
	oldPath := filepath.Join(dir, "old")
	must(t, os.WriteFile(oldPath, base, 0o600))
	old, err := store.OpenFile(oldPath, false)
	must(t, err)
	defer old.Close()
	new, err := store.CreateFile(filepath.Join(dir, "part"), size)
	must(t, err)
	defer new.Close()
	d := store.NewDerived(old, new)
	_, err = d.WriteAt([]byte("changed"), 100)
	must(t, err)
	must(t, d.Finish())
	must(t, new.Publish(filepath.Join(dir, "new")))
	copy(base[100:], "changed")
	got, err := os.ReadFile(filepath.Join(dir, "new"))
	must(t, err)
	if !bytes.Equal(got, base) {
		t.Error("wrong bytes")
	}
	if err := new.Publish(oldPath); err == nil {
		t.Error("a file was replaced")
	}
	if _, err := store.CreateFile(oldPath, 1); err == nil {
		t.Error("a file was truncated")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(fmt.Errorf("unexpected: %w", err))
	}
}
