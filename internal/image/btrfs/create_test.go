package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fsenc/internal/image"
)

// The kernel sees what was made, replaced and removed, and nothing else differs.
func TestCreate(t *testing.T) {
	for _, v := range some()[:min(4, len(some()))] {
		t.Run(v.name, func(t *testing.T) { testCreate(t, v) })
	}
}

func testCreate(t *testing.T, v variant) {
	p := build(t, v)
	fs, s := openFile(t, p)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	n := image.NewFile{Perm: 0o640, UID: 7, GID: 8, Time: time.Unix(1_500_000_000, 5)}
	dir, err := fs.Mkdir(fs.Root(), []byte(".fscrypt"), image.NewFile{Perm: 0o755, Time: n.Time})
	must(err)
	want := make(map[string][]byte)
	inos := make(map[string]image.Ino)
	create := func(name string, size int) {
		t.Helper()
		want[name] = random(size)
		inos[name], err = fs.Create(dir, []byte(name), want[name], n)
		must(err)
	}
	for _, size := range []int{0, 1, 2048, 2049, 4096, 5000, 300000} {
		create(fmt.Sprint("made", size), size)
	}
	for i := range 300 {
		create(fmt.Sprint("many", i), i)
	}
	must(fs.Flush())
	for i := range 300 {
		name := fmt.Sprint("many", i)
		if i%3 == 0 {
			must(fs.Remove(dir, []byte(name)))
			delete(want, name)
		} else if i%3 == 1 {
			want[name] = random(i * 40)
			must(fs.SetFile(inos[name], want[name]))
		}
	}
	must(fs.Flush())
	if _, err := fs.Create(dir, []byte("made1"), nil, n); !errors.Is(err, image.ErrExist) {
		t.Errorf("made again: %v", err)
	}
	if err := fs.Remove(fs.Root(), []byte(".fscrypt")); !errors.Is(err, image.ErrNotEmpty) {
		t.Errorf("removed: %v", err)
	}
	if err := fs.Remove(dir, []byte("nothing")); !errors.Is(err, image.ErrNotExist) {
		t.Errorf("removed what is not there: %v", err)
	}
	sound(t, fs, "made")
	s.Close()
	btrfsCheck(t, p)
	mounted(t, p, func(top string) {
		list, err := os.ReadDir(filepath.Join(top, ".fscrypt"))
		must(err)
		if len(list) != len(want) {
			t.Errorf("%d files, want %d", len(list), len(want))
		}
		for name, b := range want {
			got, err := os.ReadFile(filepath.Join(top, ".fscrypt", name))
			if err != nil || !bytes.Equal(got, b) {
				t.Errorf("%s: %d bytes, want %d: %v", name, len(got), len(b), err)
			}
		}
	})
	use(t, p)
}
