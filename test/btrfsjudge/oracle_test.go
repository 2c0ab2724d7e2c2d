package btrfsjudge_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/btrfsjudge"
)

// oracle unpacks an image that a kernel with the series wrote.
func oracle(t *testing.T, name string) ([]byte, *manifest.Golden, [][]byte) {
	t.Helper()
	b, err := os.ReadFile(imagetest.Golden(t, name))
	if err != nil {
		t.Fatal(err)
	}
	m := imagetest.Manifest(t, name)
	var keys [][]byte
	for _, k := range m.Keys {
		keys = append(keys, k.MasterKey)
	}
	return b, m, keys
}

const (
	damaged = "oracle/btrfs-v6-posted-damage"
	logged  = "oracle/btrfs-v6-dirtylog"
)

// The judge reads what kernels with the series wrote, and finds nothing wrong.
func TestOracle(t *testing.T) {
	names := imagetest.Names(t, "oracle/btrfs-v6-")
	if len(names) < 8 {
		t.Fatalf("only %q", names)
	}
	for _, name := range names {
		if name == damaged || name == logged {
			continue
		}
		t.Run(path.Base(name), func(t *testing.T) {
			b, m, keys := oracle(t, name)
			v, err := btrfsjudge.Judge(keys, b)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range v.Broken {
				t.Error(s)
			}
			read := compare(t, m, v.All())
			t.Logf("%d names, %d of them read to the last byte, %d inodes not", len(m.Entries), read, v.Unread)
		})
	}
}

// compare holds what the judge saw against what the kernel saw, and counts the
// files and symlinks that it read. What it cannot read it says so.
func compare(t *testing.T, m *manifest.Golden, all map[string]btrfsjudge.File) (read int) {
	t.Helper()
	for _, e := range m.Entries {
		f, ok := all[path.Join("/", e.Path)]
		if !ok {
			if e.Policy != nil && unknownMode(e.Policy) {
				continue
			}
			t.Errorf("%q is not seen", e.Path)
			continue
		}
		if e.SameAs != "" {
			e = m.Entries[slices.IndexFunc(m.Entries, func(o manifest.Entry) bool { return o.Path == e.SameAs })]
		}
		attributes := func(mode, links, uid, gid, size any, encrypted bool) string {
			return fmt.Sprint(mode, " ", links, " ", uid, " ", gid, " ", size, " ", encrypted)
		}
		size := f.Size
		if e.Type == manifest.Dir || e.Type == manifest.Symlink { // the kernel shows the size with the length
			size = uint64(e.Size)
		}
		got := attributes(f.Mode&0o7777, f.Links, f.UID, f.GID, size, f.Encrypted)
		if want := attributes(e.Mode, e.Nlink, e.UID, e.GID, e.Size, e.Encrypted); got != want {
			t.Errorf("%q is %s, want %s", e.Path, got, want)
		}
		switch {
		case e.Policy != nil && unknownMode(e.Policy):
		case f.SHA256 != e.SHA256:
			t.Errorf("%q: contents %s, want %s", e.Path, f.SHA256, e.SHA256)
		case f.Target != e.Target:
			t.Errorf("%q: target %q, want %q", e.Path, f.Target, e.Target)
		case f.SHA256 != "" || f.Target != "":
			read++
		}
	}
	if read == 0 {
		t.Error("nothing was read")
	}
	return read
}

func unknownMode(p *manifest.Policy) bool {
	return p.ContentsMode != 1 && p.ContentsMode != 5 || p.FilenamesMode != 4 && p.FilenamesMode != 6
}

// The judge sees the damage that the series as posted does, file by file.
func TestOracleDamage(t *testing.T) {
	b, _, keys := oracle(t, damaged)
	v, err := btrfsjudge.Judge(keys, b)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(v.Broken)
	for i, want := range []string{
		"tree 5, inode 258: extent at 16384: context ,", // mid
		"tree 5, inode 259: extent at 16384: context ,", // punch
		"tree 5, inode 261: context",                    // truncated, past its end
		"tree 5, inode 262: context",                    // to-zero
		"tree 5, inode 266: extent at 0: context",       // of another key
	} {
		if i >= len(v.Broken) || !strings.HasPrefix(v.Broken[i], want) {
			t.Errorf("finding %d is not %q", i, want)
		}
	}
	if t.Failed() || len(v.Broken) > 5 {
		t.Errorf("found:\n%s", strings.Join(v.Broken, "\n"))
	}
}

func TestOracleLog(t *testing.T) {
	b, _, keys := oracle(t, logged)
	if _, err := btrfsjudge.Judge(keys, b); err == nil || !strings.Contains(err.Error(), "log") {
		t.Errorf("got %v", err)
	}
}

// A judge that is content with anything proves nothing: what is changed in a
// block, with a checksum that fits, is found.
func TestJudgeFindsChanges(t *testing.T) {
	b, _, keys := oracle(t, "oracle/btrfs-v6-basic")
	const ns = 16384
	var leaves []int // of the top-level tree
	for at := 0; at+ns <= len(b); at += 4096 {
		if bytes.Equal(b[at+32:at+48], b[65536+32:65536+48]) && b[at+100] == 0 && b[at+88] == 5 && at != 65536 && current(keys, b, at) {
			leaves = append(leaves, at)
		}
	}
	if len(leaves) < 2 {
		t.Fatalf("%d leaves", len(leaves))
	}
	r := rand.New(rand.NewPCG(1, 2))
	missed := 0
	const tries = 60
	for range tries {
		leaf := b[leaves[r.IntN(len(leaves))]:][:ns]
		items := int(binary.LittleEndian.Uint32(leaf[96:]))
		e := leaf[101+25*r.IntN(items):]
		off, size := int(binary.LittleEndian.Uint32(e[17:])), int(binary.LittleEndian.Uint32(e[21:]))
		if k := e[8]; k == 1 || k == 24 || size == 0 { // times and xattrs are free
			missed++
			continue
		}
		at := 101 + off + r.IntN(size)
		old := bytes.Clone(leaf)
		leaf[at] ^= 1 << r.IntN(8)
		seal(leaf)
		if v, err := btrfsjudge.Judge(keys, b); err == nil && len(v.Broken) == 0 {
			missed++
		}
		copy(leaf, old)
	}
	// Generations of entries and extents, and unpacked sizes, are free too.
	if missed > tries/2 {
		t.Errorf("%d of %d changes were not found", missed, tries)
	}
}

// current tells whether a block is one that the judge reads.
func current(keys [][]byte, b []byte, at int) bool {
	b[at] ^= 1
	defer func() { b[at] ^= 1 }()
	_, err := btrfsjudge.Judge(keys, b)
	return err != nil
}

func seal(b []byte) {
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[32:], crc32.MakeTable(crc32.Castagnoli)))
}
