package ext4

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store/storetest"
)

func dirForms() []dirForm {
	var all []dirForm
	for _, bs := range []int{1024, 4096, 32768, 65536} {
		for i := range 8 {
			all = append(all, dirForm{bs, i&1 != 0, i&2 != 0, i&4 != 0, 1000})
		}
	}
	return all
}

func TestLeafRoundTrip(t *testing.T) {
	for _, f := range dirForms() {
		w := newLeafWriter(f)
		w.addDot(".", 12)
		w.addDot("..", 2)
		var want []image.Dirent
		for i := 1; ; i++ {
			d := image.Dirent{Name: bytes.Repeat([]byte{byte(i)}, 1+(i*37)%255), Ino: image.Ino(1 + i%1000)}
			if f.fileType {
				d.Type = image.FileType(1 + i%7)
			}
			if f.hashed {
				d.Hash, d.MinorHash = uint32(i)*2, ^uint32(i)
			}
			if !w.fits(f.entrySize(len(d.Name))) {
				break
			}
			w.add(d)
			want = append(want, d)
		}
		es, err := f.parse(nil, w.finish())
		if err != nil {
			t.Fatalf("%+v: %v", f, err)
		}
		if len(es) < 2 || !es[0].isDot() || !es[1].isDot() || es[0].Ino != 12 || es[1].Ino != 2 {
			t.Fatalf("%+v: dots are %v", f, es[:2])
		}
		var got []image.Dirent
		for _, e := range es[2:] {
			got = append(got, e.Dirent)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%+v: %s", f, d)
		}
		if !f.tail {
			continue
		}
		if !f.hasTail(w.block) {
			t.Errorf("%+v: no tail", f)
		}
		w.block[f.blockSize-5] = 0
		if _, err := f.parse(nil, w.block); err == nil {
			t.Errorf("%+v: missing tail not seen", f)
		}
	}
}

func TestEmptyLeaf(t *testing.T) {
	for _, f := range dirForms() {
		w := newLeafWriter(f)
		es, err := f.parse(nil, w.finish())
		if err != nil || len(es) != 0 {
			t.Errorf("%+v: %v, %v", f, es, err)
		}
		if n := f.recLen(w.block); n != f.usable() {
			t.Errorf("%+v: empty leaf of %d bytes, want %d", f, n, f.usable())
		}
	}
}

// In blocks of 64 KiB the two low bits of a record length are its bits 16, 17.
func TestRecLen(t *testing.T) {
	tests := []struct {
		blockSize int
		disk      uint16
		want      int
	}{
		{4096, 12, 12}, {4096, 4096, 4096}, {32768, 32768, 32768},
		{65536, 65532, 65532}, {65536, 65535, 65536}, {65536, 0, 65536}, {65536, 16, 16}, {65536, 17, 65552},
	}
	for _, tt := range tests {
		b := []byte{0, 0, 0, 0, byte(tt.disk), byte(tt.disk >> 8)}
		if got := (dirForm{blockSize: tt.blockSize}).recLen(b); got != tt.want {
			t.Errorf("block size %d, on disk %d: %d, want %d", tt.blockSize, tt.disk, got, tt.want)
		}
	}
}

func TestParseDamagedLeaf(t *testing.T) {
	f := dirForm{blockSize: 1024, fileType: true, maxIno: 100}
	tests := []struct {
		what string
		edit func(b []byte)
	}{
		{"record length 0", func(b []byte) { putRecLen(b, 0) }},
		{"record length 8", func(b []byte) { putRecLen(b, 8) }},
		{"record length 18", func(b []byte) { putRecLen(b, 18) }},
		{"record length past the end", func(b []byte) { putRecLen(b[12:], 1016) }},
		{"8 bytes left", func(b []byte) { putRecLen(b[12:], 1004) }},
		{"name past its record", func(b []byte) { putRecLen(b[12:], 12); b[12+offDeNameLen] = 5 }},
		{"empty name", func(b []byte) { b[offDeNameLen] = 0 }},
		{"inode 101", func(b []byte) { b[0] = 101 }},
	}
	for _, tt := range tests {
		w := newLeafWriter(f)
		w.add(image.Dirent{Name: []byte("abc"), Ino: 7, Type: 1})
		w.add(image.Dirent{Name: []byte("abcdefg"), Ino: 8, Type: 1})
		tt.edit(w.finish())
		if es, err := f.parse(nil, w.block); err == nil {
			t.Errorf("%s: parsed as %v", tt.what, es)
		}
	}
}

// What parses can be built again, and parses to the same.
func FuzzLeaf(f *testing.F) {
	for i, form := range dirForms()[:16] {
		w := newLeafWriter(form)
		w.addDot(".", 12)
		for j := range 20 {
			w.add(image.Dirent{Name: fmt.Appendf(nil, "name %d", j), Ino: 11, Type: 1, Hash: 4, MinorHash: 5})
		}
		f.Add(bytes.Clone(w.finish()), byte(i))
	}
	for _, block := range goldenLeaves(f, "ext4-casefold", 8) {
		f.Add(block, byte(8+3))
		f.Add(block, byte(8+7))
	}
	f.Fuzz(func(t *testing.T, data []byte, which byte) {
		form := dirForms()[int(which)%16]
		block := make([]byte, form.blockSize)
		copy(block, data)
		es, err := form.parse(nil, block)
		if err != nil {
			return
		}
		w := newLeafWriter(form)
		for _, e := range es {
			if e.isDot() {
				w.addDot(string(e.Name), e.Ino)
			} else {
				w.add(e.Dirent)
			}
		}
		again, err := form.parse(nil, w.finish())
		if err != nil || len(again) != len(es) {
			t.Fatalf("%d entries, again %d, %v", len(es), len(again), err)
		}
		for i := range es {
			if d := cmp.Diff(es[i].Dirent, again[i].Dirent); d != "" && !es[i].isDot() {
				t.Fatal(d)
			}
		}
	})
}

// goldenLeaves returns up to n directory blocks that the kernel wrote.
func goldenLeaves(t testing.TB, name string, n int) [][]byte {
	t.Helper()
	fs, err := Open(storetest.NewMem(imagetest.GoldenBytes(t, name)), Options{})
	must(t, err)
	var blocks [][]byte
	must(t, fs.Inodes(func(a image.Attr, err error) error {
		if err != nil || a.Type != image.TypeDirectory || a.Inline || len(blocks) == n {
			return err
		}
		in, err := fs.inode(a.Ino)
		must(t, err)
		d, err := fs.openDir(in)
		must(t, err)
		x, err := d.wholeIndex()
		must(t, err)
		return d.leafBlocks(x, func(l uint32) error {
			buf := make([]byte, fs.bs)
			blocks = append(blocks, buf)
			return fs.readBlock(d.pblk(l), buf)
		})
	}))
	if len(blocks) < n {
		t.Fatalf("%s: %d directory blocks", name, len(blocks))
	}
	return blocks
}
