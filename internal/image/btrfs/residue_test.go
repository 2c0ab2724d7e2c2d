package btrfs

import (
	"bytes"
	"errors"
	"testing"

	"fsenc/internal/image"
)

// leaves calls f for each leaf of the subvolumes.
func leaves(t *testing.T, fs *FS, f func(*block)) {
	t.Helper()
	ids, err := fs.subvolumes()
	if err != nil {
		t.Fatal(err)
	}
	var visit func(addr uint64, e expect)
	visit = func(addr uint64, e expect) {
		b, err := fs.readBlock(addr, e)
		if err != nil {
			t.Fatal(err)
		}
		if b.level() == 0 {
			f(b)
			return
		}
		for i := range b.items() {
			visit(b.below(i, e.tree))
		}
	}
	for _, id := range ids {
		tree, err := fs.treeOf(id)
		if err != nil {
			t.Fatal(err)
		}
		visit(tree.addr, expect{tree: id, level: tree.level, gen: tree.gen})
	}
}

// The gaps of all leaves are cleared, but for those that were written since.
func TestWipeGaps(t *testing.T) {
	remains := []byte("what an item left behind")
	fs, m := golden(t, "oracle/btrfs-v6-sha256-node4k")
	gens := make(map[uint64]int)
	leaves(t, fs, func(b *block) {
		low, high := headerSize+b.items()*itemSize, fs.leafLow(b)
		if high-low < len(remains) {
			return
		}
		c := bytes.Clone(b.raw)
		copy(c[low:high], remains)
		fs.sum.seal(c)
		if err := fs.writeLogical(c, b.addr); err != nil {
			t.Fatal(err)
		}
		gens[b.generation()]++
	})
	if len(gens) < 2 {
		t.Fatalf("leaves with gaps by generation: %v", gens)
	}
	since := uint64(0)
	for g := range gens {
		since = max(since, g)
	}
	copies := func() (n int) { return bytes.Count(m.Bytes(), remains) }
	before, newest := copies(), gens[since]
	all := 0
	for _, n := range gens {
		all += n
	}
	count := 0
	done := func() error { count++; return nil }
	fs = reopen(t, m)
	if err := fs.WipeGaps(since, done); err != nil {
		t.Fatal(err)
	}
	if left, want := copies(), before/all*newest; left != want {
		t.Errorf("%d of %d remains are left, want %d", left, before, want)
	}
	read := count
	fs = reopen(t, m)
	if err := fs.WipeGaps(fs.Generation(), done); err != nil {
		t.Fatal(err)
	}
	if n := copies(); n != 0 {
		t.Errorf("%d remains are left", n)
	}
	if count < 2*read+newest {
		t.Errorf("%d leaves, and then %d", read, count-read)
	}
	stop := errors.New("stop")
	if err := fs.WipeGaps(fs.Generation(), func() error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of done: %v", err)
	}
	leaves(t, reopen(t, m), func(*block) {}) // which verifies them
}

// What the caller knows is left out, and nothing else.
func TestReferersOfStrangers(t *testing.T) {
	for _, name := range []string{"oracle/btrfs-v6-sha256-node4k", basicImage} {
		fs, _ := golden(t, name)
		type pair struct {
			at image.Pblk
			by image.Ino
		}
		list := func(known func(first, last image.Ino) bool) map[pair]bool {
			t.Helper()
			out := make(map[pair]bool)
			err := fs.Referers(known, func(image.Pblk) bool { return true }, func(at image.Pblk, by image.Ino) error {
				out[pair{at, by}] = true
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		all := list(nil)
		var most image.Ino
		for p := range all {
			most = max(most, p.by)
		}
		fewer := 0
		for k := range image.Ino(12) {
			member := func(ino image.Ino) bool { return k > 0 && ino/8%k != 0 || ino < most/12*k }
			some := list(func(first, last image.Ino) bool {
				for ino := first; ino <= last; ino++ {
					if !member(ino) {
						return false
					}
				}
				return true
			})
			for p := range all {
				if !some[p] && !member(p.by) {
					t.Fatalf("%s: block %d, of inode %d, is missing", name, p.at, p.by)
				}
			}
			if len(some) < len(all) {
				fewer++
			}
		}
		if fewer == 0 {
			t.Errorf("%s: nothing was left out", name)
		}
	}
}
