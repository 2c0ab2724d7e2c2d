package btrfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// shadow copies an image and takes the marks of encryption away that today's
// checkers and kernels refuse.
func shadow(t testing.TB, p string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "shadow")
	command(t, "cp", "--sparse=always", p, out)
	s, err := store.OpenFile(out, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fs, err := Open(s, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fs.write = true
	ids, err := fs.subvolumes()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[uint64]bool)
	for _, id := range ids {
		tree, err := fs.treeOf(id)
		if err != nil {
			t.Fatal(err)
		}
		mask(t, fs, tree.addr, expect{tree: id, level: tree.level, gen: tree.gen}, seen)
	}
	if err := fs.SetFeatures(nil, []string{"encrypt", "encrypted_inline_data"}); err != nil {
		t.Fatal(err)
	}
	if err := fs.Flush(); err != nil {
		t.Fatal(err)
	}
	return out
}

func mask(t testing.TB, fs *FS, addr uint64, e expect, seen map[uint64]bool) {
	if seen[addr] {
		return
	}
	seen[addr] = true
	b, err := fs.readBlock(addr, e)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b.items() {
		if b.level() > 0 {
			child, gen := b.child(i)
			mask(t, fs, child, expect{tree: e.tree, level: b.level() - 1, gen: gen}, seen)
			continue
		}
		d := b.data(i)
		switch b.key(i).kind {
		case keyInode:
			rawInode(d).set64(offInoFlags, rawInode(d).u64(offInoFlags)&^inoEncrypt)
		case keyExtentData:
			d[offExtEncryption] = 0
		case keyDirItem, keyDirIndex:
			for len(d) > 0 {
				d[offDirType] &^= dirTypeEncrypted
				d = d[dirHeader+int(le.Uint16(d[offDirNameLen:])):]
			}
		}
	}
	if b.level() == 0 {
		fs.sum.seal(b.raw)
		if err := fs.writeLogical(b.raw, addr); err != nil {
			t.Fatal(err)
		}
	}
}

// use lets the kernel work on an image: it scrubs, writes, removes and deletes
// the snapshots.
func use(t testing.TB, p string) {
	t.Helper()
	mounted(t, p, func(dir string) {
		out := command(t, "btrfs", "scrub", "start", "-B", dir)
		if !strings.Contains(out, "no errors found") {
			t.Errorf("scrub: %s", out)
		}
		for i := range 50 {
			if err := os.WriteFile(filepath.Join(dir, "plain", fmt.Sprint("new", i)), random(700*i), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range []string{"s1", "s0", "s2"} {
			command(t, "btrfs", "subvolume", "delete", "--commit-after", filepath.Join(dir, s))
		}
		command(t, "btrfs", "subvolume", "sync", dir)
	})
	btrfsCheck(t, p)
}
