package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openFile opens the image at path until the test ends or close is called.
func openFile(t testing.TB, path string, o Options) (fs *FS, close func()) {
	t.Helper()
	f, err := store.OpenFile(path, o.Write)
	// A command that another test is just starting shares our open files, and
	// their locks, until it runs.
	for range 100 {
		if !errors.Is(err, store.ErrLocked) {
			break
		}
		time.Sleep(10 * time.Millisecond)
		f, err = store.OpenFile(path, o.Write)
	}
	must(t, err)
	closed := false
	close = func() {
		if !closed {
			closed = true
			must(t, f.Close())
		}
	}
	t.Cleanup(close)
	fs, err = Open(f, o)
	must(t, err)
	return fs, close
}

// edit opens the image at path for writing, calls f, flushes and closes.
func edit(t testing.TB, path string, f func(fs *FS)) {
	t.Helper()
	fs, close := openFile(t, path, Options{Write: true, AllowUnfinished: true})
	f(fs)
	must(t, fs.Flush())
	close()
}

// e2tool runs a command of e2fsprogs on the image at path.
func e2tool(t testing.TB, path, name string, args ...string) string {
	t.Helper()
	if full, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		name = full
	}
	out, err := exec.Command(name, append(args, path)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v %s: %v\n%s", name, args, filepath.Base(path), err, out)
	}
	return string(out)
}

// audit compares the block bitmaps with what inodes and groups use: each
// block has one owner, and what has none is free. It returns the number of
// inodes with a mapping.
func audit(t testing.TB, fs *FS) int {
	t.Helper()
	owner := make([]bool, fs.geo.blocks)
	mark := func(who string, p image.Pblk, n uint64) {
		for i := range n {
			if owner[uint64(p)+i] {
				t.Errorf("%s: block %d has another owner", who, uint64(p)+i)
			}
			owner[uint64(p)+i] = true
		}
	}
	must(t, fs.loadSystem())
	for _, r := range fs.system {
		mark("system", image.Pblk(r.start), r.end-r.start)
	}
	mapped := 0
	xattrs := map[image.Pblk]bool{}
	must(t, fs.Inodes(func(a image.Attr, err error) error {
		must(t, err)
		mapped += auditInode(t, fs, a, mark, xattrs)
		return nil
	}))
	if mmp := image.Pblk(fs.sb.mmpBlock()); fs.sb.hasIncompat(incompatMMP) && !fs.inSystem(mmp, 1) {
		t.Errorf("the block %d of multiple mount protection is not the filesystem's own", mmp)
	}
	auditBitmaps(t, fs, owner)
	return mapped
}

// auditInode marks what an inode uses and compares its i_blocks.
func auditInode(t testing.TB, fs *FS, a image.Attr, mark func(string, image.Pblk, uint64), xattrs map[image.Pblk]bool) int {
	t.Helper()
	in, err := fs.inode(a.Ino)
	must(t, err)
	who := fmt.Sprintf("inode %d", a.Ino)
	clusters := map[uint64]bool{}
	use := func(p image.Pblk, n uint64) {
		for i := range n {
			clusters[(uint64(p)+i)/fs.geo.ratio] = true
		}
	}
	if p := in.raw.fileACL(); p != 0 {
		use(p, 1)
		if !xattrs[p] {
			mark(who, p, 1)
			xattrs[p] = true
		}
	}
	slow := a.Type == image.TypeSymlink && a.Size >= iblockSize && !a.Inline
	if !fs.hasMapping(in) && !slow {
		return 0
	}
	m, err := fs.walkMap(in, 0, maxLblk)
	must(t, err)
	for _, p := range m.tree {
		if a.Ino == inoResize && fs.inSystem(p, 1) {
			continue
		}
		mark(who, p, 1)
		use(p, 1)
	}
	for _, x := range m.exts {
		if a.Ino == inoResize {
			break // its blocks are among the system's
		}
		mark(who, x.Pblk, x.Len)
		use(x.Pblk, x.Len)
	}
	got, want := a.AllocBytes, int64(len(clusters))*int64(fs.geo.ratio)*int64(fs.bs)
	if got != want && a.Ino != inoResize && !fs.sb.hasIncompat(incompatEaInode) {
		t.Errorf("%s: i_blocks stands for %d bytes, want %d", who, got, want)
	}
	return 1
}

// auditBitmaps compares the bitmaps with owner.
func auditBitmaps(t testing.TB, fs *FS, owner []bool) {
	t.Helper()
	for n := range fs.geo.groups {
		b, err := fs.groupBlocks(n)
		must(t, err)
		gr, err := fs.group(n)
		must(t, err)
		if got, want := b.free(fs.geo.clusters(n)), gr.desc.freeClusters(); got != want {
			t.Errorf("group %d: %d clusters free in the bitmap, %d in the descriptor", n, got, want)
		}
		for k := range fs.geo.clusters(n) {
			used := false
			first := fs.geo.firstBlock(n) + uint64(k)*fs.geo.ratio
			for p := first; p < min(first+fs.geo.ratio, fs.geo.endBlock(n)); p++ {
				used = used || owner[p]
			}
			if used != b.get(k) {
				t.Fatalf("group %d: cluster at block %d: in use %v, in the bitmap %v", n, first, used, b.get(k))
			}
		}
	}
}

// pattern is what block l of inode ino is filled with.
func pattern(ino image.Ino, l image.Lblk, size int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%07d:%07d\n", ino, l)), size/16)
}
