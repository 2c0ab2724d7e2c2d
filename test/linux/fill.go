package linux

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Words that stand in every name, in every file and in every link target of a
// tree that Fill makes under the name "secret", and nowhere else: once the
// tree is encrypted an image holds none of them.
const (
	MarkName     = "hush"
	MarkContents = "PLAINTEXT OF A SECRET FILE"
	MarkTarget   = "whisper"
)

// Tree tells Fill what the filesystem under the tree can hold.
type Tree struct {
	BlockSize int
	// BigXattr is the size of the largest xattr value in bytes, 0 for what a
	// block holds: larger values need ea_inode.
	BigXattr int
	// Triple puts a block where a block map of 1 KiB blocks needs a triple
	// indirect block.
	Triple bool
	// Verity makes fs-verity files, Casefold folding directories.
	Verity, Casefold bool
	// Projects gives files and directories project ids.
	Projects bool
	// F2FS makes what f2fs treats in ways of its own; with it, Pinned makes
	// files whose blocks must not move, and Compress compressed ones.
	F2FS, Pinned, Compress bool
	// NotMounted leaves out what a directory on another filesystem would not
	// hand on to mke2fs -d: flags, and ranges without data.
	NotMounted bool
}

// filler makes one tree and remembers its first error.
type filler struct {
	Tree
	root   string
	marked bool // names and contents carry the marks
	err    error
}

// Fill makes the directory root and in it every kind of inode and every size
// that a conversion treats in a way of its own. The same call makes the same
// tree, but for inode numbers and change times. A tree whose root is called
// "secret" carries the marks.
func Fill(root string, t Tree) error {
	f := &filler{Tree: t, root: root, marked: filepath.Base(root) == "secret"}
	f.do(os.Mkdir(root, 0o755))
	f.sizes()
	f.holes()
	f.manyNames()
	f.names()
	f.links()
	f.hardLinks()
	f.special()
	f.attributes()
	f.modes()
	f.deep()
	if t.F2FS {
		f.f2fs()
	}
	if t.Casefold {
		f.casefold()
	}
	if t.Verity {
		f.verity()
	}
	if t.Projects {
		f.projects()
	}
	flagged := f.flagged()
	f.times()
	// Flags come last: an immutable file cannot be touched any more.
	for full, flag := range flagged {
		f.do(SetFlags(full, flag, 0))
	}
	return f.err
}

func (f *filler) do(err error) {
	if f.err == nil {
		f.err = err
	}
}

// name gives a name the mark if the tree has marks.
func (f *filler) name(s string) string {
	if f.marked {
		return MarkName + s
	}
	return s
}

// dir makes a directory and returns its path.
func (f *filler) dir(elem ...string) string {
	full := filepath.Join(append([]string{f.root}, elem...)...)
	f.do(os.MkdirAll(full, 0o755))
	return full
}

func (f *filler) file(full string, data []byte) {
	f.do(os.WriteFile(full, data, 0o644))
}

// contents returns n bytes that depend on seed, a mark in each 128 of them.
func (f *filler) contents(seed string, n int) []byte {
	mark := "contents of a file that stays as it is"
	if f.marked {
		mark = MarkContents
	}
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", seed, i))
		fmt.Fprintf(&b, "%-64.64s", fmt.Sprintf("%s %s", mark, seed))
		fmt.Fprintf(&b, "%x", sum)
	}
	return b.Bytes()[:n]
}

func (f *filler) sizes() {
	bs := f.BlockSize
	dir := f.dir(f.name("-sizes"))
	for _, n := range []int{0, 1, 15, 60, 61, 100, 156, 157, 500, bs - 1, bs, bs + 1, 2 * bs, 3*bs + 7, 12*bs + 1, 65536, 300001, 1500000} {
		full := filepath.Join(dir, fmt.Sprintf("%s-%d", f.name("-size"), n))
		f.file(full, f.contents(fmt.Sprint("size", n), n))
	}
}

