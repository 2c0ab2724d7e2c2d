package f2fs

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store/storetest"
)

// Readers side by side share inodes, whose memory is used again: each sees what one
// alone sees. There are more inodes than are kept.
func TestReadersShareInodes(t *testing.T) {
	fs, err := Open(storetest.NewMem(imagetest.GoldenBytes(t, "f2fs-full")), image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	look := func(ino image.Ino) (string, error) {
		a, err := fs.Stat(ino)
		if err != nil {
			return "", err
		}
		context, err := fs.Context(ino)
		if err != nil {
			return "", err
		}
		list, err := fs.DataExtents(ino)
		if err != nil || a.Type != image.TypeDirectory {
			return fmt.Sprintf("%+v %x %v", a, context, list), err
		}
		var names []string
		err = fs.ReadDir(ino, func(d image.Dirent) error {
			names = append(names, string(d.Name))
			_, err := fs.Stat(d.Ino) // while the directory is held
			return err
		})
		return fmt.Sprintf("%+v %x %v %q", a, context, list, names), err
	}
	want := make(map[image.Ino]string)
	err = fs.Inodes(func(a image.Attr, err error) error {
		if err == nil {
			want[a.Ino], err = look(a.Ino)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	inos := slices.Sorted(maps.Keys(want))
	if len(inos) <= maxRecent {
		t.Fatalf("only %d inodes", len(inos))
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			step := []int{1, 7, 11, 13}[worker] // in orders that differ
			for i := range 4 * len(inos) {
				ino := inos[i*step%len(inos)]
				if got, err := look(ino); err != nil || got != want[ino] {
					t.Errorf("inode %d: %s, %v, want %s", ino, got, err, want[ino])
					return
				}
			}
		})
	}
	wg.Wait()
}
