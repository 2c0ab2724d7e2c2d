package ext4

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store"
	"fsenc/test/mkimage"
)

// Nothing is lost with the residue: free blocks and the journal overwritten
// with noise, then all of it with zeros, every layout is clean for e2fsck and as good as before for us.
func TestResidueRows(t *testing.T) {
	for _, r := range allRows() {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			path := mkimage.Make(t, r)
			noise := rand.NewChaCha8([32]byte{1})
			overwrite(t, path, noise)
			clean(t, path)
			overwrite(t, path, nil)
			clean(t, path)
			fs, _ := openFile(t, path, Options{Write: true})
			audit(t, fs)
		})
	}
}

// overwrite puts noise, or zeros if it is nil, into every range of the residue.
// Inode tables get zeros: e2fsck takes noise there for inodes.
func overwrite(t *testing.T, path string, noise *rand.ChaCha8) {
	t.Helper()
	f, err := store.OpenFile(path, true)
	must(t, err)
	defer f.Close()
	fs, err := Open(f, Options{Write: true})
	must(t, err)
	must(t, fs.loadSystem())
	end, sum := int64(0), int64(0)
	must(t, fs.Residue(func(off, n int64) error {
		if n <= 0 || off < end || off == end && off > 0 || off+n > f.Size() {
			t.Errorf("range of %d bytes at %d, the last one ended at %d", n, off, end)
		}
		end, sum = off+n, sum+n
		// Of large ranges the ends are enough.
		for _, at := range []int64{off, off + max(0, n-4096)} {
			p := make([]byte, min(n, 4096))
			for i := 0; i < len(p) && noise != nil; i++ {
				if !fs.inSystem(image.Pblk((at+int64(i))/int64(fs.bs)), 1) {
					p[i] = byte(noise.Uint64())
				}
			}
			if _, err := f.WriteAt(p, at); err != nil {
				return err
			}
		}
		return nil
	}))
	if want := residueSize(t, fs); sum != want {
		t.Errorf("%d bytes, want %d", sum, want)
	}
}

// residueSize is the size of what the counters say is free, of the log and of
// unmapped blocks in clusters.
func residueSize(t *testing.T, fs *FS) int64 {
	t.Helper()
	free := int64(0)
	for n := range fs.geo.groups {
		gr, err := fs.group(n)
		must(t, err)
		blocks := int64(gr.desc.freeClusters()) * int64(fs.geo.ratio)
		over := int64(fs.geo.clusters(n))*int64(fs.geo.ratio) - int64(fs.geo.endBlock(n)-fs.geo.firstBlock(n))
		b, err := fs.groupBlocks(n)
		must(t, err)
		if over > 0 && !b.get(fs.geo.clusters(n)-1) {
			blocks -= over // the last cluster of a short group is not a whole one
		}
		free += blocks * int64(fs.bs)
	}
	free += int64(fs.sb.freeInodes()) * int64(fs.geo.inodeSize)
	log, err := fs.journalLog()
	must(t, err)
	slack, err := fs.clusterSlack()
	must(t, err)
	for _, r := range append(log, slack...) {
		free += r.n
	}
	return free
}

// What the kernel deleted is gone from the image with the residue.
func TestResidueOfDeleted(t *testing.T) {
	path := makeRow(t, "inl")
	secret := []byte("the-marker-of-a-deleted-file")
	mkimage.Mounted(t, path, true, func(dir string) {
		for _, size := range []int{1, 10, 500} {
			name := filepath.Join(dir, "file")
			must(t, os.WriteFile(name, bytes.Repeat(secret, size), 0o600))
			syncDir(t, dir)
			must(t, os.Remove(name))
			syncDir(t, dir)
		}
		must(t, os.Symlink(string(secret), filepath.Join(dir, "link")))
		syncDir(t, dir)
		must(t, os.Remove(filepath.Join(dir, "link")))
	})
	count := func() int {
		b, err := os.ReadFile(path)
		must(t, err)
		return bytes.Count(b, secret)
	}
	if count() < 3 {
		t.Errorf("the marker was found %d times before the wipe", count())
	}
	f, err := store.OpenFile(path, true)
	must(t, err)
	fs, err := Open(f, Options{Write: true})
	must(t, err)
	must(t, fs.Residue(f.Zero))
	must(t, f.Close())
	if n := count(); n != 0 {
		t.Errorf("the marker was found %d times after the wipe", n)
	}
	clean(t, path)
}

func syncDir(t *testing.T, dir string) {
	t.Helper()
	d, err := os.Open(dir)
	must(t, err)
	defer d.Close()
	must(t, d.Sync())
}

// The golden images: every block has one owner, and each reserved inode is
// told as such.
func TestAuditGolden(t *testing.T) {
	for _, name := range imagetest.Names(t, "ext4-") {
		t.Run(name, func(t *testing.T) {
			path := imagetest.Golden(t, name)
			if name == "ext4-journal" {
				if err := tryOpen(t, path, Options{}); err == nil {
					t.Error("opened with a journal to replay")
				}
				return
			}
			fs, _ := openFile(t, path, Options{Write: true})
			if n := audit(t, fs); n < 10 {
				t.Errorf("%d inodes with a mapping", n)
			}
			must(t, fs.Inodes(func(a image.Attr, err error) error {
				if want := a.Ino < 11 && a.Ino != 2; want && !a.Reserved {
					t.Errorf("inode %d is not reserved", a.Ino)
				}
				return err
			}))
		})
	}
}
