package linux

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of f2fs, as linux/f2fs.h has them.
const (
	f2fsIocSetPin      = 0x4004f50d // F2FS_IOC_SET_PIN_FILE
	f2fsIocRelease     = 0x8008f512 // F2FS_IOC_RELEASE_COMPRESS_BLOCKS
	f2fsIocSetCompress = 0x4002f516 // F2FS_IOC_SET_COMPRESS_OPTION

)

// f2fs makes what f2fs treats in ways of its own: payloads around the room in
// an inode, with each geometry of it, directories that stay in the inode or
// grow out of it, attributes around the room for a context, and nodes of every
// level.
func (f *filler) f2fs() {
	f.inlineSizes()
	f.inlineLinks()
	f.inlineDirs()
	f.thousandNames()
	f.attributeRoom()
	f.nodes()
	if f.Pinned {
		f.pinned()
	}
	if f.Compress {
		f.compressed()
	}
}

// inlineSizes are files around the largest payload of an inode: 3488 bytes and
// so on, less where there are extra attributes, more without inline xattrs.
func (f *filler) inlineSizes() {
	dir := f.dir(f.name("-inline"))
	for _, n := range []int{
		14, 16, 17, 31, 32, 3439, 3440, 3441, 3451, 3452, 3453, 3487, 3488, 3489,
		3571, 3572, 3573, 3651, 3652, 3653, 3679, 3680, 3681, 3687, 3688, 3689, 4095,
	} {
		f.file(filepath.Join(dir, fmt.Sprintf("%s-%d", f.name("-payload"), n)), f.contents(fmt.Sprint("payload", n), n))
	}
	f.open(filepath.Join(dir, f.name("-shrunk")), func(o *os.File) {
		f.piece(o, 0, 3000)
		f.do(o.Truncate(10))
	})
	f.open(filepath.Join(dir, f.name("-emptied")), func(o *os.File) {
		f.piece(o, 0, 3000)
		f.do(o.Truncate(0))
	})
	f.open(filepath.Join(dir, f.name("-hole alone")), func(o *os.File) { f.do(o.Truncate(2000)) })
}

// inlineLinks are targets around the room in an inode, and up to the longest
// one that has room for encryption: 4093 bytes. A tree that is not mounted has
// none beyond an inode: sload.f2fs 1.15 counts their blocks wrong.
func (f *filler) inlineLinks() {
	dir := f.dir(f.name("-long links"))
	sizes := []int{3400, 3440, 3451, 3452, 3488, 3570, 3650, 3652, 3684, 3688, 3700, 4064, 4093}
	if f.NotMounted {
		sizes = sizes[:1]
	}
	for _, n := range sizes {
		target := strings.Repeat(f.mark()+"/", n/len(f.mark())+1)[:n]
		f.do(os.Symlink(target, filepath.Join(dir, fmt.Sprintf("%s-%d", f.name("-link"), n))))
	}
}

// inlineDirs are directories that fill the inode in part, once encrypted in
// full, or now. All names are links of one file.
func (f *filler) inlineDirs() {
	one := filepath.Join(f.dir(f.name("-dirs")), f.name("-one"))
	f.file(one, []byte(f.mark()))
	for _, n := range []int{1, 20, 86, 87, 88, 89, 90, 150, 176, 178, 184, 211, 213} {
		dir := f.dir(f.name("-dirs"), fmt.Sprintf("%s-%d", f.name("-names"), n))
		for i := range n {
			f.do(os.Link(one, filepath.Join(dir, fmt.Sprintf("%s%03x", f.name(""), i))))
		}
	}
}

// thousandNames is a directory of several levels of hash buckets.
func (f *filler) thousandNames() {
	dir := f.dir(f.name("-thousands"))
	for i := range 150 {
		name := func(link int) string {
			return filepath.Join(dir, f.name(fmt.Sprintf("-%d %d%s", link, i, strings.Repeat("x", (i*7+link*31)%90))))
		}
		f.file(name(0), nil)
		for link := 1; link < 8; link++ {
			f.do(os.Link(name(0), name(link)))
		}
	}
	// Blocks without an entry stay where these were.
	for i := range 300 {
		f.file(filepath.Join(dir, f.name(fmt.Sprint("-short-lived ", i))), nil)
	}
	for i := range 300 {
		f.do(os.Remove(filepath.Join(dir, f.name(fmt.Sprint("-short-lived ", i)))))
	}
}

