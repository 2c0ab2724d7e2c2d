package ext4

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"testing"

	"fsenc/internal/crypt/names"
	"fsenc/internal/image"
	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/mkimage"
)

// tree lists all inodes below dir and all directories, the top one included.
type tree struct {
	dirs  map[image.Ino][]image.Dirent
	types map[image.Ino]image.FileType
}

func readTree(t testing.TB, fs *FS, top image.Ino) tree {
	t.Helper()
	tr := tree{map[image.Ino][]image.Dirent{}, map[image.Ino]image.FileType{top: image.TypeDirectory}}
	for todo := []image.Ino{top}; len(todo) > 0; todo = todo[1:] {
		es, err := fs.entries(todo[0])
		must(t, err)
		tr.dirs[todo[0]] = es
		for _, d := range es {
			tr.types[d.Ino] = d.Type
			if d.Type == image.TypeDirectory {
				todo = append(todo, d.Ino)
			}
		}
	}
	return tr
}

// sorted returns the directories, children before parents.
func (tr tree) sorted() []image.Ino {
	var list []image.Ino
	for ino := range tr.dirs {
		list = append(list, ino)
	}
	slices.Sort(list)
	return list
}

// seconds returns the inodes but directories.
func (tr tree) others() []image.Ino {
	var list []image.Ino
	for ino, typ := range tr.types {
		if typ != image.TypeDirectory {
			list = append(list, ino)
		}
	}
	slices.Sort(list)
	return list
}

// cipherLike stretches b to n bytes that look like ciphertext.
func cipherLike(b []byte, n int) []byte {
	var out []byte
	for i := 0; len(out) < n; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", i, b))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

func renamed(es []image.Dirent, length func(i int) int) []image.Dirent {
	out := slices.Clone(es)
	for i := range out {
		out[i].Name = cipherLike(es[i].Name, length(i))
		out[i].Hash, out[i].MinorHash = uint32(i)*0x9e3779b8&^1, uint32(i)
	}
	return out
}

func lens(es []image.Dirent) []int {
	out := make([]int, len(es))
	for i := range es {
		out[i] = len(es[i].Name)
	}
	return out
}

// spend runs an edit and checks that it allocates no more than was announced.
func spend(t testing.TB, fs *FS, what string, ino image.Ino, cost int64, err error, f func() error) {
	t.Helper()
	if err != nil {
		t.Fatalf("cost of %s of inode %d: %v", what, ino, err)
	}
	before := int64(fs.sb.freeBlocks())
	if err := f(); err != nil {
		t.Fatalf("%s of inode %d: %v", what, ino, err)
	}
	if used := (before - int64(fs.sb.freeBlocks())) * int64(fs.bs); used > cost {
		t.Errorf("%s of inode %d takes %d bytes, announced were %d", what, ino, used, cost)
	}
}

func setDir(t testing.TB, fs *FS, dir image.Ino, es []image.Dirent, encrypted bool) {
	t.Helper()
	cost, err := fs.CostDir(dir, lens(es), encrypted)
	spend(t, fs, "SetDir", dir, cost, err, func() error { return fs.SetDir(dir, es, encrypted) })
	got, err := fs.entries(dir)
	must(t, err)
	sameEntries(t, dir, got, es)
}

func sameEntries(t testing.TB, dir image.Ino, got, want []image.Dirent) {
	t.Helper()
	byName := func(es []image.Dirent) []image.Dirent {
		es = slices.Clone(es)
		sort.Slice(es, func(i, j int) bool { return bytes.Compare(es[i].Name, es[j].Name) < 0 })
		return es
	}
	g, w := byName(got), byName(want)
	if len(g) != len(w) {
		t.Fatalf("directory %d has %d entries, want %d", dir, len(g), len(w))
	}
	for i := range g {
		if !bytes.Equal(g[i].Name, w[i].Name) || g[i].Ino != w[i].Ino || g[i].Type != w[i].Type {
			t.Fatalf("directory %d: entry %v, want %v", dir, g[i], w[i])
		}
	}
}

func lookup(t testing.TB, fs *FS, dir image.Ino, name string) image.Ino {
	t.Helper()
	d, err := fs.Lookup(dir, []byte(name))
	must(t, err)
	return d.Ino
}

// look compares what the kernel sees with what it saw before.
func look(t testing.TB, path string, want []manifest.Entry, ignore manifest.Ignore) {
	t.Helper()
	clean(t, path)
	mkimage.Mounted(t, path, false, func(dir string) {
		for i, diff := range manifest.Compare(want, mkimage.Walk(t, dir), ignore) {
			if i > 10 {
				break
			}
			t.Error(diff)
		}
	})
}

// Each layout, filled by the kernel: directories laid out again under the same
// names, then a tree as an encryption would leave it, then all of it undone.
// e2fsck finds nothing each time, and the kernel sees what we meant.
func TestEdits(t *testing.T) {
	for _, r := range mkimage.Rows {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			path, want := mkimage.Build(t, r)
			edit(t, path, func(fs *FS) {
				tr := readTree(t, fs, inoRoot)
				for _, dir := range tr.sorted() {
					setDir(t, fs, dir, tr.dirs[dir], false)
				}
				uninlineAll(t, fs, tr)
			})
			look(t, path, want, 0)

			var undo func(fs *FS)
			var shown map[string][]string
			edit(t, path, func(fs *FS) {
				must(t, fs.SetFeatures([]string{"encrypt"}, nil))
				undo = disguise(t, fs, lookup(t, fs, inoRoot, "secret"))
				shown = noKeyNames(t, fs, lookup(t, fs, inoRoot, "secret"))
			})
			clean(t, path)
			mkimage.Mounted(t, path, false, func(dir string) { compareNoKey(t, filepath.Join(dir, "secret"), shown) })
			edit(t, path, func(fs *FS) {
				undo(fs)
				must(t, fs.SetFeatures(nil, []string{"encrypt"}))
			})
			look(t, path, want, 0)
		})
	}
}

