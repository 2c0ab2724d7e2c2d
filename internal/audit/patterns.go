package audit

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// minPattern is the length of the shortest string that is searched for: its
// first bytes are what the search goes by.
const minPattern = 8

var le = binary.LittleEndian

// pattern is a string to search for, and where it is from.
type pattern struct {
	text []byte
	kind Kind
	node uint32
}

// patternSet finds many strings at once. A filter, a bit for each value that a
// hash of 8 bytes takes, answers for most places of the image; the rest look
// their 8 bytes up among those that patterns begin with.
type patternSet struct {
	sorted []pattern // by their first 8 bytes as a number, then by text
	heads  []uint64  // those numbers, each once
	groups []patternGroup
	filter []uint64
	shift  uint
}

// patternGroup is the patterns that begin alike: sorted[lo:hi].
type patternGroup struct {
	lo, hi int
	lens   []int // their lengths, each once
}

// newPatternSet makes the set; equal strings of a kind become one.
func newPatternSet(all []pattern) *patternSet {
	slices.SortStableFunc(all, func(a, b pattern) int {
		return cmp.Or(cmp.Compare(le.Uint64(a.text), le.Uint64(b.text)), bytes.Compare(a.text, b.text), cmp.Compare(a.kind, b.kind))
	})
	all = slices.CompactFunc(all, func(a, b pattern) bool { return a.kind == b.kind && bytes.Equal(a.text, b.text) })
	// At most one bit in 64 is set, up to a filter of 2 MiB.
	log := uint(16)
	for log < 24 && 1<<log < 64*len(all) {
		log++
	}
	s := &patternSet{sorted: all, filter: make([]uint64, 1<<log/64), shift: 64 - log}
	for lo := 0; lo < len(all); {
		head := le.Uint64(all[lo].text)
		g := patternGroup{lo: lo, hi: lo}
		for ; g.hi < len(all) && le.Uint64(all[g.hi].text) == head; g.hi++ {
			if n := len(all[g.hi].text); !slices.Contains(g.lens, n) {
				g.lens = append(g.lens, n)
			}
		}
		h := head * spread >> s.shift
		s.filter[h/64] |= 1 << (h % 64)
		s.heads, s.groups = append(s.heads, head), append(s.groups, g)
		lo = g.hi
	}
	return s
}

// spread multiplies 8 bytes to a hash whose upper bits depend on all of them.
const spread = 0x9e3779b97f4a7c15

// search calls f with the number of each pattern that begins in the first n
// bytes of p, which goes on behind them for the longest pattern, and for 8 bytes at least.
func (s *patternSet) search(p []byte, n int, f func(at, number int)) {
	filter, shift := s.filter, s.shift&63
	for i := 0; i < n; i++ {
		head := le.Uint64(p[i : i+8])
		h := head * spread >> shift
		if filter[h/64&uint64(len(filter)-1)]>>(h%64)&1 != 0 {
			s.verify(p, i, head, f)
		}
	}
}

// verify calls f for the patterns that begin at a place of p. It looks for each
// length that there is, so that many patterns that begin alike cost little
// more.
func (s *patternSet) verify(p []byte, at int, head uint64, f func(at, number int)) {
	p = p[at:]
	i, ok := slices.BinarySearch(s.heads, head)
	if !ok {
		return
	}
	g := s.groups[i]
	group := s.sorted[g.lo:g.hi]
	for _, n := range g.lens {
		if n > len(p) {
			continue
		}
		k, _ := slices.BinarySearchFunc(group, p[:n], func(a pattern, text []byte) int { return bytes.Compare(a.text, text) })
		for ; k < len(group) && bytes.Equal(group[k].text, p[:n]); k++ {
			f(at, g.lo+k)
		}
	}
}
