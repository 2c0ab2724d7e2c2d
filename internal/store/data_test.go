package store

import (
	"os"
	"path/filepath"
	"testing"
)

// Holes of a file are known through a window, too.
func TestNextData(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const mid = 8 << 20
	if err := f.Truncate(16 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 4096), mid); err != nil {
		t.Fatal(err)
	}
	s, err := OpenFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct {
		s         Store
		off, end  int64
		from, len int64
	}{
		{s, 0, 16 << 20, mid, 4096},
		{s, mid + 100, 16 << 20, mid + 100, 3996},
		{s, 0, 4096, 4096, 0},
		{s, 5, 5, 5, 0},
		{Section(s, 1<<20, 12<<20), 0, 12 << 20, mid - 1<<20, 4096},
		{Section(s, 1<<20, 2<<20), 0, 2 << 20, 2 << 20, 0},
	} {
		from, to, err := NextData(c.s, c.off, c.end)
		if err != nil || from != c.from || to-from != c.len {
			t.Errorf("[%d, %d): data from %d to %d, %v; want %d bytes from %d", c.off, c.end, from, to, err, c.len, c.from)
		}
	}
}
