package ext4

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/store/storetest"
	"fsenc/test/mkimage"
)

const mib = 1 << 20

func rawRow(name string, sizeMiB int64, args ...string) mkimage.Row {
	return mkimage.Row{Name: name, Size: sizeMiB * mib, Args: args}
}

// linkFarm makes a directory "farm" whose entries are hard links to a few
// files, with the given names.
func linkFarm(t testing.TB, fs *FS, names [][]byte) image.Ino {
	t.Helper()
	const perFile = 30000
	n := image.NewFile{Perm: 0o644, Time: stamp}
	dir, err := fs.Mkdir(inoRoot, []byte("farm"), n)
	must(t, err)
	entries := make([]image.Dirent, len(names))
	for i, name := range names {
		if i%perFile == 0 {
			file, err := fs.Create(dir, fmt.Appendf(nil, "file %d", i), nil, n)
			must(t, err)
			in, err := fs.inode(file)
			must(t, err)
			in.raw.setLinks(uint16(min(perFile, len(names)-i)))
			must(t, fs.putInode(in))
			entries[i].Ino = file
		} else {
			entries[i].Ino = entries[i-1].Ino
		}
		entries[i].Name, entries[i].Type = name, image.TypeRegular
	}
	setDir(t, fs, dir, entries, false)
	return dir
}

func longNames(n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = fmt.Appendf(nil, "%0255d", i)
	}
	return all
}

// With blocks of 1 KiB a leaf holds three names of 255 bytes, a root 123 slots
// and a node 126: each level is filled to its last slot, and one more.
func TestIndexLevels(t *testing.T) {
	tests := []struct {
		leaves  int
		args    []string
		indexed bool
		blocks  int
	}{
		{1, nil, false, 1},
		{2, nil, true, 1 + 2},
		{123, nil, true, 1 + 123},
		{124, nil, true, 1 + 1 + 124},
		{123 * 126, nil, true, 1 + 123 + 123*126},
		{123*126 + 1, nil, false, 123*126 + 1},
		{123*126 + 1, []string{"-O", "large_dir"}, true, 1 + 1 + 124 + 123*126 + 1},
		{124, []string{"-O", "^metadata_csum"}, true, 1 + 124},
		{125, []string{"-O", "^metadata_csum"}, true, 1 + 1 + 125},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.leaves, tt.args), func(t *testing.T) {
			t.Parallel()
			path := mkimage.Make(t, rawRow("levels", 64, append([]string{"-b", "1024"}, tt.args...)...))
			names := longNames(3 * tt.leaves)
			edit(t, path, func(fs *FS) {
				dir := linkFarm(t, fs, names)
				in, err := fs.inode(dir)
				must(t, err)
				if in.raw.hasFlag(flIndex) != tt.indexed || in.raw.size() != uint64(tt.blocks)*1024 {
					t.Errorf("indexed %v, %d blocks, want %v, %d", in.raw.hasFlag(flIndex), in.raw.size()/1024, tt.indexed, tt.blocks)
				}
				for i := 0; i < len(names); i += 1 + len(names)/1000 {
					_, err := fs.Lookup(dir, names[i])
					must(t, err)
				}
			})
			clean(t, path)
			more := 20
			if !tt.indexed { // the kernel reads the directory for each name
				names, more = names[:1], 2
			}
			mkimage.Mounted(t, path, true, func(dir string) {
				for _, name := range names {
					_, err := os.Lstat(filepath.Join(dir, "farm", string(name)))
					must(t, err)
				}
				// The kernel can go on from what we laid out.
				for i := range more {
					must(t, os.Link(filepath.Join(dir, "farm", string(names[0])), filepath.Join(dir, "farm", fmt.Sprint("more", i))))
				}
			})
			clean(t, path)
		})
	}
}

// Two names with one hash, the last of a leaf and the first of the next: the
// kernel finds the second by the continuation bit only.
func TestEqualHashes(t *testing.T) {
	path := mkimage.Make(t, rawRow("equal", 64, "-b", "1024"))
	var names [][]byte
	var pair [2][]byte
	edit(t, path, func(fs *FS) {
		h := fs.dirHash(fs.sb.defHashVersion())
		pair = collide(t, h)
		at, _ := h.sum(pair[0])
		low, high := 0, 0
		for _, name := range longNames(100) {
			if hash, _ := h.sum(name); hash < at && low < 2 {
				low++
			} else if hash > at && high < 5 {
				high++
			} else {
				continue
			}
			names = append(names, name)
		}
		names = append(names, pair[:]...)
		if low != 2 || high != 5 {
			t.Fatalf("%d and %d names around the pair", low, high)
		}
		dir := linkFarm(t, fs, names)
		in, err := fs.inode(dir)
		must(t, err)
		d, err := fs.openDir(in)
		must(t, err)
		r, err := d.readRoot(make([]byte, fs.bs))
		must(t, err)
		if got := r.table.slot(1).hash; got != at|1 {
			t.Fatalf("second slot begins at %#x, want %#x", got, at|1)
		}
		for _, name := range names {
			_, err := fs.Lookup(dir, name)
			must(t, err)
		}
	})
	clean(t, path)
	mkimage.Mounted(t, path, false, func(dir string) {
		for _, name := range names {
			_, err := os.Lstat(filepath.Join(dir, "farm", string(name)))
			must(t, err)
		}
	})
}

