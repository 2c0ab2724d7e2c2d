package ext4

import (
	"fmt"
	"testing"
	"time"

	"fsenc/internal/image"
)

// Records of ids that no file had before are made, in data and index blocks
// that the quota files grow by, and e2fsck finds its own sums in them.
func TestQuotaIDs(t *testing.T) {
	path := makeRow(t, "quota")
	const files = 90
	name := func(i int) []byte { return fmt.Appendf(nil, "file%d", i) }
	id := func(i int) uint32 { return uint32(i) * 0x01234567 }
	edit(t, path, func(fs *FS) {
		for i := range files {
			_, err := fs.Create(inoRoot, name(i), make([]byte, 3000*(i%5)), image.NewFile{
				Perm: 0o600, UID: id(i), GID: id(i / 2), Time: time.Unix(1e9, 0),
			})
			must(t, err)
		}
	})
	clean(t, path)
	edit(t, path, func(fs *FS) {
		for i := range files {
			d, err := fs.Lookup(inoRoot, name(i))
			must(t, err)
			in, err := fs.inode(d.Ino)
			must(t, err)
			wantUsage(t, fs, 0, id(i), uint64(fs.allocBytes(in.raw)), 1)
			if i%3 > 0 {
				must(t, fs.Remove(inoRoot, name(i)))
				wantUsage(t, fs, 0, id(i), 0, 0)
			}
		}
	})
	clean(t, path)
}

// wantUsage compares the record of id, but of id 0, which has more files.
func wantUsage(t *testing.T, fs *FS, kind int, id uint32, bytes, inodes uint64) {
	t.Helper()
	if id == 0 {
		return
	}
	must(t, fs.openQuotas())
	q := fs.quotas[kind]
	block, at, err := q.find(id)
	if err != nil || block == 0 {
		t.Fatalf("id %d: block %d, %v", id, block, err)
	}
	data, err := q.read(block)
	must(t, err)
	gotBytes, gotInodes := le.Uint64(data[at+offQrSpace:]), le.Uint64(data[at+offQrInodes:])
	if gotBytes != bytes || gotInodes != inodes {
		t.Errorf("id %d uses %d bytes, %d inodes, want %d, %d", id, gotBytes, gotInodes, bytes, inodes)
	}
}

// The record of id 0 stays one when nothing is left on its account.
func TestQuotaOfNothing(t *testing.T) {
	fs, _ := openFile(t, makeRow(t, "quota"), Options{Write: true})
	must(t, fs.openQuotas())
	q := fs.quotas[0]
	block, at, err := q.find(0)
	must(t, err)
	data, err := q.read(block)
	must(t, err)
	rest := quotaChange{
		bytes:  -int64(le.Uint64(data[at+offQrSpace:])),
		inodes: -int64(le.Uint64(data[at+offQrInodes:])),
	}
	must(t, q.add(0, rest))
	if again, _, err := q.find(0); again != block || err != nil {
		t.Errorf("id 0 is in block %d, was in %d: %v", again, block, err)
	}
	if err := q.add(0, quotaChange{bytes: -1}); err == nil {
		t.Error("less than nothing was charged")
	}
}
