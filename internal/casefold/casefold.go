// Package casefold folds file names as the kernel's fs/unicode does for
// directories with the casefold flag on ext4 and f2fs.
//
// The form is NFDICF over Unicode 12.1.0: canonical decomposition, full case
// folding (statuses C and F of CaseFolding.txt), removal of default-ignorable
// code points, canonical ordering by combining class. Names are UTF-8. A code
// point that 12.1.0 does not assign stays as it is and has class 0, whatever
// later versions say, so that hashes on disk stay valid.
//
// A few kernel releases around the end of 2024 kept ignorable code points; the
// change was taken back, and this package does what all others do.
package casefold

import (
	"slices"
	"unicode/utf8"
)

//go:generate go run gen/main.go gen/ucd-12.1.txt tables.go

// Hangul syllables decompose by arithmetic: section 3.12 of the standard.
const (
	hangulBase  = 0xac00
	hangulCount = 11172
	leadBase    = 0x1100
	vowelBase   = 0x1161
	trailBase   = 0x11a7
	vowelCount  = 21
	trailCount  = 28
)

// Classes that Unicode does not have; its own end at 254.
const (
	ignored = 255 // in the tables: a code point that folding drops
	stray   = 255 // of a mark: a byte that continues no character
)

// classRange says that the code points from lo to hi have a combining class.
type classRange struct {
	lo, hi uint32
	class  uint8
}

// mark is a code point, or a stray byte, that waits for its place.
type mark struct {
	r     rune
	class uint8
}

// folder appends code points to dst in canonical order.
type folder struct {
	dst  []byte
	run  []mark // code points of class > 0 since the last one of class 0
	room [16]mark
}

// Fold appends the folded name to dst and returns the result. For a name that
// the kernel cannot fold, because it is not valid UTF-8, it returns dst as it
// was and false; what is hashed then are the bytes of the name. The result may
// be empty. As in the kernel, a NUL ends the name, and bytes 0x80 to 0xbf that
// follow a whole character are no error but stay.
func Fold(dst, name []byte) ([]byte, bool) {
	if out, ok := foldASCII(dst, name); ok {
		return out, true
	}
	if i := slices.Index(name, 0); i >= 0 {
		name = name[:i]
	}
	f := folder{dst: dst}
	f.run = f.room[:0]
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRune(name[i:])
		switch {
		case r != utf8.RuneError || n > 1:
			f.fold(r)
		case i > 0 && !utf8.RuneStart(name[i]):
			f.stray(name[i])
		default:
			return dst, false
		}
		i += n
	}
	f.flush()
	return f.dst, true
}

// foldASCII does the whole job for names of ASCII letters, digits and so on.
func foldASCII(dst, name []byte) ([]byte, bool) {
	start := len(dst)
	for _, c := range name {
		if c == 0 || c >= utf8.RuneSelf {
			return dst[:start], false
		}
		dst = append(dst, lower(c))
	}
	return dst, true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// fold adds what one code point becomes.
func (f *folder) fold(r rune) {
	if r < utf8.RuneSelf {
		f.flush()
		f.dst = append(f.dst, lower(byte(r)))
		return
	}
	if s := r - hangulBase; 0 <= s && s < hangulCount {
		f.add(leadBase + s/(vowelCount*trailCount))
		f.add(vowelBase + s/trailCount%vowelCount)
		if t := s % trailCount; t > 0 {
			f.add(trailBase + t)
		}
		return
	}
	if i, ok := slices.BinarySearch(mapFrom[:], uint32(r)); ok {
		at := int(mapAt[i])
		for _, to := range mapTo[at+1 : at+1+int(mapTo[at])] {
			f.add(to)
		}
		return
	}
	f.add(r)
}

// add takes a code point that folds to itself, or to nothing. The latter too
// ends a run of marks.
func (f *folder) add(r rune) {
	switch c := class(r); c {
	case ignored:
		f.flush()
	case 0:
		f.flush()
		f.dst = utf8.AppendRune(f.dst, r)
	default:
		f.run = append(f.run, mark{r, c})
	}
}

// stray takes a byte that continues no character.
func (f *folder) stray(b byte) {
	if len(f.run) == 0 {
		f.dst = append(f.dst, b)
		return
	}
	f.run = append(f.run, mark{rune(b), stray})
}

// flush writes the waiting marks by ascending class, equals as they came.
func (f *folder) flush() {
	if len(f.run) == 0 {
		return
	}
	if slices.ContainsFunc(f.run, func(m mark) bool { return m.class == stray }) {
		f.passes()
	} else {
		slices.SortStableFunc(f.run, func(a, b mark) int { return int(a.class) - int(b.class) })
		for _, m := range f.run {
			f.dst = utf8.AppendRune(f.dst, m.r)
		}
	}
	f.run = f.run[:0]
}

// passes writes a run with stray bytes. The kernel orders a run by going over
// it once to find the lowest class and once more for each class, and every
// time a stray byte slips through.
func (f *folder) passes() {
	f.pass(0)
	for c := uint8(1); c < stray; c++ {
		if slices.ContainsFunc(f.run, func(m mark) bool { return m.class == c }) {
			f.pass(c)
		}
	}
}

// pass writes the marks of one class, and the stray bytes.
func (f *folder) pass(class uint8) {
	for _, m := range f.run {
		switch m.class {
		case class:
			f.dst = utf8.AppendRune(f.dst, m.r)
		case stray:
			f.dst = append(f.dst, byte(m.r))
		}
	}
}

// class is the combining class of a code point, or ignored.
func class(r rune) uint8 {
	i, ok := slices.BinarySearchFunc(classes[:], uint32(r), func(c classRange, r uint32) int {
		switch {
		case c.hi < r:
			return -1
		case c.lo > r:
			return 1
		}
		return 0
	})
	if !ok {
		return 0
	}
	return classes[i].class
}