// piece writes n marked bytes at off.
func (f *filler) piece(file *os.File, off int64, n int) {
	_, err := file.WriteAt(f.contents(fmt.Sprint(file.Name()[len(f.root):], off), n), off)
	f.do(err)
}

func (f *filler) open(full string, then func(*os.File)) {
	file, err := os.Create(full)
	if err != nil {
		f.do(err)
		return
	}
	then(file)
	f.do(file.Close())
}

func (f *filler) holes() {
	bs := int64(f.BlockSize)
	dir := f.dir(f.name("-holes"))
	at := func(name string, then func(*os.File)) { f.open(filepath.Join(dir, f.name(name)), then) }
	at("-front", func(o *os.File) { f.piece(o, 5*bs, 100) })
	at("-middle", func(o *os.File) { f.piece(o, 0, 100); f.piece(o, 9*bs+3, int(bs)) })
	at("-end", func(o *os.File) { f.piece(o, 0, int(bs)+1); f.do(o.Truncate(20*bs + 1)) })
	at("-all", func(o *os.File) { f.do(o.Truncate(7*bs + 5)) })
	at("-comb", func(o *os.File) { // an extent tree with leaves of its own
		for i := range int64(60) {
			f.piece(o, 2*i*bs, int(bs))
		}
	})
	at("-far", func(o *os.File) { // doubly indirect
		for _, off := range []int64{0, 13 * bs, 300 * bs, 5 << 20} {
			f.piece(o, off, int(bs)/2)
		}
		if f.Triple {
			f.piece(o, 70<<20, int(bs)/2)
		}
	})
	at("-truncated", func(o *os.File) { // an old tail beyond the end in the last block
		f.piece(o, 0, 3*int(bs))
		f.do(o.Truncate(2*bs - 10))
	})
	if f.NotMounted {
		return
	}
	at("-unwritten", func(o *os.File) { f.allocate(o, 0, 0, 8*bs); f.piece(o, 3*bs, 50) })
	at("-beyond", func(o *os.File) { f.piece(o, 0, 10); f.allocate(o, unix.FALLOC_FL_KEEP_SIZE, 0, 16*bs) })
	at("-allocated", func(o *os.File) { f.allocate(o, unix.FALLOC_FL_KEEP_SIZE, 0, 4*bs) })
}

// allocate does nothing where blocks cannot be unwritten: in block maps.
func (f *filler) allocate(o *os.File, mode uint32, off, n int64) {
	if err := unix.Fallocate(int(o.Fd()), mode, off, n); !errors.Is(err, unix.EOPNOTSUPP) {
		f.do(err)
	}
}

func (f *filler) manyNames() {
	dir := f.dir(f.name("-many"))
	for i := range 300 {
		f.file(filepath.Join(dir, fmt.Sprintf("%s with a long name %04d", f.name("-file"), i)), nil)
	}
}

func (f *filler) names() {
	dir := f.dir(f.name("-names"))
	for _, n := range []int{1, 2, 3, 15, 16, 17, 31, 32, 33, 48, 49, 63, 64, 65, 127, 128, 200, 239, 240, 241, 250, 254, 255} {
		name := (f.name("-") + strings.Repeat(string(rune('a'+n%26)), 255))[:n]
		f.file(filepath.Join(dir, name), []byte(f.name(fmt.Sprint(n))))
	}
	for _, s := range []string{"ÄÖÜ ß", "日本語", "\xff\xfe not UTF-8", "line\nbreak", "esc\x1b[31m", " spaces ", "-dash", "semi;colon$", "back\\slash"} {
		f.file(filepath.Join(dir, f.name(s)), []byte(f.name(s)))
	}
}

// mark is the word of link targets.
func (f *filler) mark() string {
	if f.marked {
		return MarkTarget
	}
	return "target"
}

