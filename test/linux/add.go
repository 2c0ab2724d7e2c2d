package linux

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Add writes into a tree that Fill made and that was converted since: new
// files, directories and links of each kind, additions to old files, and a
// rename and a removal. It fails where the kernel does.
func Add(root string) error {
	f := &filler{Tree: Tree{BlockSize: 4096}, root: root, marked: filepath.Base(root) == "secret"}
	dir := f.dir(f.name("-added"))
	at := func(name string) string { return filepath.Join(dir, f.name(name)) }
	for _, n := range []int{0, 1, 100, 4096, 5000, 200_000} {
		f.file(at(fmt.Sprint("-new ", n)), f.contents(fmt.Sprint("new", n), n))
	}
	for i := range 40 {
		f.file(at(fmt.Sprintf("-one of many new names %d", i)), nil)
	}
	for _, n := range []int{1, 30, 70, 300} {
		f.do(os.Symlink(fmt.Sprintf("%0*d", n, 0), at(fmt.Sprint("-link ", n))))
	}
	f.dir(f.name("-added"), f.name("-below"), f.name("-further below"))
	f.do(unix.Mkfifo(at("-fifo"), 0o600))
	f.do(os.Link(at("-new 100"), at("-hard link")))

	many := filepath.Join(root, f.name("-many"))
	for i := range 50 {
		f.file(filepath.Join(many, fmt.Sprintf("%s later %d", f.name("-file"), i)), []byte("later"))
	}
	old := filepath.Join(root, f.name("-sizes"))
	f.extend(filepath.Join(old, f.name("-size")+"-100"))
	f.extend(filepath.Join(old, f.name("-size")+"-300001"))
	f.do(os.Rename(filepath.Join(old, f.name("-size")+"-500"), filepath.Join(many, f.name("-moved"))))
	f.do(os.Remove(filepath.Join(old, f.name("-size")+"-60")))
	return f.err
}

// extend writes in the middle of a file and past its end.
func (f *filler) extend(full string) {
	file, err := os.OpenFile(full, os.O_RDWR, 0)
	if err != nil {
		f.do(err)
		return
	}
	st, err := file.Stat()
	f.do(err)
	f.piece(file, st.Size()/2, 20)
	f.piece(file, st.Size()+1000, 7000)
	f.do(file.Close())
}