// attributeRoom leaves exactly the 48 bytes of a context in the inode, a few
// bytes more and fewer, and none.
func (f *filler) attributeRoom() {
	dir := f.dir(f.name("-room"))
	for _, n := range []int{0, 3, 4, 27, 50, 107, 122, 123, 124, 131, 168, 170, 171, 172, 175, 300, 3000, 3900} {
		full := filepath.Join(dir, fmt.Sprintf("%s-%d", f.name("-value"), n))
		f.file(full, f.contents(fmt.Sprint("value", n), 50))
		f.do(unix.Lsetxattr(full, "user.x", bytes.Repeat([]byte("v"), n), 0))
	}
	sub := f.dir(f.name("-room"), f.name("-directory"))
	f.do(unix.Lsetxattr(sub, "user.x", bytes.Repeat([]byte("w"), 3500), 0))
}

// nodes puts blocks behind each direct, indirect and double indirect node; a
// tree that is not mounted keeps to what a copy without holes can hold.
func (f *filler) nodes() {
	const block = 4096
	at := []int64{0, 900, 1000, 2000, 2900}
	if !f.NotMounted {
		const indirect = 1018 * 1018
		at = append(at, 3500, 5000, 3500+indirect, 3500+2*indirect, 6000+2*indirect)
	}
	f.open(filepath.Join(f.dir(f.name("-nodes")), f.name("-far")), func(o *os.File) {
		for _, b := range at {
			f.piece(o, b*block+7, 5000)
		}
	})
}

func (f *filler) pinned() {
	dir := f.dir(f.name("-pinned"))
	pin := func(o *os.File) {
		on := uint32(1)
		f.do(ioctl(int(o.Fd()), f2fsIocSetPin, unsafe.Pointer(&on)))
	}
	f.open(filepath.Join(dir, f.name("-written")), func(o *os.File) { f.piece(o, 0, 30_000); pin(o) })
	f.open(filepath.Join(dir, f.name("-allocated")), func(o *os.File) {
		pin(o)
		f.allocate(o, 0, 0, 100_000)
		f.piece(o, 8192, 5000)
	})
}

// compressed makes files of each algorithm: clusters that shrink and that do
// not, holes between them, ends within them, and one whose saved blocks are
// released.
func (f *filler) compressed() {
	for algorithm, name := range []string{"-lzo", "-lz4", "-zstd", "-lzo-rle"} {
		dir := f.dir(f.name("-compressed"), f.name(name))
		f.do(SetFlags(dir, FlagCompress, 0))
		at := func(name string, logCluster uint8, then func(*os.File)) {
			f.open(filepath.Join(dir, f.name(name)), func(o *os.File) {
				option := [2]uint8{uint8(algorithm), logCluster}
				f.do(ioctl(int(o.Fd()), f2fsIocSetCompress, unsafe.Pointer(&option)))
				then(o)
				f.do(o.Sync())
			})
		}
		at("-small", 2, func(o *os.File) { f.piece(o, 0, 100) })
		at("-one cluster", 2, func(o *os.File) { f.piece(o, 0, 16384) })
		at("-many", 2, func(o *os.File) { f.piece(o, 0, 300_001) })
		at("-large clusters", 4, func(o *os.File) { f.piece(o, 0, 200_000) })
		at("-holes", 3, func(o *os.File) { f.piece(o, 0, 40_000); f.piece(o, 200_000, 40_000) })
		at("-noise", 2, func(o *os.File) { f.write(o, noise(50_000)); f.piece(o, 65536, 20_000) })
		at("-cut", 2, func(o *os.File) { f.piece(o, 0, 60_000); f.do(o.Sync()); f.do(o.Truncate(37_000)) })
		at("-released", 2, func(o *os.File) {
			f.piece(o, 0, 100_000)
			f.do(o.Sync())
			var blocks uint64
			f.do(ioctl(int(o.Fd()), f2fsIocRelease, unsafe.Pointer(&blocks)))
		})
	}
}

func (f *filler) write(o *os.File, b []byte) {
	_, err := o.WriteAt(b, 0)
	f.do(err)
}

// noise is what no algorithm makes smaller.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}