func (f *filler) links() {
	dir, mark := f.dir(f.name("-links")), f.mark()
	for _, n := range []int{1, 2, 13, 14, 40, 55, 57, 58, 59, 60, 61, 80, 200, 900} {
		target := strings.Repeat(mark+"/", n/len(mark)+1)[:n]
		f.do(os.Symlink(target, filepath.Join(dir, fmt.Sprintf("%s-%d", f.name("-link"), n))))
	}
}

func (f *filler) hardLinks() {
	dir, sub := f.dir(f.name("-hard")), f.dir(f.name("-hard"), f.name("-sub"))
	one := filepath.Join(dir, f.name("-one"))
	f.file(one, f.contents("hard link", 5000))
	f.do(os.Link(one, filepath.Join(dir, f.name("-two"))))
	f.do(os.Link(one, filepath.Join(sub, f.name("-three"))))
	link := filepath.Join(dir, f.name("-symlink"))
	f.do(os.Symlink("x", link))
	f.do(os.Link(link, filepath.Join(sub, f.name("-symlink again"))))
	fifo := filepath.Join(sub, f.name("-fifo"))
	f.do(unix.Mkfifo(fifo, 0o600))
	f.do(os.Link(fifo, filepath.Join(dir, f.name("-fifo again"))))
}

func (f *filler) special() {
	dir := f.dir(f.name("-special"))
	at := func(name string) string { return filepath.Join(dir, f.name(name)) }
	f.do(unix.Mkfifo(at("-fifo"), 0o640))
	f.do(unix.Mknod(at("-null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	f.do(unix.Mknod(at("-disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 300))))
	f.do(unix.Mknod(at("-socket"), unix.S_IFSOCK|0o755, 0))
}

// acl is a POSIX ACL as the xattr holds it: version 2, then tag, permission
// and id of u::rw-, u:1000:r--, g::r--, m::r--, o::---.
var acl = []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255}

func (f *filler) attributes() {
	dir := f.dir(f.name("-attributes"))
	set := func(name, attr string, value []byte) {
		full := filepath.Join(dir, f.name(name))
		if _, err := os.Lstat(full); err != nil {
			f.file(full, f.contents(name, 700))
		}
		f.do(unix.Lsetxattr(full, attr, value, 0))
	}
	set("-small", "user.small", []byte("v"))
	set("-small", "user.empty", nil)
	set("-small", "trusted.other", []byte("trusted"))
	set("-acl", "system.posix_acl_access", acl)
	for i := range 6 { // equal and too big for an inode: one block for all
		set(fmt.Sprint("-shared", i), "user.shared", bytes.Repeat([]byte("s"), 300))
	}
	set("-several", "security.first", bytes.Repeat([]byte("1"), 90))
	set("-several", "user.second", bytes.Repeat([]byte("2"), 90))
	set("-several", "user.third", bytes.Repeat([]byte("3"), 90))
	if f.BigXattr > 0 {
		set("-big", "user.big", bytes.Repeat([]byte("b"), f.BigXattr))
		set("-big too", "user.big", bytes.Repeat([]byte("b"), f.BigXattr))
	}
	sub := f.dir(f.name("-attributes"), f.name("-default acl"))
	f.do(unix.Lsetxattr(sub, "system.posix_acl_default", acl, 0))
	f.do(unix.Lsetxattr(sub, "user.dir", bytes.Repeat([]byte("d"), 200), 0))
	link := filepath.Join(dir, f.name("-link"))
	f.do(os.Symlink("target", link))
	f.do(unix.Lsetxattr(link, "trusted.link", []byte("on a link"), 0))
	fifo := filepath.Join(dir, f.name("-fifo"))
	f.do(unix.Mkfifo(fifo, 0o600))
	f.do(unix.Lsetxattr(fifo, "trusted.fifo", []byte("on a fifo"), 0))
}

