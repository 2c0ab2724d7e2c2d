package ext4

import (
	"bytes"
	"testing"

	"fsenc/internal/image"
)

// An inode with an inline directory of any content is read or refused.
func FuzzInlineDir(f *testing.F) {
	area := func(size int) []byte {
		w := newLeafWriter(dirForm{blockSize: size, fileType: true})
		w.add(image.Dirent{Name: []byte("a file"), Ino: 12, Type: image.TypeRegular})
		w.add(image.Dirent{Name: []byte("a directory"), Ino: 13, Type: image.TypeDirectory})
		return bytes.Clone(w.finish())
	}
	f.Add(append([]byte{2, 0, 0, 0}, area(56)...), area(60))
	f.Add(append([]byte{2, 0, 0, 0}, area(56)...), []byte{})
	f.Fuzz(func(t *testing.T, iblock, rest []byte) {
		fs := &FS{bs: 1024, sb: &super{raw: make([]byte, superSize)}, geo: geometry{inodeSize: 256}}
		fs.sb.set32(offInodesCount, 100)
		fs.sb.set32(offIncompat, incompatFiletype|incompatInlineData)
		in := &inode{ino: 12, raw: make(rawInode, 256)}
		in.raw.setMode(modeDir)
		in.raw.setFlags(flInlineData)
		in.raw.setExtraIsize(32)
		copy(in.raw.iblock(), iblock)
		x := xattr{index: xattrSystem, name: xattrInlineData, value: rest, size: uint32(len(rest))}
		if !fs.setIbodyXattrs(in, []xattr{x}) {
			return
		}
		n := 0
		err := fs.readInlineDir(in, func(d image.Dirent) error {
			if n++; len(d.Name) == 0 || d.Ino == 0 || d.Ino > 100 {
				t.Errorf("entry %+v", d)
			}
			return errStop
		})
		if err == nil && n > 0 {
			t.Error("the walk went on after its callback ended it")
		}
	})
}
