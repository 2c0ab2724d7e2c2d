package convert_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"fsenc/internal/convert"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store/storetest"
)

// blockOf is the first block of a file or directory.
func blockOf(t *testing.T, img []byte, path string) image.Pblk {
	t.Helper()
	fs, err := probe.Open(storetest.NewMem(img), probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x, err := fs.Extents(lookup(t, storetest.NewMem(img), nil, path).Ino)
	if err != nil || len(x) == 0 {
		t.Fatalf("%s: %v, %v", path, x, err)
	}
	return x[0].Pblk
}

// planOf plans a conversion of /secret, of which nothing may write.
func planOf(t *testing.T, op convert.Op, img []byte) (*convert.Plan, error) {
	t.Helper()
	keys, pol := testKey(t)
	home := storetest.NewMem(bytes.Clone(img))
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	tops := []convert.Top{lookup(t, home, nil, "/secret")}
	o := convert.Options{Keys: keys, Wipe: true}
	var p *convert.Plan
	switch op {
	case convert.Encrypt:
		p, err = convert.PlanEncrypt(t.Context(), fs, tops, pol, o)
	case convert.Decrypt:
		p, err = convert.PlanDecrypt(t.Context(), fs, tops, o)
	default:
		p, err = convert.PlanRekey(t.Context(), fs, tops, pol, o)
	}
	if !bytes.Equal(home.Bytes(), img) {
		t.Error("planning wrote to the image")
	}
	return p, err
}

// A block of the tree that something else holds as well is found before
// anything is written, whoever holds it and as what.
func TestBlocksWithTwoOwners(t *testing.T) {
	plain := layouts[3].makeOf(t, func(dir string) {
		put(t, dir, "secret/file", 20000)
		put(t, dir, "secret/second", 3000)
		put(t, dir, "secret/sub/inner", 100)
		put(t, dir, "other", 20000)
		put(t, dir, "plain/file", 3000)
	})
	keys, pol := testKey(t)
	home := storetest.NewMem(bytes.Clone(plain))
	if err := (job{op: convert.Encrypt, keys: keys, pol: pol}).run(t.Context(), home, newLog()); err != nil {
		t.Fatal(err)
	}
	mine, dir, theirs := blockOf(t, plain, "/secret/file"), blockOf(t, plain, "/secret/sub"), blockOf(t, plain, "/other")
	for name, command := range map[string]string{
		"contents":                fmt.Sprintf("sif /other block[3] %d", mine),
		"contents of the tree":    fmt.Sprintf("sif /secret/second block[0] %d", mine),
		"contents, ours":          fmt.Sprintf("sif /secret/file block[2] %d", theirs),
		"a directory of the tree": fmt.Sprintf("sif /other block[0] %d", dir),
		"a directory":             fmt.Sprintf("sif /plain block[1] %d", mine),
		"a mapping":               fmt.Sprintf("sif /other block[IND] %d", mine),
		"attributes":              fmt.Sprintf("sif /other file_acl %d", mine),
		"attributes, ours":        fmt.Sprintf("sif /secret/second file_acl %d", theirs),
		"a mapping of the tree":   fmt.Sprintf("sif /secret/second block[IND] %d", theirs),
		"mappings of two levels":  fmt.Sprintf("sif /plain/file block[DIND] %d", mine),
	} {
		t.Run(name, func(t *testing.T) {
			img := debugfs(t, plain, command)
			if bytes.Equal(img, plain) {
				t.Fatal("debugfs changed nothing")
			}
			if _, err := planOf(t, convert.Encrypt, img); !errors.Is(err, image.ErrCorrupt) {
				t.Errorf("got %v", err)
			}
		})
	}
	shared := debugfs(t, home.Bytes(), fmt.Sprintf("sif /other block[3] %d", mine))
	for _, op := range []convert.Op{convert.Decrypt, convert.Rekey} {
		if _, err := planOf(t, op, home.Bytes()); err != nil {
			t.Errorf("%v: %v", op, err)
		}
		if _, err := planOf(t, op, shared); !errors.Is(err, image.ErrCorrupt) {
			t.Errorf("%v: got %v", op, err)
		}
	}
	if _, err := planOf(t, convert.Encrypt, plain); err != nil {
		t.Error(err)
	}
}

// What the superblock says about free space is not taken at its word.
func TestSpaceIsCounted(t *testing.T) {
	withRoom := func(filler int) []byte {
		return layouts[3].makeOf(t, func(dir string) {
			for i := range 40 {
				put(t, dir, fmt.Sprintf("secret/file%d", i), 100)
			}
			put(t, dir, "filler", filler)
		})
	}
	p, err := planOf(t, convert.Encrypt, withRoom(0))
	if err != nil || p.Totals.NeedBytes < 40<<10 {
		t.Fatalf("%+v, %v", p, err)
	}
	full := withRoom(int(p.Totals.FreeBytes) - 30<<10)
	if _, err := planOf(t, convert.Encrypt, full); !errors.Is(err, image.ErrNoSpace) {
		t.Fatalf("full: got %v", err)
	}
	_, err = planOf(t, convert.Encrypt, debugfs(t, full, "ssv free_blocks_count 1000"))
	if !errors.Is(err, image.ErrNoSpace) {
		t.Errorf("a superblock that says more: got %v", err)
	}
	_, err = planOf(t, convert.Encrypt, debugfs(t, withRoom(0), "ssv free_blocks_count 3"))
	if !errors.Is(err, image.ErrNoSpace) {
		t.Errorf("a superblock that says less: got %v", err)
	}
}
