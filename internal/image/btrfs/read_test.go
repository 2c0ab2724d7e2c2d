package btrfs

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store"
)

// readTree lists a plain image in the words of look.
func readTree(t testing.TB, fs *FS) map[string]string {
	t.Helper()
	out := make(map[string]string)
	var visit func(ino image.Ino, at string)
	visit = func(ino image.Ino, at string) {
		a, err := fs.Stat(ino)
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		line := fmt.Sprintf("mode %o owner %d:%d links %d device %d changed %v", a.Mode, a.UID, a.GID, a.Links,
			unix.Mkdev(a.RdevMajor, a.RdevMinor), unix.NsecToTimespec(a.Mtime.UnixNano()))
		switch a.Type {
		case image.TypeRegular:
			digest, err := imagetest.Digest(fs, ino)
			if err != nil {
				t.Errorf("%s: %v", at, err)
			}
			line += fmt.Sprintf(" %d bytes %s", a.Size, digest)
		case image.TypeSymlink:
			target, err := fs.ReadLink(ino)
			if err != nil {
				t.Errorf("%s: %v", at, err)
			}
			line += fmt.Sprintf(" to %s", target)
		case image.TypeDirectory:
			err := fs.ReadDir(ino, func(d image.Dirent) error {
				if found, err := fs.Lookup(ino, d.Name); err != nil || found.Ino != d.Ino || found.Type != d.Type {
					t.Errorf("%s: %q is found as %+v, %v", at, d.Name, found, err)
				}
				visit(d.Ino, filepath.Join(at, string(d.Name)))
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v", at, err)
			}
		}
		if _, obj := split(ino); isVacant(obj) {
			line = "placeholder"
		}
		out[at] = line
	}
	visit(fs.Root(), ".")
	return out
}

// What a mount shows is the default subvolume, with others where they have names
// in it.
func TestDefaultSubvolume(t *testing.T) {
	p := build(t, variants[0])
	var want map[string]string
	mounted(t, p, func(dir string) {
		command(t, "btrfs", "subvolume", "set-default", filepath.Join(dir, "a"))
		want = look(t, filepath.Join(dir, "a"))
	})
	fs, _ := openFile(t, p)
	if tree, obj := split(fs.Root()); tree < firstFree || obj != firstFree {
		t.Errorf("the root directory is inode %d of tree %d", obj, tree)
	}
	sameTree(t, "read", want, readTree(t, fs))
	mounted(t, p, func(dir string) { sameTree(t, "mounted", want, look(t, dir)) })
}

// A default that is no subvolume is damage.
func TestNoDefault(t *testing.T) {
	d := newDamager(t, basicImage)
	d.item(treeRoot, key{objRootDir, keyDirItem, uint64(nameHash([]byte("default")))}, func(b []byte) { put64(b, 0, 1000) })
	if _, err := Open(d.s, image.Options{}); err == nil || !strings.Contains(err.Error(), "default") {
		t.Errorf("%v", err)
	}
}

// Each stripe of a chunk lies where kernels have it. RAID10 and RAID1C3 take
// several devices, of which this image would have all.
func TestPieces(t *testing.T) {
	const k = 1 << 10
	for _, c := range []struct {
		name      string
		chunk     chunk
		logical   uint64
		n         uint64
		want      [][]uint64 // of each piece
		lastBytes uint64
	}{
		{"single", chunk{len: 256 * k, stripes: []uint64{5000 * k}}, 70 * k, 100 * k, [][]uint64{{5070 * k}}, 100 * k},
		{"dup", chunk{len: 256 * k, kind: profDup, stripes: []uint64{5000 * k, 9000 * k}}, 4 * k, 8 * k, [][]uint64{{5004 * k, 9004 * k}}, 8 * k},
		{"raid1c3", chunk{len: 256 * k, kind: profRAID1C3, stripes: []uint64{1000 * k, 2000 * k, 3000 * k}}, 4 * k, 8 * k,
			[][]uint64{{1004 * k, 2004 * k, 3004 * k}}, 8 * k},
		{"raid0 of one", chunk{len: 256 * k, kind: profRAID0, stripes: []uint64{5000 * k}}, 60 * k, 10 * k, [][]uint64{{5060 * k}, {5064 * k}}, 6 * k},
		{"raid0", chunk{len: 512 * k, kind: profRAID0, stripes: []uint64{1000 * k, 2000 * k}}, 60 * k, 140 * k,
			[][]uint64{{1060 * k}, {2000 * k}, {1064 * k}, {2064 * k}}, 8 * k},
		{"raid10", chunk{len: 512 * k, kind: profRAID10, sub: 2, stripes: []uint64{1000 * k, 2000 * k, 3000 * k, 4000 * k}}, 60 * k, 72 * k,
			[][]uint64{{1060 * k, 2060 * k}, {3000 * k, 4000 * k}, {1064 * k, 2064 * k}}, 4 * k},
		{"raid10 of two", chunk{len: 256 * k, kind: profRAID10, sub: 2, stripes: []uint64{1000 * k, 2000 * k}}, 130 * k, 4 * k, [][]uint64{{1130 * k, 2130 * k}}, 4 * k},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := &FS{ss: 4096, chunks: []*chunk{&c.chunk}}
			c.chunk.start = 1 << 30
			var got [][]uint64
			last := uint64(0)
			err := fs.pieces(1<<30+c.logical, c.n, func(p piece) error {
				got = append(got, slices.Clone(p.places))
				last = p.n
				return nil
			})
			if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) || last != c.lastBytes {
				t.Errorf("%v and %d bytes in the last, want %v and %d: %v", got, last, c.want, c.lastBytes, err)
			}
			if err := fs.pieces(1<<30+c.chunk.len-4096, 8192, func(piece) error { return nil }); err == nil {
				t.Error("goes beyond the chunk")
			}
		})
	}
}