func (f *filler) modes() {
	dir := f.dir(f.name("-modes"))
	for _, m := range []struct {
		name     string
		mode     os.FileMode
		uid, gid int
	}{
		{"-setuid", 0o755 | os.ModeSetuid, 1000, 70000}, {"-setgid", 0o750 | os.ModeSetgid, 0, 5},
		{"-none", 0, 65534, 65534}, {"-big ids", 0o644, 4000000000, 65536},
	} {
		full := filepath.Join(dir, f.name(m.name))
		f.file(full, []byte(f.name(m.name)))
		f.do(os.Chown(full, m.uid, m.gid))
		f.do(os.Chmod(full, m.mode))
	}
	f.do(os.Chmod(f.dir(f.name("-modes"), f.name("-sticky")), 0o777|os.ModeSticky))
}

func (f *filler) deep() {
	elem := []string{f.name("-deep")}
	for i := range 25 {
		elem = append(elem, f.name(fmt.Sprint("-level", i)))
	}
	dir := f.dir(elem...)
	f.file(filepath.Join(dir, f.name("-leaf")), f.contents("leaf", 3000))
	f.dir(f.name("-deep"), f.name("-empty directory"))
}

func (f *filler) casefold() {
	dir := f.dir(f.name("-Folding"))
	f.do(SetFlags(dir, FlagCasefold, 0))
	for i := range 120 {
		f.file(filepath.Join(dir, fmt.Sprintf("%s NUMBER %d", f.name("-Größe"), i)), nil)
	}
	f.file(filepath.Join(dir, f.name("-SS ẞ ΣΑΣ İ")), []byte("x"))
	f.file(filepath.Join(f.dir(f.name("-Folding"), f.name("-Below")), f.name("-File")), f.contents("folded", 100))
	// With padding these leave no room for a hash behind the name in an inode.
	for _, n := range []int{200, 224, 225, 240, 245} {
		f.file(filepath.Join(dir, (f.name("-Long ") + strings.Repeat("Ab", 255))[:n]), nil)
	}
	f.do(SetFlags(f.dir(f.name("-Empty folding")), FlagCasefold, 0))
}

func (f *filler) verity() {
	dir := f.dir(f.name("-verity"))
	for _, n := range []int{0, 5, 4096, 70000, 3 << 20} {
		full := filepath.Join(dir, fmt.Sprintf("%s-%d", f.name("-verity"), n))
		f.file(full, f.contents(fmt.Sprint("verity", n), n))
		f.do(EnableVerity(full, 4096))
	}
}

func (f *filler) projects() {
	dir := f.dir(f.name("-project"))
	f.do(SetProject(dir, 42))
	full := filepath.Join(dir, f.name("-in project 7"))
	f.file(full, f.contents("project", 9000))
	f.do(SetProject(full, 7))
}

// flagged makes files and returns the flags they are to have.
func (f *filler) flagged() map[string]uint32 {
	if f.NotMounted {
		return nil
	}
	dir := f.dir(f.name("-flags"))
	flags := make(map[string]uint32)
	for name, flag := range map[string]uint32{"-immutable": FlagImmutable, "-append": FlagAppend} {
		full := filepath.Join(dir, f.name(name))
		f.file(full, f.contents(name, 2000))
		flags[full] = flag
	}
	return flags
}

// times gives every inode a time of its own, directories last.
func (f *filler) times() {
	var dirs []string
	stamp := time.Unix(1_600_000_000, 123_456_789)
	set := func(full string) {
		stamp = stamp.Add(time.Second + 1000)
		ts := unix.NsecToTimespec(stamp.UnixNano())
		f.do(unix.UtimesNanoAt(unix.AT_FDCWD, full, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
	f.do(filepath.WalkDir(f.root, func(full string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, full)
			return nil
		}
		set(full)
		return nil
	}))
	for i := len(dirs) - 1; i >= 0; i-- {
		set(dirs[i])
	}
}
