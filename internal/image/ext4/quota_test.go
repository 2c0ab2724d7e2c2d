package ext4

import (
	"fmt"
	"testing"
	"time"

	"fsenc/internal/image"
	"fsenc/internal/image/quota"
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
	got, ok, err := q.tree.Usage(id)
	if err != nil || !ok {
		t.Fatalf("id %d: %v, %v", id, ok, err)
	}
	gotBytes, gotInodes := uint64(got.Bytes), uint64(got.Inodes)
	if gotBytes != bytes || gotInodes != inodes {
		t.Errorf("id %d uses %d bytes, %d inodes, want %d, %d", id, gotBytes, gotInodes, bytes, inodes)
	}
}

// The record of id 0 stays one when nothing is left on its account.
func TestQuotaOfNothing(t *testing.T) {
	fs, _ := openFile(t, makeRow(t, "quota"), Options{Write: true})
	must(t, fs.openQuotas())
	q := fs.quotas[0]
	has, ok, err := q.tree.Usage(0)
	must(t, err)
	must(t, q.tree.Add(0, quota.Change{Bytes: -has.Bytes, Inodes: -has.Inodes}))
	if left, still, err := q.tree.Usage(0); !ok || !still || left != (quota.Change{}) || err != nil {
		t.Errorf("id 0 had %+v (%v), has %+v (%v): %v", has, ok, left, still, err)
	}
	if err := q.tree.Add(0, quota.Change{Bytes: -1}); err == nil {
		t.Error("less than nothing was charged")
	}
}
