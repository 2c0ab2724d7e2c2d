package audit

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"fsenc/internal/image"
)

// The search finds what looking for each string at each place finds.
func TestPatterns(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = "ab"[r.IntN(2)]
		}
		return b
	}
	var all []pattern
	for i := range 300 {
		all = append(all, pattern{text: word(8 + r.IntN(10)), kind: Name, node: uint32(i)})
	}
	all = append(all, pattern{all[0].text, Target, 7}, pattern{all[0].text, Name, 8})
	s := newPatternSet(slices.Clone(all))
	p := append(word(4000), make([]byte, 64)...)
	got := map[string]int{}
	s.search(p, 4000, func(at, i int) { got[fmt.Sprintf("%d %s %s", at, s.sorted[i].kind, s.sorted[i].text)]++ })
	want := map[string]int{}
	for _, f := range all {
		for at := range 4000 {
			if bytes.HasPrefix(p[at:], f.text) {
				want[fmt.Sprintf("%d %s %s", at, f.kind, f.text)] = 1
			}
		}
	}
	if len(want) < 500 {
		t.Fatalf("only %d places to find", len(want))
	}
	for k, n := range got {
		if want[k] != n {
			t.Errorf("found %q %d times, want %d", k, n, want[k])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d places, want %d", len(got), len(want))
	}
}

// A full set keeps an even sample, and finds all of it.
func TestSectorSetSamples(t *testing.T) {
	const slots, sectors = 1 << 10, 20000
	s := newSectorSet(slots)
	r := rand.New(rand.NewPCG(3, 4))
	keys := make([]uint64, sectors)
	for i := range keys {
		keys[i] = r.Uint64()
		s.add(keys[i], uint32(i))
		s.add(keys[i], uint32(i)+1) // the first file stays
	}
	kept := 0
	for i, k := range keys {
		file, ok := s.find(k)
		if ok != (k&s.mask == 0) || ok && file != uint32(i) {
			t.Fatalf("sector %d: %d, %v with mask %#x", i, file, ok, s.mask)
		}
		if ok {
			kept++
		}
	}
	if kept != s.n || len(s.keys) != slots || s.n > slots/4*3 || s.n < slots/4 {
		t.Errorf("%d of %d found, in %d slots", kept, s.n, len(s.keys))
	}
	if want := sectors / int(s.mask+1); kept < want/2 || kept > want*2 {
		t.Errorf("%d kept, 1 in %d of %d", kept, s.mask+1, sectors)
	}
	if _, ok := s.find(12345 &^ s.mask); ok {
		t.Error("found what was never added")
	}
}

func TestBlockSet(t *testing.T) {
	s := blockSet{}
	want := map[image.Pblk]bool{}
	for _, x := range [][2]uint64{{0, 1}, {5, 3}, {63, 2}, {127, 130}, {65530, 12}, {70000, 1}, {5, 3}} {
		s.add(image.Pblk(x[0]), x[1])
		for i := range x[1] {
			want[image.Pblk(x[0]+i)] = true
		}
	}
	for p := range image.Pblk(140000) {
		if s.has(p) != want[p] {
			t.Fatalf("block %d: %v", p, s.has(p))
		}
	}
	s.add(0, 3*groupBlocks+1)
	for num := range uint64(3) {
		if s[num].bits != nil {
			t.Errorf("group %d is full and has a bitmap", num)
		}
	}
	if !s.has(2*groupBlocks) || !s.has(3*groupBlocks) || s.has(3*groupBlocks+1) {
		t.Error("the end of the range is wrong")
	}
}

func BenchmarkSearch(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 6))
	p := make([]byte, 1<<20+64)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	for _, n := range []int{100, 100000, 1000000} {
		var all []pattern
		for i := range n {
			all = append(all, pattern{text: fmt.Appendf(nil, "%x name", r.Uint64()), kind: Name, node: uint32(i)})
		}
		s := newPatternSet(all)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(1 << 20)
			for b.Loop() {
				s.search(p, 1<<20, func(int, int) {})
			}
		})
	}
}
