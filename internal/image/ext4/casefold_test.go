package ext4

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"fsenc/internal/image"
	"fsenc/test/mkimage"
)

// Casefolded directories, which the machine's kernel need not know, judged by
// e2fsck: it folds the names of plain ones itself and compares the stored
// hashes of encrypted ones with the index.
func TestCasefoldedDirectories(t *testing.T) {
	for _, n := range []int{5, 300, 123*4 + 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			path := mkimage.Make(t, rawRow("fold", 32, "-b", "1024", "-O", "casefold,encrypt"))
			var dir image.Ino
			var plain []image.Dirent
			edit(t, path, func(fs *FS) {
				var names [][]byte
				for i := range n {
					names = append(names, fmt.Appendf(nil, "%sÄ %s %d", strings.Repeat("Groß", i%7), []string{"ǅ", "\xff", "K"}[i%3], i))
				}
				dir = linkFarm(t, fs, nil)
				in, err := fs.inode(dir)
				must(t, err)
				in.raw.setFlags(in.raw.flags() | flCasefold)
				must(t, fs.putInode(in))
				file, err := fs.Create(inoRoot, []byte("file"), nil, image.NewFile{Time: stamp})
				must(t, err)
				in, err = fs.inode(file)
				must(t, err)
				in.raw.setLinks(uint16(n + 1))
				must(t, fs.putInode(in))
				for _, name := range names {
					plain = append(plain, image.Dirent{Name: name, Ino: file, Type: image.TypeRegular})
				}
				setDir(t, fs, dir, plain, false)
				findAll(t, fs, dir, plain)
				if indexed(t, fs, dir) {
					t.Error("an index holds names that e2fsck cannot fold")
				}
			})
			clean(t, path)
			edit(t, path, func(fs *FS) {
				for i := range plain {
					plain[i].Name = bytes.ReplaceAll(plain[i].Name, []byte("\xff"), []byte("ŉ"))
				}
				setDir(t, fs, dir, nil, false)
				setDir(t, fs, dir, plain, false)
				findAll(t, fs, dir, plain)
				if n > 5 && !indexed(t, fs, dir) {
					t.Error("no index")
				}
			})
			clean(t, path)

			// The flag may come before the entries, or after them.
			for _, first := range []bool{false, true} {
				edit(t, path, func(fs *FS) {
					setContext(t, fs, plain[0].Ino)
					if first {
						setContext(t, fs, dir)
					}
					es := renamed(plain, func(i int) int { return 200 + i%4*16 })
					must(t, fs.SetDir(dir, es, true))
					setContext(t, fs, dir)
					findAll(t, fs, dir, es)
				})
				clean(t, path)
				edit(t, path, func(fs *FS) {
					must(t, fs.SetContext(plain[0].Ino, nil))
					if first {
						must(t, fs.SetContext(dir, nil))
					}
					must(t, fs.SetDir(dir, plain, false))
					must(t, fs.SetContext(dir, nil))
					findAll(t, fs, dir, plain)
				})
				clean(t, path)
			}
		})
	}
}

func indexed(t testing.TB, fs *FS, dir image.Ino) bool {
	t.Helper()
	in, err := fs.inode(dir)
	must(t, err)
	return in.raw.hasFlag(flIndex)
}

func findAll(t testing.TB, fs *FS, dir image.Ino, es []image.Dirent) {
	t.Helper()
	for _, e := range es {
		if d, err := fs.Lookup(dir, e.Name); err != nil || d.Ino != e.Ino {
			t.Fatalf("lookup of %q: %v, %v", e.Name, d, err)
		}
	}
}

// A new name in a casefolded directory is compared folded.
func TestCreateCasefolded(t *testing.T) {
	path := mkimage.Make(t, rawRow("fold", 16, "-b", "1024", "-O", "casefold"))
	edit(t, path, func(fs *FS) {
		n := image.NewFile{Perm: 0o644, Time: stamp}
		top := linkFarm(t, fs, nil)
		in, err := fs.inode(top)
		must(t, err)
		in.raw.setFlags(in.raw.flags() | flCasefold)
		must(t, fs.putInode(in))
		dir, err := fs.Mkdir(top, []byte("Sub"), n)
		must(t, err)
		if a, err := fs.Stat(dir); err != nil || !a.Casefold {
			t.Errorf("new directory: %+v, %v", a, err)
		}
		for i := range 200 {
			_, err := fs.Create(dir, fmt.Appendf(nil, "Größe %d", i), nil, n)
			must(t, err)
		}
		if _, err := fs.Create(dir, []byte("GRÖSSE 7"), nil, n); err == nil {
			t.Error("made a name twice that is one when folded")
		}
		must(t, fs.Remove(dir, []byte("Größe 9")))
	})
	clean(t, path)
}

// Blocks larger than a page, which this kernel need not mount: at 64 KiB the
// length of a whole block does not fit in its field.
func TestLargeBlocks(t *testing.T) {
	for _, bs := range []int{8192, 32768, 65536} {
		for _, csum := range []string{"metadata_csum", "^metadata_csum"} {
			t.Run(fmt.Sprint(bs, csum), func(t *testing.T) {
				t.Parallel()
				path := mkimage.Make(t, rawRow("large", 128, "-b", fmt.Sprint(bs), "-O", csum))
				var dir image.Ino
				edit(t, path, func(fs *FS) {
					dir = linkFarm(t, fs, longNames(1000))
					_, err := fs.Mkdir(inoRoot, []byte("empty"), image.NewFile{Time: stamp})
					must(t, err)
				})
				clean(t, path)
				edit(t, path, func(fs *FS) {
					for _, name := range longNames(1000)[3:] {
						must(t, fs.Remove(dir, name))
					}
				})
				clean(t, path)
			})
		}
	}
}
