package fsck

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/ext4"
	"fsenc/internal/image/f2fs"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store/storetest"
)

// brokenImages have something wrong with many inodes and names: their contexts
// belong to no policy that there is.
func brokenImages(t *testing.T) map[string]image.FS {
	t.Helper()
	e, err := ext4.Open(storetest.NewMem(imagetest.GoldenBytes(t, "ext4-modes")), image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := f2fs.Open(storetest.NewMem(imagetest.GoldenBytes(t, "f2fs-modes")), image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]image.FS{"ext4": noContexts{e}, "f2fs": f2fsNoContexts{f}}
}

// noContexts is a filesystem whose encrypted inodes have lost their contexts,
// f2fsNoContexts the same for f2fs.
type (
	noContexts     struct{ *ext4.FS }
	f2fsNoContexts struct{ *f2fs.FS }
)

func (noContexts) Context(image.Ino) ([]byte, error)     { return nil, nil }
func (f2fsNoContexts) Context(image.Ino) ([]byte, error) { return nil, nil }

// onlyFS has neither what image.Checker nor what image.Ranged adds.
type onlyFS struct{ image.FS }

// run returns the findings of one check, each as a line.
func run(t *testing.T, fs image.FS, prepare func(*checker)) []string {
	t.Helper()
	var lines []string
	c := newChecker(context.Background(), fs, Options{Report: func(f Finding) {
		lines = append(lines, fmt.Sprintf("%s %d %s %s", f.ID, f.Ino, f.Path, f.Text))
	}})
	defer c.close()
	prepare(c)
	if err := cmp.Or(c.inodes(), c.names()); err != nil {
		t.Fatal(err)
	}
	c.unnamed()
	return lines
}

// What is found, and in which order, does not depend on how many workers there
// are, nor on whether the filesystem lists ranges of inodes.
func TestSameFindings(t *testing.T) {
	for name, fs := range brokenImages(t) {
		t.Run(name, func(t *testing.T) { sameFindings(t, fs) })
	}
}

func sameFindings(t *testing.T, fs image.FS) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	want := run(t, fs, func(*checker) {})
	if len(want) < 50 {
		t.Fatalf("only %d findings", len(want))
	}
	runtime.GOMAXPROCS(5)
	for name, fs := range map[string]image.FS{"ranges": fs, "batches": onlyFS{fs}} {
		if got := run(t, fs, func(*checker) {}); !slices.Equal(got, want) {
			t.Errorf("%s: %d findings, one worker has %d", name, len(got), len(want))
		}
	}
	// Findings that find no room to wait are told out of turn, and all the same.
	got := run(t, fs, func(c *checker) { c.held.Store(maxPending) })
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("out of turn: %d findings, want %d", len(got), len(want))
	}
}