// collide finds two names of 255 bytes with the same hash. A birthday among
// 2^31 values takes some 50,000 names.
func collide(t testing.TB, h dirHash) [2][]byte {
	t.Helper()
	seen := map[uint32]int{}
	for i := range 1_000_000 {
		name := fmt.Appendf(nil, "%0255d", 1000+i)
		hash, _ := h.sum(name)
		if j, ok := seen[hash]; ok {
			return [2][]byte{fmt.Appendf(nil, "%0255d", 1000+j), name}
		}
		seen[hash] = i
	}
	t.Fatal("no two names with one hash")
	return [2][]byte{}
}

// An index damaged in any byte is refused or read without harm, and a walk
// ends.
func FuzzIndex(f *testing.F) {
	base := mkimage.Make(f, rawRow("fuzz", 4, "-b", "1024", "-O", "^metadata_csum"))
	var dir image.Ino
	var root, node, leaf image.Pblk
	edit(f, base, func(fs *FS) {
		dir = linkFarm(f, fs, longNames(3*124))
		in, err := fs.inode(dir)
		must(f, err)
		d, err := fs.openDir(in)
		must(f, err)
		root, node, leaf = d.pblk(0), d.pblk(1), d.pblk(2)
	})
	img, err := os.ReadFile(base)
	must(f, err)
	for _, p := range []image.Pblk{root, node, leaf} {
		f.Add(slices.Clone(img[p*1024:][:1024]), uint8(0))
	}
	f.Add(slices.Clone(img[node*1024:][:1024]), uint8(1))
	f.Fuzz(func(t *testing.T, block []byte, which uint8) {
		s := storetest.NewMem(bytes.Clone(img))
		at := []image.Pblk{root, node, leaf}[which%3]
		_, err := s.WriteAt(block[:min(len(block), 1024)], int64(at)*1024)
		must(t, err)
		fs, err := Open(s, Options{})
		must(t, err)
		n := 0
		if err := fs.ReadDir(dir, func(image.Dirent) error { n++; return nil }); err == nil && n > 126*85 {
			t.Errorf("%d entries", n)
		}
		if _, err := fs.Lookup(dir, longNames(1)[0]); err != nil && block == nil {
			t.Error(err)
		}
	})
}

// Growth into free space of single blocks: each is an extent of its own, and
// what the tree takes was announced.
func TestCostFragmented(t *testing.T) {
	for _, args := range [][]string{{"-b", "1024"}, {"-b", "1024", "-O", "^extent,^64bit"}} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			path := mkimage.Make(t, rawRow("fragments", 32, args...))
			fs, _ := openFile(t, path, Options{Write: true})
			dir := linkFarm(t, fs, longNames(1))
			var taken []image.Pblk
			for fs.sb.freeBlocks() > 0 {
				p, err := fs.allocCluster(0)
				must(t, err)
				taken = append(taken, p)
			}
			for i := 0; i < len(taken); i += 2 {
				must(t, fs.freeCluster(taken[i]))
			}
			es, err := fs.entries(dir)
			must(t, err)
			for _, n := range []int{30, 900, 3000} {
				for len(es) < n {
					es = append(es, image.Dirent{Name: fmt.Appendf(nil, "%0255d", len(es)), Ino: es[0].Ino, Type: es[0].Type})
				}
				setDir(t, fs, dir, es, false)
			}
			in, err := fs.inode(dir)
			must(t, err)
			if m, err := fs.walkMap(in, 0, maxLblk); err != nil || len(m.tree) < 4 || len(m.exts) < 900 {
				t.Errorf("%d extents in %d tree blocks, %v", len(m.exts), len(m.tree), err)
			}
		})
	}
}

// A directory of a million names, laid out with an index.
func BenchmarkSetDirMillion(b *testing.B) {
	path := mkimage.Make(b, rawRow("million", 512, "-b", "4096"))
	fs, _ := openFile(b, path, Options{Write: true})
	dir, err := fs.Mkdir(inoRoot, []byte("farm"), image.NewFile{Perm: 0o755, Time: stamp})
	must(b, err)
	entries := make([]image.Dirent, 1_000_000)
	for i := range entries {
		entries[i] = image.Dirent{Name: cipherLike(fmt.Append(nil, i), 32), Ino: 12, Type: image.TypeRegular}
	}
	b.ReportAllocs()
	for b.Loop() {
		must(b, fs.SetDir(dir, entries, true))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(entries)), "ns/name")
}
