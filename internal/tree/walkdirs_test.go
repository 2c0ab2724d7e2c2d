package tree_test

import (
	"errors"
	"slices"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/tree"
)

// walkDirs returns the entries of each directory in the order of done, and
// the directories that were refused.
func walkDirs(t *testing.T, fs image.FS, workers int) (read [][]string, refused []string) {
	t.Helper()
	var trees []*tree.Tree
	for range workers {
		tr := tree.New(fs, nil)
		defer tr.Close()
		trees = append(trees, tr)
	}
	list := func(w int, dir tree.Node) ([]string, []tree.Node) {
		found, dirs := []string{dir.Path}, []tree.Node(nil)
		err := trees[w].Entries(dir, func(e *tree.Entry) error {
			n := e.Node()
			if e.Locked() != (n.Err != nil) {
				t.Errorf("%s: locked %v, %v", n.Path, e.Locked(), n.Err)
			}
			found = append(found, n.Path)
			if n.Type == image.TypeDirectory {
				dirs = append(dirs, n)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return found, dirs
	}
	err := tree.WalkDirs(workers, trees[0].Root(), list, func(found []string) error {
		read = append(read, found)
		return nil
	}, func(n tree.Node) error {
		refused = append(refused, n.Path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return read, refused
}

// However many workers there are, directories come in the order of Walk.
func TestWalkDirs(t *testing.T) {
	for _, name := range []string{"ext4-check", "ext4-modes", "ext4-features"} {
		if !slices.Contains(imagetest.Names(t, "ext4-"), name) {
			t.Fatalf("no image %s", name)
		}
		fs := open(t, name)
		var want []string
		tr := tree.New(fs, nil)
		if err := tr.Walk(tr.Root(), func(n tree.Node) error {
			want = append(want, n.Path)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, workers := range []int{1, 2, 7} {
			read, refused := walkDirs(t, fs, workers)
			got := []string{"/"}
			for _, dir := range read {
				got = append(got, dir[1:]...)
			}
			if !slices.Equal(got, want) || refused != nil {
				t.Errorf("%s, %d workers: %d paths, want %d; refused %v", name, workers, len(got), len(want), refused)
			}
		}
	}
}

func TestWalkDirsEnds(t *testing.T) {
	trees := tree.New(hostile{dirs: 6000}, nil)
	read, refused := 0, 0
	list := func(_ int, dir tree.Node) (int, []tree.Node) {
		var dirs []tree.Node
		err := trees.Entries(dir, func(e *tree.Entry) error {
			if n := e.Node(); n.Err == nil {
				dirs = append(dirs, n)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return 1, dirs
	}
	err := tree.WalkDirs(1, trees.Root(), list, func(n int) error { read += n; return nil }, func(n tree.Node) error {
		if !n.Unread || !errors.Is(n.Err, image.ErrCorrupt) {
			t.Fatalf("%+v", n)
		}
		refused++
		return nil
	})
	if err != nil || read != 4096 || refused != 4096+1 {
		t.Errorf("%d read, %d refused, %v", read, refused, err)
	}
	stop := errors.New("stop")
	err = tree.WalkDirs(3, trees.Root(), func(int, tree.Node) (int, []tree.Node) { return 1, nil }, func(int) error { return stop }, nil)
	if !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}
