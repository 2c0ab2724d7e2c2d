package ext4

import (
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store"
)

// BenchmarkInodes walks 3700 inodes of a file in the page cache, as a plan
// does: all of them in order, and each by its number.
func BenchmarkInodes(b *testing.B) {
	f, err := store.OpenFile(imagetest.Golden(b, "ext4-features"), true)
	must(b, err)
	defer f.Close()
	fs, err := Open(f, Options{Write: true})
	must(b, err)
	var inos []image.Ino
	must(b, fs.Inodes(func(a image.Attr, err error) error {
		inos = append(inos, a.Ino)
		return err
	}))
	b.Run("stream", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(b, fs.Inodes(func(_ image.Attr, err error) error { return err }))
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(inos)), "ns/inode")
	})
	each := func(name string, f func(image.Ino) error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, ino := range inos {
					must(b, f(ino))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(inos)), "ns/inode")
		})
	}
	each("stat", func(ino image.Ino) error { _, err := fs.Stat(ino); return err })
	each("context", func(ino image.Ino) error { _, err := fs.Context(ino); return err })
	each("extents", func(ino image.Ino) error { _, err := fs.DataExtents(ino); return err })
	each("put", func(ino image.Ino) error {
		in, err := fs.inode(ino)
		if err != nil {
			return err
		}
		return fs.putInode(in)
	})
}

// BenchmarkAppend gives files of 16 blocks to an image and takes them again.
func BenchmarkAppend(b *testing.B) {
	fs, _ := openFile(b, makeRow(b, "def4k"), Options{Write: true})
	in := newFile(b, fs, 0, 0)
	b.ReportAllocs()
	for b.Loop() {
		_, err := fs.appendBlocks(in, 16)
		must(b, err)
		must(b, fs.truncateBlocks(in, 0))
		must(b, fs.Flush())
	}
}
