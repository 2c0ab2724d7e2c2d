package ext4

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store/storetest"
)

// The seconds have 34 bits where the inode is large enough.
func TestTimes(t *testing.T) {
	for _, s := range []int64{-1 << 31, -1, 0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 3<<32 + 1<<31 - 1} {
		raw := make(rawInode, 256)
		raw.setExtraIsize(32)
		want := time.Unix(s, 987654321)
		raw.setTime(offIMtime, offIMtimeExtra, want)
		if got := raw.time(offIMtime, offIMtimeExtra); !got.Equal(want) {
			t.Errorf("%d seconds became %v", s, got)
		}
		raw.setExtraIsize(0)
		if got := raw.time(offIMtime, offIMtimeExtra); got.Unix() != int64(int32(s)) {
			t.Errorf("%d seconds became %v without room for more", s, got)
		}
	}
}

// Numbers that no inode has, and slots without one.
func TestNoInode(t *testing.T) {
	fs, err := Open(storetest.NewMem(imagetest.GoldenBytes(t, "ext4-4k")), Options{})
	must(t, err)
	for _, tt := range []struct {
		ino  image.Ino
		want error
	}{
		{0, image.ErrCorrupt},
		{image.Ino(fs.geo.inodes) + 1, image.ErrCorrupt},
		{1 << 40, image.ErrCorrupt},
		{image.Ino(fs.geo.inodes), image.ErrNotExist},
	} {
		if _, err := fs.Stat(tt.ino); !errors.Is(err, tt.want) {
			t.Errorf("inode %d: %v, want %v", tt.ino, err, tt.want)
		}
	}
}

// A freed inode's number and clusters are handed out again.
func TestReuse(t *testing.T) {
	fs, _ := openFile(t, makeRow(t, "b1k"), Options{Write: true})
	in := newFile(t, fs, 0, 0)
	grow(t, fs, in, 5)
	must(t, fs.putInode(in))
	old, err := fs.mapping(in)
	must(t, err)
	must(t, fs.Remove(inoRoot, []byte("file0")))
	again := newFile(t, fs, 0, 0)
	grow(t, fs, again, 5)
	now, err := fs.mapping(again)
	must(t, err)
	if again.ino != in.ino || !slices.Equal(now, old) {
		t.Errorf("inode %d with %v, want %d with %v", again.ino, now, in.ino, old)
	}
}

// Every free cluster of a group, initialised or not, is handed out once.
func TestFull(t *testing.T) {
	for _, row := range []string{"b1k", "big", "i128x", "metabg", "nocsum0"} {
		fs, _ := openFile(t, makeRow(t, row), Options{Write: true})
		in := newFile(t, fs, 0, 0)
		if _, err := fs.appendBlocks(in, fs.sb.freeBlocks()+fs.geo.ratio+1); !errors.Is(err, image.ErrNoSpace) {
			t.Errorf("%s: more than there is: %v", row, err)
		}
		want := fs.sb.freeBlocks() / fs.geo.ratio
		seen := map[image.Pblk]bool{}
		p, err := image.Pblk(0), error(nil)
		for err == nil {
			if p, err = fs.allocCluster(p); err == nil {
				if seen[p] || fs.inSystem(p, 1) {
					t.Fatalf("%s: block %d was not free", row, p)
				}
				seen[p] = true
			}
		}
		if !errors.Is(err, image.ErrNoSpace) || uint64(len(seen)) != want || fs.sb.freeBlocks() != 0 {
			t.Errorf("%s: %v after %d clusters of %d, %d blocks left", row, err, len(seen), want, fs.sb.freeBlocks())
		}
		if _, err := fs.appendBlocks(in, 1); !errors.Is(err, image.ErrNoSpace) {
			t.Errorf("%s: a block of a full image: %v", row, err)
		}
	}
}

// Groups that are forgotten to bound the memory are read again as they were.
func TestFewGroups(t *testing.T) {
	path := makeRow(t, "metabg")
	edit(t, path, func(fs *FS) {
		fs.groupRoom = 2
		files := interleave(t, fs)
		fs.groupRoom = 2
		removeFiles(t, fs, files[:1])
	})
	clean(t, path)
}

// Readers do not disturb one another.
func TestConcurrentReaders(t *testing.T) {
	for _, o := range []Options{{}, {Write: true}} {
		fs, err := Open(storetest.NewMem(bytes.Clone(imagetest.GoldenBytes(t, "ext4-features"))), o)
		must(t, err)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				n := 0
				err := fs.Inodes(func(a image.Attr, err error) error {
					if err != nil {
						return err
					}
					n++
					if _, err := fs.Stat(a.Ino); err != nil {
						return err
					}
					_, err = fs.DataExtents(a.Ino)
					return err
				})
				if err == nil {
					err = fs.Residue(func(off, n int64) error { return nil })
				}
				if err != nil || n < 1000 {
					t.Errorf("%d inodes, %v", n, err)
				}
			})
		}
		wg.Wait()
	}
}

// Ranges of inode numbers, however they are cut, give together what Inodes
// gives, and what is read of an inode meanwhile is that inode.
func TestInodesIn(t *testing.T) {
	for _, name := range []string{"ext4-features", "ext4-check"} {
		fs, err := Open(storetest.NewMem(imagetest.GoldenBytes(t, name)), Options{})
		must(t, err)
		var want, got []image.Attr
		must(t, fs.Inodes(func(a image.Attr, err error) error {
			want = append(want, a)
			return err
		}))
		for first := image.Ino(0); first < image.Ino(fs.geo.inodes)+300; first += 37 {
			must(t, fs.InodesIn(first, first+37, func(a image.Attr, err error) error {
				again, e := fs.Stat(a.Ino)
				must(t, e)
				if again != a {
					t.Errorf("inode %d: %+v, want %+v", a.Ino, again, a)
				}
				got = append(got, a)
				return err
			}))
		}
		if !slices.Equal(got, want) || len(want) < 20 {
			t.Errorf("%s: %d inodes, want %d", name, len(got), len(want))
		}
	}
}
