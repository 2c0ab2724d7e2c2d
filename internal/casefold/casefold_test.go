package casefold

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"fsenc/internal/crypt/crypttest"
)

func fold(t testing.TB, name string) string {
	t.Helper()
	got, ok := Fold(nil, []byte(name))
	if !ok {
		t.Errorf("%q is not taken", name)
	}
	return string(got)
}

func TestFold(t *testing.T) {
	for _, c := range []struct{ name, want, why string }{
		{"", "", "empty"},
		{"READ.Me_@[`{", "read.me_@[`{", "ASCII"},
		{"Straße", "strasse", "full folding"},
		{"\u1e9e", "ss", "capital sharp s"},
		{"É", "e\u0301", "folded, then decomposed"},
		{"\u0344\u0316", "\u0316\u0308\u0301", "marks in canonical order"},
		{"a\u0301\u0323", "a\u0323\u0301", "the same"},
		{"a\u0345\u0301", "aι\u0301", "ypogegrammeni folds to a letter"},
		{"\uac00\uac01", "\u1100\u1161\u1100\u1161\u11a8", "Hangul"},
		{"a\u00adb\ufeff\u200d", "ab", "ignorable code points"},
		{"\u115f\u2065\ufff0\U000e0fff", "", "nothing but ignorable ones, some unassigned"},
		{"a\u0301\u200d\u0323", "a\u0301\u0323", "an ignorable one separates marks"},
		{"\u0130", "i\u0307", "no Turkish rules"},
		{"\u0378\ufdd0\U0010ffff", "\u0378\ufdd0\U0010ffff", "unassigned"},
		{"\ua7c7\U00010a9d", "\ua7c7\U00010a9d", "assigned after 12.1: no folding yet"},
		{"a\u1abf\u0323", "a\u1abf\u0323", "assigned after 12.1: class 0"},
		{"Ab\x00Cd", "ab", "NUL"},
		{"É\x00Cd", "e\u0301", "NUL"},
		{"A\x80É", "a\x80e\u0301", "a stray byte stays"},
		{"É\x80\u0323\x81A", "e\x80\x81\x80\u0323\x81\u0301\x80\x81a", "stray bytes in a run of marks"},
	} {
		if got := fold(t, c.name); got != c.want {
			t.Errorf("%s: %q folds to %+q, want %+q", c.why, c.name, got, c.want)
		}
	}
}

func TestFoldAppends(t *testing.T) {
	dst := append(make([]byte, 0, 100), "x"...)
	for name, want := range map[string]string{"A": "xa", "É": "xe\u0301", "AÉ": "xae\u0301"} {
		if got, ok := Fold(dst, []byte(name)); !ok || string(got) != want {
			t.Errorf("%q appended: %q, %v", name, got, ok)
		}
	}
	for _, name := range []string{"A\xff", "\x80A", "É\xc3", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80"} {
		if got, ok := Fold(dst, []byte(name)); ok || string(got) != "x" {
			t.Errorf("%q: %q, %v", name, got, ok)
		}
	}
}

// The digests are gen/oracle.py's: what libext2fs, with the kernel's tables
// and algorithm, makes of the same strings.
func TestAgainstLibext2fs(t *testing.T) {
	for _, c := range []struct {
		name    string
		strings func(yield func([]byte))
		want    string
	}{
		{"each code point", eachCodePoint("", ""), "be08c992a8da422d978a4b065309a47b1475078667da68499c94b4c41f7fe996"},
		{"between marks", eachCodePoint("Q\u0301\u0323", "\u0327\u0334\u0345\u0308"),
			"1ea85c1f114d3073535d41e26c172b28272f92290ae201414a8c7acdb03166bb"},
		{"mixtures", mixtures, "cf6c1b3a026b378970f4dc5b15fe16db8d4a1b860b1d50bd28cd3f24c72b7738"},
		{"garbage", garbage, "aba73390ff24fb09c8814c3676f007b583e771d86cd184ff1c2b4a74f8737b6b"},
	} {
		h := sha256.New()
		var buf []byte
		c.strings(func(s []byte) {
			var ok bool
			if buf, ok = Fold(buf[:0], s); !ok {
				buf = append(buf, "invalid"...)
			}
			buf = append(buf, '\n')
			h.Write(buf)
		})
		if got := hex.EncodeToString(h.Sum(nil)); got != c.want {
			t.Errorf("%s: digest %s, want %s", c.name, got, c.want)
		}
	}
}

func eachCodePoint(before, after string) func(func([]byte)) {
	return func(yield func([]byte)) {
		var s []byte
		for r := rune(1); r <= utf8.MaxRune; r++ {
			if utf8.ValidRune(r) {
				s = append(utf8.AppendRune(append(s[:0], before...), r), after...)
				yield(s)
			}
		}
	}
}

// lcg is the generator of oracle.py.
type lcg uint64

func newLCG() *lcg { g := lcg(1); return &g }

func (x *lcg) next(n int) int {
	*x = *x*6364136223846793005 + 1442695040888963407
	return int(uint64(*x) >> 33 % uint64(n))
}

func mixtures(yield func([]byte)) {
	ranges := [...][2]int{{0x20, 0x60}, {0xa0, 0x300}, {0x300, 0x70}, {0x590, 0x180}, {0x1ab0, 0x150}, {0x1e00, 0x2f0},
		{0xac00, 11172}, {0x1d160, 0x50}, {0xfe00, 0x30}}
	g := newLCG()
	for range 200000 {
		var s []byte
		for range 1 + g.next(12) {
			r := ranges[g.next(len(ranges))]
			s = utf8.AppendRune(s, rune(r[0]+g.next(r[1])))
		}
		yield(s)
	}
}

