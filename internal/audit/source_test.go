package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What is in a source is told, with the paths that lead to it, from whatever
// path it is given by.
func TestReadSource(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "one", noise("one", 1000))                                // a sector and a last part
	put(t, dir, "sub/directory/two", noise("two", 100))                   // short: a pattern and a sector
	put(t, dir, "sub/zeros", make([]byte, 4096))                          // tell nothing
	put(t, dir, "sub/large", noise("large", 3<<20+700))                   // more than a buffer
	put(t, dir, "sub/tiny", []byte("x = 1\n"))                            // too short to tell anything
	must(t, os.Symlink("../one/of/the/targets", filepath.Join(dir, "l"))) // a pattern
	must(t, os.Symlink(dir, filepath.Join(dir, "sub/loop")))
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(dir, link))
	t.Chdir(dir)
	for _, path := range []string{dir, dir + "/", ".", link, filepath.Join(dir, "sub/..")} {
		s := source(t, path)
		st := s.Stats()
		if st.Files != 5 || st.Dirs != 3 || st.Links != 2 || st.Names != 1 || st.Bytes != 1000+100+4096+3<<20+700+6 ||
			st.Sectors != 2+1+3<<11+2 || st.SectorsKept != st.Sectors || !st.Whole() {
			t.Errorf("%s: %+v", path, st)
		}
		var got []string
		for _, p := range s.patterns.sorted {
			got = append(got, string(p.kind)+" "+s.path(p.node))
		}
		slices.Sort(got)
		if want := "contents sub/directory/two, name sub/directory, target l, target sub/loop"; strings.Join(got, ", ") != want {
			t.Errorf("%s: patterns %q", path, got)
		}
		for _, f := range []string{"one", "sub/directory/two", "sub/large"} {
			b := append(read(t, f), make([]byte, sectorSize)...)
			for off := 0; off < len(b)-sectorSize; off += sectorSize {
				if n, ok := s.sectors.find(sectorHash(b[off : off+sectorSize])); !ok || s.path(n) != f {
					t.Fatalf("%s: sector at %d is of %q, %v", f, off, s.path(n), ok)
				}
			}
		}
	}
	one := source(t, "sub/large")
	if one.Stats().Files != 1 || one.path(0) != "large" || one.path(1) != "large" {
		t.Errorf("one file: %+v, %q", one.Stats(), one.path(1))
	}
}

// What does not fit is counted, and what cannot be read is told.
func TestReadSourceBounds(t *testing.T) {
	dir := t.TempDir()
	for i := range 40 {
		put(t, dir, fmt.Sprintf("directory-%d/a-name-of-30-bytes-it-is-%04d", i, i), noise(fmt.Sprint(i), 10*sectorSize))
	}
	s, err := readSource(t.Context(), dir, quiet, 500, 256)
	must(t, err)
	st := s.Stats()
	if st.Whole() || st.Dropped < 50 || st.SampledOneIn < 2 || st.Sectors != 400 || st.SectorsKept > 192 || st.SectorsKept < 40 {
		t.Errorf("%+v", st)
	}
	for _, n := range s.sectors.files {
		if !strings.HasPrefix(s.path(n), "directory-") && s.path(n) != filepath.Base(dir) {
			t.Errorf("a sector of %q", s.path(n))
		}
	}
	if _, err := ReadSource(t.Context(), filepath.Join(dir, "missing"), quiet); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ReadSource(ctx, dir, quiet); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
