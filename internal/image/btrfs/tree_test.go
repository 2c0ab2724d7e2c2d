package btrfs

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store/storetest"
)

func golden(t testing.TB, name string) (*FS, *storetest.Mem) {
	t.Helper()
	m := storetest.NewMem(imagetest.GoldenBytes(t, name))
	return reopen(t, m), m
}

func reopen(t testing.TB, m *storetest.Mem) *FS {
	t.Helper()
	fs, err := Open(m, image.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// Hashes as the kernel has them.
func TestHashes(t *testing.T) {
	for _, h := range []struct{ got, want uint64 }{
		{uint64(nameHash([]byte("default"))), 0x8dbfc2d2},
		{uint64(nameHash([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})), 0xd43afaea},
		{extrefHash(257, []byte("file")), 0x7cc6b6b2},
		{extrefHash(256, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}), 0xfc376f00},
		{ref{kind: keyDataRef, root: 5, obj: 257}.hash(), 0x0dfb591fa80d95ea},
		{ref{kind: keyDataRef, root: 256, obj: 300, off: 131072}.hash(), 0x0dea30dee220ea65},
	} {
		if h.got != h.want {
			t.Errorf("%#x, want %#x", h.got, h.want)
		}
	}
}

// Inline references are sorted by type, then descending.
func TestRefOrder(t *testing.T) {
	want := []ref{
		{kind: keyTreeRef, root: 300}, {kind: keyTreeRef, root: 5},
		{kind: keyDataRef, root: 5, obj: 257}, {kind: keyDataRef, root: 256, obj: 300, off: 131072},
		{kind: keySharedBlock, parent: 70000}, {kind: keySharedBlock, parent: 60000},
		{kind: keySharedData, parent: 2}, {kind: keySharedData, parent: 1},
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, ref.order)
	if !slices.Equal(got, want) {
		t.Errorf("sorted %v", got)
	}
}

// References of one hash get items one behind the other, and keep them.
func TestKeyFor(t *testing.T) {
	r := ref{kind: keyDataRef, root: 5, obj: 257}
	k, _ := r.keyed(4096, 1)
	other := ref{kind: keyDataRef, root: 9, obj: 9}
	rec := &extentRec{at: map[ref]key{other: k}, taken: map[key]bool{k: true}}
	want := key{4096, keyDataRef, k.off + 1}
	for range 2 {
		if got := rec.keyFor(r, 4096); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	if got := rec.keyFor(other, 4096); got != k {
		t.Errorf("%v, want %v", got, k)
	}
}

// A tree that items are put into, changed in and taken from at random, over
// several transactions, has what it should have.
func TestTreeModel(t *testing.T) {
	for _, name := range []string{"oracle/btrfs-v6-sha256-node4k", "oracle/btrfs-v6-basic"} {
		t.Run(name, func(t *testing.T) { testTreeModel(t, name) })
	}
}

func testTreeModel(t *testing.T, name string) {
	fs, m := golden(t, name)
	rng := rand.New(rand.NewPCG(1, 2))
	tree, _, err := fs.fileTree(fs.Root())
	if err != nil {
		t.Fatal(err)
	}
	const base = 1 << 32 // objects that the image does not have
	model := make(map[key][]byte)
	data := func() []byte {
		n := rng.IntN(200)
		if rng.IntN(40) == 0 {
			n = rng.IntN(fs.maxItem() + 1)
		}
		return random(n)[:n:n]
	}
	for i := range 12000 {
		k := key{base + rng.Uint64N(60), keyXattr, rng.Uint64N(200)}
		want, had := model[k]
		switch grow := i/3000%2 == 0; {
		case !had && (grow || rng.IntN(4) == 0):
			model[k] = data()
			err = fs.insert(tree, k, model[k])
		case had && rng.IntN(3) == 0:
			model[k] = data()
			err = fs.replace(tree, k, model[k])
		case had && !grow:
			delete(model, k)
			err = fs.remove(tree, k)
		default:
			var got []byte
			if got, err = fs.item(tree, k); err == nil && !bytes.Equal(got, want) {
				t.Fatalf("step %d: %v holds %x, want %x", i, k, got, want)
			}
		}
		if err == nil && i%1500 == 1499 {
			if err = fs.Flush(); err == nil {
				fs = reopen(t, m)
				tree, _, err = fs.fileTree(fs.Root())
			}
			compareModel(t, fs, tree, base, model)
		}
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	for k := range model {
		if err := fs.remove(tree, k); err != nil {
			t.Fatal(err)
		}
	}
	if err := fs.Flush(); err != nil {
		t.Fatal(err)
	}
	fs.CheckVolume(func(f image.Finding) { t.Errorf("%s: %s", f.ID, f.Text) })
}

func compareModel(t *testing.T, fs *FS, tree *tree, base uint64, model map[key][]byte) {
	t.Helper()
	n := 0
	err := fs.each(tree, key{base, 0, 0}, func(k key, b []byte) (bool, error) {
		if k.obj > lastFree {
			return false, nil
		}
		n++
		if want, ok := model[k]; !ok || !bytes.Equal(want, b) {
			t.Errorf("%v holds %x, want %x", k, b, want)
		}
		return true, nil
	})
	if err != nil || n != len(model) {
		t.Errorf("%d items, want %d: %v", n, len(model), err)
	}
	fs.CheckVolume(func(f image.Finding) { t.Errorf("%s: %s", f.ID, f.Text) })
	if t.Failed() {
		t.FailNow()
	}
}

// Flush with nothing changed writes nothing; a change of features alone leaves
// the generation, and what marks the image comes and goes without a trace.
func TestFlushNothing(t *testing.T) {
	fs, m := golden(t, "oracle/btrfs-v6-basic")
	before := bytes.Clone(m.Bytes())
	if err := fs.Flush(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, m.Bytes()) {
		t.Error("Flush has written")
	}
	id := [16]byte{1, 2, 3}
	for _, want := range [][16]byte{id, {}} {
		if err := fs.SetUnfinished(want); err != nil {
			t.Fatal(err)
		}
		if err := fs.Flush(); err != nil {
			t.Fatal(err)
		}
		if got := [16]byte(m.Bytes()[fs.MarkOffset():]); got != want {
			t.Errorf("marked with %x, want %x", got, want)
		}
		if _, err := Open(m, image.Options{Write: true}); (err != nil) != (want == id) {
			t.Errorf("opened with mark %x: %v", want, err)
		}
	}
	if !bytes.Equal(before, m.Bytes()) {
		t.Error("the mark has left traces")
	}
}

func TestAround(t *testing.T) {
	for n := range 14 {
		for at := range n {
			for first := range n + 1 {
				asked := 0
				low, high := around(at, n, func(i int) bool {
					if asked++; i < 0 || i >= n {
						t.Fatalf("%d slots, from %d: asks for %d", n, at, i)
					}
					return i < first
				})
				if first < low || first > high || high > n || asked > 6 {
					t.Errorf("%d slots, first %d, from %d: %d to %d after %d questions", n, first, at, low, high, asked)
				}
			}
		}
	}
}