// Streams that end early, claim too much or hold nothing end in errors, or in
// zeros as in kernels; none in a panic.
func TestUnpack(t *testing.T) {
	p := build(t, variant{"compressed", 256, ""})
	fs, _ := openFile(t, p)
	dir, err := fs.Lookup(fs.Root(), []byte("a"))
	if err == nil {
		dir, err = fs.Lookup(dir.Ino, []byte("extents"))
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range methods[1:] {
		d, err := fs.Lookup(dir.Ino, []byte(method+"300000"))
		if err != nil {
			t.Fatal(err)
		}
		all, err := fs.Extents(d.Ino)
		if err != nil || len(all) == 0 || all[0].Packed == nil || all[0].Packed.Method != method {
			t.Fatalf("%s: %+v, %v", method, all, err)
		}
		pack := all[0].Packed
		stream := make([]byte, int(pack.Stream[0].Len)*fs.ss)
		if err := fs.ReadBlocks(stream, pack.Stream[0].Pblk); err != nil {
			t.Fatal(err)
		}
		good, err := fs.Unpack(pack, stream)
		if err != nil || sha256.Sum256(good) != sha256.Sum256(lines(int(pack.Size))) {
			t.Fatalf("%s: %v", method, err)
		}
		bad := 0
		for i := range 400 {
			b := bytes.Clone(stream)
			if i%2 == 0 {
				b = b[:i*len(b)/400]
			}
			for j := i; j < min(len(b), 400); j += 37 {
				b[j] ^= byte(1 + i)
			}
			out, err := fs.Unpack(pack, b)
			if err != nil {
				bad++
			} else if int64(len(out)) != pack.Size {
				t.Errorf("%s: %d bytes, want %d", method, len(out), pack.Size)
			}
		}
		if bad < 10 { // the frame is much shorter than a sector
			t.Errorf("%s: of 400 damaged streams %d are refused", method, bad)
		}
	}
}

// The padding behind a frame may be of any length.
func TestUnpackPadding(t *testing.T) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(false))
	if err != nil {
		t.Fatal(err)
	}
	data := lines(9000)
	frame := e.EncodeAll(data, nil)
	for _, size := range []int{9000, 12288} {
		for padding := range 9 {
			got, err := unpack("zstd", append(bytes.Clone(frame), make([]byte, padding)...), size, 4096)
			if err != nil || !bytes.Equal(got[:9000], data) || len(got) != size || !store.IsZero(got[9000:]) {
				t.Errorf("%d bytes of padding, %d unpacked: %v", padding, size, err)
			}
		}
		if _, err := unpack("zstd", frame[:len(frame)-1], size, 4096); err == nil {
			t.Errorf("a frame cut short unpacks to %d bytes", size)
		}
	}
}

// lines is what compressed files hold.
func lines(n int) []byte {
	const line = "a line that is there again and again\n"
	return []byte(strings.Repeat(line, n/len(line)+1)[:n])
}

// A file keeps its data inside its item when more is written behind that.
func TestBehindInline(t *testing.T) {
	p := build(t, variants[0])
	var want map[string]string
	mounted(t, p, func(dir string) {
		name := filepath.Join(dir, "a/sizes/2048")
		unix.Sync()
		overwrite(name, 3*4096, random(5000))
		if err := os.Truncate(filepath.Join(dir, "a/sizes/2047"), 1<<20); err != nil {
			t.Fatal(err)
		}
		want = look(t, dir)
	})
	fs, _ := openFile(t, p)
	sound(t, fs, "with data behind inline data")
	sameTree(t, "read", want, readTree(t, fs))
}
