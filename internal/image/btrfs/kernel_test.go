package btrfs

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fsenc/test/linux"
)

// variant is a filesystem as mkfs.btrfs makes it.
type variant struct {
	name string
	mib  int
	args string
}

// variants are the formats of one device. The first few are those that differ
// most.
var variants = []variant{
	{"default", 256, ""},
	{"node4k", 256, "-n 4096"},
	{"old", 256, "-O ^no-holes,^skinny-metadata,^extref -R ^free-space-tree"},
	{"mixed", 128, "-M"},
	{"single", 256, "-m single -d single"},
	{"dup", 256, "-m dup -d dup"},
	{"node64k", 256, "-n 65536"},
	{"sha256", 256, "-n 32768 --csum sha256"},
	{"xxhash", 256, "--csum xxhash"},
	{"blake2", 256, "--csum blake2"},
	{"v1cache", 256, "-R ^free-space-tree"},
	{"holes", 256, "-O ^no-holes"},
	{"noskinny", 256, "-O ^skinny-metadata"},
	{"noextref", 256, "-O ^extref"},
	{"quota", 256, "-R quota"},
	{"raid0", 256, "-d raid0 -m dup"},
}

// some are the variants of a short run.
func some() []variant {
	if testing.Short() {
		return variants[:2]
	}
	return variants
}

func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// build makes an image and lets the kernel fill it.
func build(t testing.TB, v variant) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), v.name)
	if err := os.WriteFile(p, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(p, int64(v.mib)<<20); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.btrfs", append(append([]string{"-q"}, strings.Fields(v.args)...), p)...)
	mounted(t, p, func(dir string) { fill(t, dir, !strings.Contains(v.args, "^extref")) })
	return p
}

// mounted calls f while an image is mounted.
func mounted(t testing.TB, image string, f func(dir string)) {
	t.Helper()
	m, err := linux.MountImage(image, filepath.Join(t.TempDir(), "mnt"), "btrfs", false, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	f(m.Dir)
}

// btrfsCheck lets Debian's checker look at an image.
func btrfsCheck(t testing.TB, image string) {
	t.Helper()
	out := command(t, "btrfs", "check", "--readonly", "--check-data-csum", image)
	if !strings.Contains(out, "no error found") {
		t.Fatal(out)
	}
}

// must panics: the tree below is made with few words, and recovered in fill.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	var seed [32]byte
	seed[0], seed[1] = byte(n), byte(n>>8)
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
	return b
}

// fill makes the subvolume a with everything that edits treat in a way of its
// own, three generations of snapshots of it, and files outside that share its
// extents.
func fill(t testing.TB, top string, extref bool) {
	t.Helper()
	defer func() {
		if e := recover(); e != nil {
			t.Fatalf("fill: %v", e)
		}
	}()
	a := filepath.Join(top, "a")
	command(t, "btrfs", "subvolume", "create", a)
	must(os.Mkdir(filepath.Join(top, "plain"), 0o755))
	fillSizes(a)
	fillExtents(t, a)
	fillNames(t, a, extref)
	unix.Sync()
	clone(filepath.Join(a, "extents/big"), filepath.Join(top, "plain/clone"))
	must(os.WriteFile(filepath.Join(top, "plain/own"), random(70000), 0o600))
	for i := range 3 { // each of the one before, both go on
		from, to := filepath.Join(top, fmt.Sprintf("s%d", i-1)), filepath.Join(top, fmt.Sprintf("s%d", i))
		if i == 0 {
			from = a
		}
		command(t, "btrfs", "subvolume", "snapshot", from, to)
		for j, dir := range []string{a, to} {
			must(os.WriteFile(filepath.Join(dir, fmt.Sprintf("after %d %d", i, j)), random(5000*(i+1)+j), 0o600))
			must(os.Remove(filepath.Join(dir, fmt.Sprintf("many/f%04d", 100*i+j))))
			overwrite(filepath.Join(dir, "extents/big"), 40960*int64(i+2), random(4096*(j+1)))
		}
		unix.Sync()
	}
}

func fillSizes(a string) {
	dir := filepath.Join(a, "sizes")
	must(os.Mkdir(dir, 0o755))
	for _, n := range []int{0, 1, 15, 16, 17, 2047, 2048, 4095, 4096, 4097, 100000} {
		must(os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), random(n), 0o640))
	}
	many := filepath.Join(a, "many")
	must(os.Mkdir(many, 0o755))
	for i := range 900 {
		must(os.WriteFile(filepath.Join(many, fmt.Sprintf("f%04d", i)), random(i%60+1), 0o600))
	}
	holes := filepath.Join(a, "holes") // so many that the free space tree has bitmaps
	must(os.Mkdir(holes, 0o755))
	for i := range 300 {
		must(os.WriteFile(filepath.Join(holes, fmt.Sprint(i)), random(5000), 0o600))
	}
	unix.Sync()
	for i := range 150 {
		must(os.Remove(filepath.Join(holes, fmt.Sprint(2*i))))
	}
	unix.Sync()
}

