package ext4

import (
	"bytes"
	"os"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
)

var slackNoise = []byte("NoIsE")

// Noise between the entries of every directory, behind the slots of every
// index and behind every symlink's target goes; entries, hashes and checksums are as before.
func TestWipeSlack(t *testing.T) {
	for _, name := range imagetest.Names(t, "ext4-") {
		if name == "ext4-journal" {
			continue // is refused for writing
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := goldenFile(t, name)
			want := map[image.Ino]string{}
			var dirs []image.Ino
			edit(t, path, func(fs *FS) {
				must(t, fs.Inodes(func(a image.Attr, err error) error {
					must(t, err)
					want[a.Ino] = describe(t, fs, a)
					if a.Type == image.TypeDirectory || a.Type == image.TypeSymlink {
						dirs = append(dirs, a.Ino)
					}
					return nil
				}))
				for _, ino := range dirs {
					putSlackNoise(t, fs, ino)
				}
			})
			if noise := countNoise(t, path); noise < 100 {
				t.Fatalf("noise in %d places only", noise)
			}
			clean(t, path)
			edit(t, path, func(fs *FS) {
				for _, ino := range dirs {
					must(t, fs.WipeSlack(ino))
				}
			})
			clean(t, path)
			if noise := countNoise(t, path); noise > 0 {
				t.Errorf("noise is left in %d places", noise)
			}
			fs, _ := openFile(t, path, Options{})
			for ino, w := range want {
				a, err := fs.Stat(ino)
				must(t, err)
				if got := describe(t, fs, a); got != w {
					t.Errorf("inode %d: %.300s, want %.300s", ino, got, w)
				}
			}
		})
	}
}

func countNoise(t testing.TB, path string) int {
	t.Helper()
	img, err := os.ReadFile(path)
	must(t, err)
	return bytes.Count(img, slackNoise)
}

// putSlackNoise fills what no entry and no slot of a directory covers, or what
// follows a symlink's target.
func putSlackNoise(t testing.TB, fs *FS, dir image.Ino) {
	t.Helper()
	in, err := fs.inode(dir)
	must(t, err)
	fill := func(b []byte) {
		for len(b) >= len(slackNoise) {
			b = b[copy(b, slackNoise):]
		}
	}
	if in.raw.fileType() == image.TypeSymlink {
		if slow, err := fs.slowLink(in); err != nil || !slow {
			return
		}
		at, err := fs.linkBlock(in)
		must(t, err)
		buf := make([]byte, fs.bs)
		must(t, fs.readBlock(at, buf))
		fill(buf[in.raw.size()+1:])
		must(t, fs.writeBlock(at, buf))
		return
	}
	if in.raw.hasFlag(flInlineData) {
		return
	}
	d, err := fs.openDir(in)
	must(t, err)
	x, err := d.wholeIndex()
	must(t, err)
	for l := range d.blocks {
		buf := make([]byte, fs.bs)
		must(t, fs.readBlock(d.pblk(l), buf))
		table := offDxNodeSlots
		if l == 0 {
			table = offDxRootSlots
		}
		if x != nil && (l == 0 || x.nodes[l]) {
			slots := dxTable(buf[table:])
			fill(slots[slots.count()*dxSlotLen : slots.limit()*dxSlotLen])
			if d.form.tail {
				le.PutUint32(dxStoredChecksum(buf, table), dxChecksum(d.seed, buf, table))
			}
		} else {
			es, err := d.form.parse(nil, buf)
			must(t, err)
			for _, e := range es {
				b := buf[e.off : e.off+d.form.recLen(buf[e.off:])]
				size := d.form.entrySize(len(e.Name))
				if e.isDot() {
					size = deMinimal
				}
				fill(b[size:])
			}
			if d.form.tail {
				le.PutUint32(buf[fs.bs-4:], leafChecksum(d.seed, buf))
			}
		}
		must(t, fs.writeBlock(d.pblk(l), buf))
	}
}
