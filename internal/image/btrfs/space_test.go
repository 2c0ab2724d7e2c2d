package btrfs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// squeeze leaves groups of a kind n bytes of free space, for this FS alone.
func squeeze(t testing.TB, fs *FS, kind, n uint64) {
	t.Helper()
	if err := fs.loadSpace(); err != nil {
		t.Fatal(err)
	}
	for _, g := range fs.groups {
		if g.kind&kind == 0 {
			continue
		}
		var keep []span
		for _, s := range g.free {
			s.len = min(s.len, n)
			if n -= s.len; s.len > 0 {
				keep = append(keep, s)
			}
		}
		g.free = keep
		fs.countFree(g)
	}
}

// Chunks are added before trees or data run out of room, and btrfs check and the
// kernel take them.
func TestChunks(t *testing.T) {
	for _, name := range []string{"default", "mixed", "single", "raid0", "v1cache"} {
		if testing.Short() && name != "default" {
			continue
		}
		i := slices.IndexFunc(variants, func(v variant) bool { return v.name == name })
		t.Run(name, func(t *testing.T) { testChunks(t, variants[i]) })
	}
}

func testChunks(t *testing.T, v variant) {
	p := build(t, v)
	fs, s := openFile(t, p)
	chunks := len(fs.chunks)
	squeeze(t, fs, groupMetadata, 5*opBlocks*uint64(fs.ns))
	squeeze(t, fs, groupData, 1<<20)
	d, err := fs.Lookup(fs.Root(), []byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1500 {
		size := 100 + i%4000*20
		_, err := fs.Create(d.Ino, fmt.Appendf(nil, "made %d", i), random(size), image.NewFile{Perm: 0o600, Time: time.Unix(1e9, 0)})
		if err == nil && i%500 == 499 {
			err = fs.Flush()
		}
		if err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
	}
	convert(t, fs, converter{encrypt: true, every: 300})
	sound(t, fs, "encrypted")
	if n := len(fs.chunks) - chunks; n < 2 && v.name != "mixed" || n < 1 {
		t.Errorf("%d chunks were added", n)
	}
	s.Close()
	c := shadow(t, p)
	btrfsCheck(t, c)
	use(t, c)
}

// Where nothing can be added the error says so, and the image is as it was.
func TestNoSpace(t *testing.T) {
	p := build(t, variants[0])
	fs, s := openFile(t, p)
	before := listing(t, fs)
	squeeze(t, fs, groupMetadata, 3*opBlocks*uint64(fs.ns))
	fs.noChunks = true
	d, err := fs.Lookup(fs.Root(), []byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; err == nil; i++ {
		_, err = fs.Create(d.Ino, fmt.Appendf(nil, "made %d", i), random(1500), image.NewFile{Perm: 0o600, Time: time.Unix(1e9, 0)})
		if i%50 == 0 && err == nil && fs.Pending() == int64(len(fs.dirty)*fs.ns) && i > 2000 {
			t.Fatal("no end")
		}
	}
	if !errors.Is(err, image.ErrNoSpace) {
		t.Fatal(err)
	}
	if err := fs.CheckMoves(10, 20<<20); err != nil {
		t.Errorf("room for chunks: %v", err)
	}
	if err := fs.CheckMoves(10, 1<<30); !errors.Is(err, image.ErrNoSpace) {
		t.Errorf("1 GiB: %v", err)
	}
	s.Close()
	fs, _ = openFile(t, p)
	if !maps.Equal(before, listing(t, fs)) {
		t.Error("what failed has changed something")
	}
	btrfsCheck(t, p)
}

// listing is all that can be read of a filesystem, by inode.
func listing(t testing.TB, fs *FS) map[image.Ino]string {
	t.Helper()
	out := make(map[image.Ino]string)
	err := fs.Inodes(func(a image.Attr, err error) error {
		if err != nil {
			return err
		}
		context, err := fs.Context(a.Ino)
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%+v context %x", a, context)
		switch {
		case a.Type == image.TypeDirectory:
			err = fs.ReadDir(a.Ino, func(d image.Dirent) error {
				line += fmt.Sprintf(" %q %d", d.Name, d.Ino)
				return nil
			})
		case a.Type == image.TypeSymlink:
			var target []byte
			target, err = fs.ReadLink(a.Ino)
			line += fmt.Sprintf(" to %q", target)
		case a.Inline:
			var b []byte
			b, err = fs.Inline(a.Ino)
			line += fmt.Sprintf(" holds %x", b)
		case a.Type == image.TypeRegular:
			err = fs.DiskExtents(a.Ino, func(x image.DiskExtent) error {
				p := make([]byte, int(x.Len)*fs.ss)
				line += fmt.Sprintf(" %+v", x)
				return fs.ReadBlocks(p, x.Start)
			})
		}
		out[a.Ino] = line
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// recorder keeps writes back, in order.
type recorder struct {
	store.Store
	at   []int64
	data [][]byte
}

func (r *recorder) WriteAt(p []byte, off int64) (int, error) {
	r.at, r.data = append(r.at, off), append(r.data, slices.Clone(p))
	return r.Store.WriteAt(p, off)
}

// Until the superblock is written the old state is whole, whatever else is: with
// the writes of superblocks dropped nothing has changed. They come last.
func TestOldState(t *testing.T) {
	for _, v := range some()[:min(4, len(some()))] {
		t.Run(v.name, func(t *testing.T) { testOldState(t, v) })
	}
}

func testOldState(t *testing.T, v variant) {
	p := build(t, v)
	fs, s := openFile(t, p)
	r := &recorder{Store: s}
	fs.s = r
	for round := range 3 { // what a round frees the next one may use
		before := listing(t, fs)
		r.at, r.data = nil, nil
		old := t.TempDir() + "/old"
		command(t, "cp", "--sparse=always", p, old)
		d, err := fs.Lookup(fs.Root(), []byte("a"))
		if err != nil {
			t.Fatal(err)
		}
		c := converter{t: t, fs: fs, every: 1 << 30, seen: make(map[image.Ino]bool), extents: make(map[image.Pblk]bool), encrypt: round%2 == 0}
		c.noData = true
		c.dir(d.Ino)
		if err := fs.Flush(); err != nil {
			t.Fatal(err)
		}
		replay(t, old, r)
		got, _ := openFile(t, old)
		if !maps.Equal(before, listing(t, got)) {
			t.Fatalf("round %d: without its superblock a transaction has changed something", round)
		}
		sound(t, got, "the old state", "extent-contexts-differ") // with the snapshots, which stay plain
		if maps.Equal(before, listing(t, fs)) {
			t.Fatal("a transaction has changed nothing")
		}
	}
}

// replay makes all writes but those of superblocks, which must be the last.
func replay(t testing.TB, p string, r *recorder) {
	t.Helper()
	s, err := store.OpenFile(p, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	supers := 0
	for i, off := range r.at {
		if slices.Contains(superAddrs[:], off) {
			supers++
			continue
		}
		if supers > 0 {
			t.Fatal("written after a superblock")
		}
		if _, err := s.WriteAt(r.data[i], off); err != nil {
			t.Fatal(err)
		}
	}
	if supers == 0 {
		t.Fatal("no superblock was written")
	}
}