func fillExtents(t testing.TB, a string) {
	dir := filepath.Join(a, "extents")
	must(os.Mkdir(dir, 0o755))
	name := func(s string) string { return filepath.Join(dir, s) }
	for _, method := range []string{"zlib", "lzo", "zstd"} {
		for _, n := range []int{1500, 300000} {
			p := name(fmt.Sprint(method, n))
			must(os.WriteFile(p, nil, 0o600))
			command(t, "btrfs", "property", "set", p, "compression", method)
			must(os.WriteFile(p, bytes.Repeat([]byte("a line that is there again and again\n"), n/37), 0o600))
		}
	}
	must(os.WriteFile(name("big"), random(3<<20), 0o600))
	unix.Sync()
	clone(name("big"), name("reflink"))
	overwrite(name("reflink"), 1<<20, random(8192))
	must(os.WriteFile(name("popular"), random(20000), 0o600))
	unix.Sync()
	for i := range 60 { // more references than have room in an item
		clone(name("popular"), name(fmt.Sprint("copy", i)))
	}
	punch(name("big"), 1<<19, 16384)
	must(os.WriteFile(name("prealloc"), nil, 0o600))
	fallocate(name("prealloc"), 0, 0, 1<<20)
	overwrite(name("prealloc"), 1<<18, random(20000))
	must(os.WriteFile(name("nocow"), nil, 0o600))
	command(t, "chattr", "+C", name("nocow"))
	overwrite(name("nocow"), 0, random(50000))
	must(os.WriteFile(name("sparse"), nil, 0o600))
	overwrite(name("sparse"), 300000, random(10000))
	must(os.Truncate(name("sparse"), 900000))
	must(unix.Setxattr(name("sparse"), "user.note", random(300), 0))
}

func fillNames(t testing.TB, a string, extref bool) {
	dir := filepath.Join(a, "names")
	must(os.Mkdir(dir, 0o755))
	for _, n := range []int{1, 15, 16, 17, 100, 255} {
		must(os.WriteFile(filepath.Join(dir, strings.Repeat("n", n)), random(n), 0o600))
	}
	links := 3
	if extref {
		links = 300
	}
	one := filepath.Join(a, "links")
	must(os.Mkdir(one, 0o755))
	must(os.WriteFile(filepath.Join(one, "file"), random(12000), 0o600))
	for i := range links {
		must(os.Link(filepath.Join(one, "file"), filepath.Join(one, fmt.Sprintf("%s%03d", strings.Repeat("long", 30), i))))
	}
	must(os.Link(filepath.Join(one, "file"), filepath.Join(dir, "elsewhere")))
	for _, n := range []int{1, 15, 16, 500, 2000, 3900} {
		must(os.Symlink(strings.Repeat("t", n), filepath.Join(dir, fmt.Sprint("link", n))))
	}
	must(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	must(unix.Mknod(filepath.Join(dir, "device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	command(t, "btrfs", "subvolume", "create", filepath.Join(dir, "nested"))
	must(os.WriteFile(filepath.Join(dir, "nested/inside"), random(9000), 0o600))
	must(os.MkdirAll(filepath.Join(dir, "deep/deeper/deepest"), 0o755))
}

func open1(p string, flags int) int {
	fd, err := unix.Open(p, flags, 0o600)
	must(err)
	return fd
}

func clone(from, to string) {
	src, dst := open1(from, unix.O_RDONLY), open1(to, unix.O_RDWR|unix.O_CREAT)
	defer unix.Close(src)
	defer unix.Close(dst)
	must(unix.IoctlFileClone(dst, src))
}

func overwrite(p string, off int64, b []byte) {
	fd := open1(p, unix.O_RDWR)
	defer unix.Close(fd)
	_, err := unix.Pwrite(fd, b, off)
	must(err)
	must(unix.Fsync(fd))
}

func fallocate(p string, mode uint32, off, n int64) {
	fd := open1(p, unix.O_RDWR)
	defer unix.Close(fd)
	must(unix.Fallocate(fd, mode, off, n))
}

func punch(p string, off, n int64) {
	fallocate(p, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

// look lists a mounted tree: for each path what stat says and the contents.
func look(t testing.TB, top string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("mode %o owner %d:%d links %d device %d changed %v", st.Mode, st.Uid, st.Gid, st.Nlink, st.Rdev, st.Mtim)
		switch d.Type() {
		case 0:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d bytes %x", len(b), sha256.Sum256(b))
		case fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " to " + target
		}
		rel, _ := filepath.Rel(top, p) // both are absolute
		if st.Ino == 2 {               // where a subvolume was when the snapshot was made; the kernel makes up the times
			line = "placeholder"
		}
		out[rel] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameTree(t testing.TB, when string, want, got map[string]string) {
	t.Helper()
	n := 0
	for p, line := range want {
		if got[p] != line {
			t.Errorf("%s: %q: %s, want %s", when, p, got[p], line)
			if n++; n > 10 {
				t.FailNow()
			}
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d paths, want %d", when, len(got), len(want))
	}
}