func uninlineAll(t testing.TB, fs *FS, tr tree) {
	for _, ino := range tr.others() {
		if a, err := fs.Stat(ino); err != nil || !a.Inline || a.Type != image.TypeRegular {
			must(t, err)
			continue
		}
		cost, err := fs.CostUninline(ino)
		spend(t, fs, "Uninline", ino, cost, err, func() error { return fs.Uninline(ino) })
	}
}

// disguise gives the tree at top the form of an encrypted one, though nothing
// is encrypted, and returns what undoes it. Of an image without room it
// changes as much as fits.
func disguise(t testing.TB, fs *FS, top image.Ino) (undo func(*FS)) {
	t.Helper()
	tr := readTree(t, fs, top)
	links := map[image.Ino][]byte{}
	for ino, typ := range tr.types {
		if typ == image.TypeSymlink {
			target, err := fs.ReadLink(ino)
			must(t, err)
			links[ino] = target
			stored := append([]byte{0, 0}, cipherLike(target, (max(len(target), 16)+15)&^15)...)
			le.PutUint16(stored, uint16(len(stored)-2))
			cost, err := fs.CostLink(ino, len(stored), true)
			spend(t, fs, "SetLink", ino, cost, err, func() error { return fs.SetLink(ino, stored, true) })
			got, err := fs.ReadLink(ino)
			if err != nil || !bytes.Equal(got, stored) {
				t.Fatalf("symlink %d: %x, %v, want %x", ino, got, err, stored)
			}
		}
	}
	for _, dir := range tr.sorted() {
		long := func(int) int { return maxNameLen }
		mixed := func(i int) int { return 16 + i*16%240 }
		if dir%2 == 0 {
			long, mixed = mixed, long
		}
		setDir(t, fs, dir, renamed(tr.dirs[dir], long), true)
		setDir(t, fs, dir, renamed(tr.dirs[dir], mixed), true)
	}
	for ino, typ := range tr.types {
		if typ.Encrypts() {
			setContext(t, fs, ino)
		}
	}
	return func(fs *FS) {
		for ino, typ := range tr.types {
			if typ.Encrypts() {
				must(t, fs.SetContext(ino, nil))
				if c, err := fs.Context(ino); c != nil || err != nil {
					t.Fatalf("context of inode %d after its removal: %x, %v", ino, c, err)
				}
			}
		}
		for ino, target := range links {
			must(t, fs.SetLink(ino, target, false))
		}
		for _, dir := range tr.sorted() {
			setDir(t, fs, dir, tr.dirs[dir], false)
		}
	}
}

func setContext(t testing.TB, fs *FS, ino image.Ino) {
	t.Helper()
	c := append([]byte{2, 1, 4, 2, 0, 0, 0, 0}, bytes.Repeat([]byte{0x77}, 16)...)
	c = append(c, cipherLike(fmt.Append(nil, ino), 16)...)
	before, err := fs.Xattrs(ino)
	must(t, err)
	cost, err := fs.CostContext(ino, len(c))
	spend(t, fs, "SetContext", ino, cost, err, func() error { return fs.SetContext(ino, c) })
	if got, err := fs.Context(ino); err != nil || !bytes.Equal(got, c) {
		t.Fatalf("context of inode %d: %x, %v, want %x", ino, got, err, c)
	}
	after, err := fs.Xattrs(ino)
	must(t, err)
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("inode %d: xattrs %v, before the context %v", ino, after, before)
	}
}

// noKeyNames are the names that the kernel should list without the key, by
// the no-key path of their directory.
func noKeyNames(t testing.TB, fs *FS, top image.Ino) map[string][]string {
	t.Helper()
	shown := map[string][]string{}
	var walk func(dir image.Ino, path string)
	walk = func(dir image.Ino, path string) {
		must(t, fs.ReadDir(dir, func(d image.Dirent) error {
			name := names.NoKeyName(d.Hash, d.MinorHash, d.Name)
			shown[path] = append(shown[path], name)
			got, err := fs.Lookup(dir, d.Name)
			if err != nil || got.Ino != d.Ino || got.Hash != d.Hash || got.Type != d.Type {
				t.Errorf("lookup of %s in %s: %+v, %v, want %+v", name, path, got, err, d)
			}
			if d.Type == image.TypeDirectory {
				walk(d.Ino, filepath.Join(path, name))
			}
			return nil
		}))
	}
	walk(top, ".")
	return shown
}

func compareNoKey(t testing.TB, root string, shown map[string][]string) {
	t.Helper()
	for path, want := range shown {
		list, err := os.ReadDir(filepath.Join(root, path))
		must(t, err)
		var got []string
		for _, d := range list {
			got = append(got, d.Name())
			if _, err := d.Info(); err != nil { // looks the name up
				t.Errorf("%s: %v", d.Name(), err)
			}
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the kernel lists %d names, we %d: %.200v, %.200v", path, len(got), len(want), got, want)
		}
	}
}
