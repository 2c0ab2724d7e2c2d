package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fsenc/test/linux"
)

// fillBtrfs makes the trees, and in each what btrfs treats in ways of its own.
func fillBtrfs(t *testing.T, dir string, r btrfsRow) {
	t.Helper()
	for _, name := range []string{"secret", "plain"} {
		root := filepath.Join(dir, name)
		if err := linux.Fill(root, linux.Tree{BlockSize: 4096, BigXattr: 3000}); err != nil {
			t.Fatal(err)
		}
		f := &btrfsFiller{t: t, root: root, mark: name == "secret"}
		f.shared()
		f.inlineSizes()
		if r.options != "nodatasum" { // the kernel does not compress then
			f.compressed()
		}
		f.splits()
		f.lengths()
		f.hardLinks(r)
		f.targets(r)
		f.many()
	}
}

// btrfsFiller fills one tree. With mark, names and contents say so.
type btrfsFiller struct {
	t    *testing.T
	root string
	mark bool
}

func (f *btrfsFiller) do(errs ...error) {
	f.t.Helper()
	if err := errors.Join(errs...); err != nil {
		f.t.Fatal(err)
	}
}

// at is the path of a name in a directory, which it makes.
func (f *btrfsFiller) at(dir, name string) string {
	f.t.Helper()
	if f.mark {
		dir, name = linux.MarkName+dir, linux.MarkName+name
	}
	full := filepath.Join(f.root, dir)
	f.do(os.MkdirAll(full, 0o755))
	return filepath.Join(full, name)
}

func (f *btrfsFiller) text(n int) []byte {
	line := "nothing to hide in here\n"
	if f.mark {
		line = linux.MarkContents + " here\n"
	}
	return []byte(strings.Repeat(line, n/len(line)+1)[:n])
}

func (f *btrfsFiller) file(full string, n int) { f.do(os.WriteFile(full, f.text(n), 0o640)) }

func (f *btrfsFiller) sync() { f.do(exec.Command("sync", "-f", f.root).Run()) }

// shared are files that share extents, whole and in part, one of them with more
// references than have room in an item, and parts of extents written over.
func (f *btrfsFiller) shared() {
	base, popular := f.at("-shared", "-base"), f.at("-shared", "-popular")
	f.file(base, 500_000)
	f.file(popular, 20_000)
	f.sync()
	f.do(
		reflink(base+" whole", base, 0, 0, 0),
		reflink(base+" in part", base, 65536, 131072, 8192),
		reflink(base, base, 0, 16384, 400*1024),
	)
	for i := range 60 {
		f.do(reflink(fmt.Sprint(popular, i), popular, 0, 0, 0))
	}
	f.sync()
	f.do(overwrite(base, 40960, 12288))
}

// inlineSizes are files around the largest that lies in an item.
func (f *btrfsFiller) inlineSizes() {
	for _, n := range []int{1, 15, 16, 17, 2047, 2048, 2049, 4095, 4096, 4097} {
		f.file(f.at("-inline", fmt.Sprint("-", n)), n)
	}
	grown := f.at("-inline", "-then allocated")
	f.file(grown, 100)
	f.sync()
	f.do(allocate(grown, unix.FALLOC_FL_KEEP_SIZE, 0, 50_000))
}

// compressed are extents of each method, in items and out of them, whole and
// shared in part.
func (f *btrfsFiller) compressed() {
	for _, method := range []string{"zlib", "lzo", "zstd"} {
		for _, n := range []int{1500, 300_000} {
			full := f.at("-compressed", fmt.Sprint("-", method, " ", n))
			f.file(full, 0)
			tool(f.t, "btrfs", "property", "set", full, "compression", method)
			f.file(full, n)
		}
		large := f.at("-compressed", fmt.Sprint("-", method, " 300000"))
		f.sync()
		f.do(reflink(large+" in part", large, 65536, 65536, 4096), overwrite(large, 131072, 4096))
	}
}

// splits are extents that were allocated and written in the middle, punched, cut
// short, and written over where nothing is copied.
func (f *btrfsFiller) splits() {
	allocated, punched, cut, inPlace := f.at("-splits", "-allocated"), f.at("-splits", "-punched"), f.at("-splits", "-cut"), f.at("-splits", "-nocow")
	f.file(allocated, 0)
	f.do(allocate(allocated, 0, 0, 1<<20), overwrite(allocated, 1<<18, 20_000))
	f.file(punched, 200_000)
	f.file(cut, 200_000)
	f.file(inPlace, 0)
	f.do(linux.SetFlags(inPlace, linux.FlagNoCOW, 0), overwrite(inPlace, 0, 100_000))
	f.sync()
	f.do(
		allocate(punched, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 50_000, 60_000),
		os.Truncate(cut, 77_777),
		overwrite(inPlace, 32768, 8192),
	)
}

// lengths are names of all lengths that there are.
func (f *btrfsFiller) lengths() {
	dir := filepath.Dir(f.at("-lengths", ""))
	for n := 1; n <= 255; n++ {
		f.do(os.WriteFile(filepath.Join(dir, fmt.Sprintf("%.*s", n, fmt.Sprintf("%03d%s", n, strings.Repeat("l", 252)))), nil, 0o600))
	}
}

// hardLinks are more names of an inode than have room in an item.
func (f *btrfsFiller) hardLinks(r btrfsRow) {
	links := 300
	if !r.has("extref") {
		links = 10
	}
	one := f.at("-linked", "-one")
	f.file(one, 9000)
	for i := range links {
		f.do(os.Link(one, f.at("-linked", fmt.Sprintf("-%s%03d", strings.Repeat("long", 30), i))))
	}
	f.do(os.Link(one, f.at("-linked too", "-elsewhere")))
}

// targets are symlinks up to the longest one that has room for encryption.
func (f *btrfsFiller) targets(r btrfsRow) {
	longest := 4064 // btrfs check takes no more; TestBtrfsLongestTargets
	if strings.Contains(strings.Join(r.mkfs, " "), "-n 4096") {
		longest = 3947
	}
	for _, n := range []int{1, 15, 16, 17, 2000, longest - 14, longest} {
		word := "target/"
		if f.mark {
			word = linux.MarkTarget + "/"
		}
		f.do(os.Symlink(strings.Repeat(word, n/len(word)+1)[:n], f.at("-targets", fmt.Sprint("-", n))))
	}
}

// many is a directory of leaves and leaves.
func (f *btrfsFiller) many() {
	for i := range 1500 {
		f.do(os.WriteFile(f.at("-thousands", fmt.Sprintf("-one of them %d", i*7919%1500)), nil, 0o600))
	}
}

func allocate(full string, mode uint32, off, n int64) error {
	o, err := os.OpenFile(full, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fallocate(int(o.Fd()), mode, off, n), o.Close())
}

// reflink makes dst a reflink of src, or of length bytes of it from an offset.
func reflink(dst, src string, from, length, to uint64) error {
	s, err := os.Open(src)
	if err != nil {
		return err
	}
	defer s.Close()
	d, err := os.OpenFile(dst, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	r := &unix.FileCloneRange{Src_fd: int64(s.Fd()), Src_offset: from, Src_length: length, Dest_offset: to}
	return errors.Join(unix.IoctlFileCloneRange(int(d.Fd()), r), d.Close())
}

// overwrite writes n bytes in the middle of a file.
func overwrite(name string, off int64, n int) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(strings.Repeat("over", n/4)), off)
	return errors.Join(err, f.Close())
}