func garbage(yield func([]byte)) {
	some := []byte{0x41, 0x80, 0xbf, 0xc1, 0xc3, 0xe0, 0xed, 0xa0, 0xf0, 0xf4, 0x90, 0xff}
	g := newLCG()
	for range 200000 {
		var s []byte
		for range 1 + g.next(4) {
			s = append(s, some[g.next(len(some))])
		}
		yield(s)
	}
}

// assigned returns the code points of Unicode 12.1.0.
func assigned(t *testing.T) (in [utf8.MaxRune + 1]bool) {
	f, err := os.Open("gen/ucd-12.1.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ranges := 0
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var lo, hi rune
		if n, err := fmt.Sscanf(sc.Text(), "assigned %X %X", &lo, &hi); n == 2 && err == nil {
			ranges++
			for r := lo; r <= hi; r++ {
				in[r] = true
			}
		}
	}
	if ranges < 600 {
		t.Fatalf("%d ranges of assigned code points", ranges)
	}
	return in
}

// A later Unicode, by another implementation, agrees on what 12.1 had; it
// drops nothing, so ignorable code points are left out.
func TestAgainstText(t *testing.T) {
	in := assigned(t)
	caser := cases.Fold()
	checked := 0
	for r, ok := range in {
		if !ok || !utf8.ValidRune(rune(r)) || class(rune(r)) == ignored || isCherokee(rune(r)) {
			continue
		}
		s := string(rune(r))
		// x/text folds in one pass; what a decomposition uncovers folds in another.
		want := norm.NFD.String(caser.String(norm.NFD.String(caser.String(s))))
		if got, ok := Fold(nil, []byte(s)); r != 0 && (!ok || string(got) != want) {
			t.Errorf("U+%04X: %+q, x/text has %+q", r, got, want)
		}
		if got := norm.NFD.PropertiesString(s); r >= 0xc0 && len(got.Decomposition()) == 0 && got.CCC() != class(rune(r)) {
			t.Errorf("U+%04X: class %d, x/text has %d", r, class(rune(r)), got.CCC())
		}
		checked++
	}
	if checked < 130000 {
		t.Errorf("only %d code points were compared", checked)
	}
}

// x/text leaves small Cherokee letters alone, against CaseFolding.txt, which
// folds them to the capital ones.
func isCherokee(r rune) bool { return 0x13f8 <= r && r <= 0x13fd || 0xab70 <= r && r <= 0xabbf }

// The tables are what the generator makes of the extract.
func TestTablesGenerated(t *testing.T) {
	out := filepath.Join(t.TempDir(), "tables.go")
	if msg, err := exec.Command("go", "run", "gen/main.go", "gen/ucd-12.1.txt", out).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile("tables.go"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("tables.go is out of date (%v): run go generate", err)
	}
}

// Binary searches need ascending tables.
func TestTablesSorted(t *testing.T) {
	if !slices.IsSorted(mapFrom[:]) || len(mapFrom) != len(mapAt) {
		t.Error("mapFrom is not ascending, or mapAt has another length")
	}
	for i := 1; i < len(classes); i++ {
		if classes[i].lo <= classes[i-1].hi {
			t.Errorf("class range %d overlaps the one before", i)
		}
	}
}

func FuzzFold(f *testing.F) {
	for _, s := range []string{"", "Abc", "Straße", "a\u0301\u0323", "\uac01", "\xff", "a\x00b", "\u00ad",
		strings.Repeat("\u0344", 80), strings.Repeat("\u0390", 127)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, name []byte) {
		got, ok := Fold(nil, name)
		if !ok {
			if utf8.Valid(name) {
				t.Errorf("%q is valid and not taken", name)
			}
			return
		}
		if !utf8.Valid(name) {
			return // stray bytes are written once or more
		}
		if !utf8.Valid(got) || len(got) > 6*len(name) {
			t.Errorf("%q folds to %q", name, got)
		}
		again, ok := Fold(nil, got)
		if !ok || !bytes.Equal(again, got) {
			t.Errorf("%q folds to %q, and that to %q", name, got, again)
		}
	})
}

func BenchmarkFold(b *testing.B) {
	for _, name := range []string{"Makefile.am", "Übergröße-ÄÖÜ.txt", "한국어파일이름.txt"} {
		b.Run(name, func(b *testing.B) {
			var buf [1024]byte
			b.ReportAllocs()
			for b.Loop() {
				Fold(buf[:0], []byte(name))
			}
		})
	}
}

// The names of casefolded directories that a kernel wrote, with what their
// hashes are over.
func TestKernelVectors(t *testing.T) {
	type name struct{ Plain, Folded crypttest.Hex }
	checked := 0
	for _, v := range crypttest.Load[struct{ Names []name }](t, "kernel.json") {
		for _, n := range v.Names {
			if n.Folded == nil {
				continue
			}
			checked++
			if got := fold(t, string(n.Plain)); got != string(n.Folded) {
				t.Errorf("%q folds to %q, want %q", n.Plain, got, n.Folded)
			}
		}
	}
	if checked == 0 {
		t.Error("no name has a folded form")
	}
}
