package crypt

import (
	"bytes"
	"encoding/json"
	"strconv"
	"testing"

	"fsenc/internal/casefold"
	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/policy"
)

// hexNumber is a number, in JSON as a string of hexadecimal digits.
type hexNumber uint64

func (n *hexNumber) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := strconv.ParseUint(s, 16, 64)
	*n = hexNumber(v)
	return err
}

// kernelDir is a directory that a kernel encrypted.
type kernelDir struct {
	vector
	FS         string
	Block      int           `json:"block_size"`
	DirInode   crypttest.Num `json:"dir_inode"`
	DirContext crypttest.Hex `json:"dir_context"`
	Casefold   bool
	Names      []struct {
		Plain, Disk crypttest.Hex
		Folded      crypttest.Hex
		DirentHash  []hexNumber `json:"dirent_hash"`
		Hash        hexNumber
		Minor       hexNumber `json:"minor_hash"`
	}
	Symlinks []struct {
		Inode           crypttest.Num
		Context, Target crypttest.Hex
		OnDisk          crypttest.Hex `json:"on_disk"`
	}
	Files []struct {
		Inode                          crypttest.Num
		Context, Plaintext, Ciphertext crypttest.Hex
		Size                           crypttest.Num
	}
}

func (d *kernelDir) context(t *testing.T, raw []byte) policy.Context {
	c, err := policy.ParseContext(raw)
	if err != nil {
		t.Fatalf("%s: %v", d.ID, err)
	}
	return c
}

// TestKernelDirectories compares with what kernels wrote to ext4 and f2fs.
func TestKernelDirectories(t *testing.T) { onEachPath(t, testKernelDirectories) }

func testKernelDirectories(t *testing.T) {
	names, links, files := 0, 0, 0
	for _, d := range crypttest.Load[kernelDir](t, "kernel.json") {
		d.PolicyVersion = 1 // the identifier is in the contexts
		k := d.key(t)
		if d.FS == "f2fs" {
			d.Block = 4096
		}
		vol := Volume{UUID: [16]byte(d.UUID), BlockSize: d.Block}
		n, err := k.Names(d.context(t, d.DirContext), uint64(d.DirInode), vol)
		if err != nil {
			t.Fatalf("%s: %v", d.ID, err)
		}
		for _, e := range d.Names {
			names++
			checkOneName(t, d.ID, n, e.Plain, e.Disk)
			if d.Casefold {
				folded, ok := casefold.Fold(nil, e.Plain)
				if !ok || e.Folded != nil && !bytes.Equal(folded, e.Folded) {
					t.Errorf("%s: %q folds to %q", d.ID, e.Plain, folded)
				}
				hash, minor, raw := n.DirHash(folded)
				if d.FS == "f2fs" {
					hash, minor = uint32(raw), 0
				}
				if uint64(hash) != uint64(e.Hash) || uint64(minor) != uint64(e.Minor) {
					t.Errorf("%s: %q hashes to %08x %08x", d.ID, e.Plain, hash, minor)
				}
			}
		}
		for _, l := range d.Symlinks {
			links++
			ln, err := k.Names(d.context(t, l.Context), uint64(l.Inode), vol)
			if err != nil {
				t.Fatalf("%s: %v", d.ID, err)
			}
			if got, err := ln.EncryptLink(l.Target, d.Block); err != nil || !bytes.Equal(got, l.OnDisk) {
				t.Errorf("%s: symlink of %d bytes is stored otherwise, %v", d.ID, len(l.Target), err)
			}
			if got, err := ln.CheckLink(l.OnDisk); err != nil || !bytes.Equal(got, l.Target) {
				t.Errorf("%s: symlink of %d bytes reads otherwise, %v", d.ID, len(l.Target), err)
			}
		}
		for _, f := range d.Files {
			files++
			c, err := k.Contents(d.context(t, f.Context), uint64(f.Inode), vol)
			if err != nil {
				t.Fatalf("%s: %v", d.ID, err)
			}
			want := make([]byte, len(f.Ciphertext))
			copy(want, f.Plaintext)
			got := make([]byte, len(want))
			if c.DecryptBlocks(got, f.Ciphertext, 0); !bytes.Equal(got, want) {
				t.Errorf("%s: file of %d bytes reads otherwise", d.ID, f.Size)
			}
			if c.EncryptBlocks(got, got, 0); !bytes.Equal(got, f.Ciphertext) {
				t.Errorf("%s: file of %d bytes is stored otherwise", d.ID, f.Size)
			}
		}
	}
	if names < 100 || links < 10 || files < 10 {
		t.Errorf("only %d names, %d symlinks, %d files", names, links, files)
	}
}
