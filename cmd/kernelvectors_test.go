package cmd

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image/imagetest"
)

// TestPolicies compares the judgement of policies with a kernel's, on images
// like the kernel's.
func TestPolicies(t *testing.T) {
	b := newTestBench(t)
	images := map[string]string{"ext4-4k": imagetest.Golden(t, "ext4-4k"), "ext4-1k-stable": imagetest.Golden(t, "ext4-1k")}
	if code := newApp(b.in, b.out, b.err).run([]string{"setup", images["ext4-1k-stable"], "--feature", "stable_inodes", "--no-metadata", "-y"}); code != exitDone {
		t.Fatalf("setup: exit code %d", code)
	}
	accepted := 0
	for _, v := range crypttest.Load[struct {
		ID      string
		Policy  string
		Results map[string]string
	}](t, "policies.json") {
		for kind, image := range images {
			fill(t, b.out, nil)
			code := newApp(b.in, b.out, b.err).run([]string{"inspect", "context", "--json", "--hex", v.Policy, image})
			out, err := os.ReadFile(b.out.Name())
			if err != nil {
				t.Fatal(err)
			}
			taken := code == exitDone && !bytes.Contains(out, []byte(`"invalid":`))
			if taken {
				accepted++
			}
			if taken != (v.Results[kind] == "ok") {
				t.Errorf("%s: %s on %s: the kernel says %s, inspect %s", v.ID, v.Policy, kind, v.Results[kind], out)
			}
		}
	}
	if accepted < 20 {
		t.Errorf("only %d policies were accepted", accepted)
	}
}

// hashes runs inspect dirhash for one name.
func (b *vectorBench) hashes(args ...string) (h jsonHash) {
	b.Helper()
	if err := json.Unmarshal(b.run(nil, append([]string{"dirhash", "--json"}, args...)...), &h); err != nil {
		b.Fatal(err)
	}
	return h
}

func TestDirhash(t *testing.T) {
	b := newTestBench(t)
	for _, v := range crypttest.Load[struct {
		cipherVector
		DirNonce string `json:"dir_nonce"`
		Folded   string `json:"folded_name"`
		SipHash  string
		Ext4     string `json:"ext4_hash"`
		Minor    string `json:"ext4_minor_hash"`
		F2fs     string `json:"f2fs_hash"`
	}](t, "dirhash.json") {
		b.with(v.MasterKey)
		got := b.hashes("--file-nonce", v.DirNonce, "--hex", "--folded", "--name", v.Folded)
		if got.SipHash != v.SipHash || got.Hash != v.Ext4 || got.Minor != v.Minor || got.F2fs != v.F2fs || got.Folded != v.Folded {
			t.Errorf("%s: %+v", v.ID, got)
		}
	}
}

// kernelDir is a directory that a kernel encrypted.
type kernelDir struct {
	cipherVector
	FS         string
	Block      int           `json:"block_size"`
	DirInode   crypttest.Num `json:"dir_inode"`
	DirContext crypttest.Hex `json:"dir_context"`
	Casefold   bool
	Names      []struct {
		Plain, Disk, Folded crypttest.Hex
		Hash                string
		Minor               string `json:"minor_hash"`
	}
	Symlinks []struct {
		Inode           crypttest.Num
		Context, Target crypttest.Hex
		OnDisk          crypttest.Hex `json:"on_disk"`
	}
	Files []struct {
		Inode                          crypttest.Num
		Context, Plaintext, Ciphertext crypttest.Hex
	}
}

// from is what the context of an inode says.
func (d *kernelDir) from(context []byte, ino crypttest.Num) []string {
	return []string{"--context", hex.EncodeToString(context), "--inode-number", fmt.Sprint(ino), "--fs-uuid", hex.EncodeToString(d.UUID)}
}

// TestCryptKernel compares with what kernels wrote to ext4 and f2fs.
func TestCryptKernel(t *testing.T) {
	b := newTestBench(t)
	for _, d := range crypttest.Load[kernelDir](t, "kernel.json") {
		b.with(d.MasterKey)
		if d.FS == "f2fs" {
			d.Block = 4096
		}
		dir := append(d.from(d.DirContext, d.DirInode), "--names")
		for _, n := range d.Names {
			b.crypt(d.ID, n.Plain, n.Disk, dir...)
			if d.Casefold {
				d.checkHash(b, n.Plain, n.Folded, n.Hash, n.Minor)
			}
		}
		for _, l := range d.Symlinks {
			args := append(d.from(l.Context, l.Inode), "--names", "--data-unit-size", fmt.Sprint(d.Block-linkOverhead))
			b.crypt(d.ID, l.Target, l.OnDisk[2:], args...)
		}
		for _, f := range d.Files {
			args := d.from(f.Context, f.Inode)
			if c, err := policy.ParseContext(f.Context); err != nil || c.Log2DataUnitSize == 0 {
				args = append(args, "--data-unit-size", fmt.Sprint(d.Block))
			}
			// The kernel encrypts whole blocks, of which the last is padded.
			padded := make([]byte, len(f.Ciphertext))
			copy(padded, f.Plaintext)
			b.crypt(d.ID, padded, f.Ciphertext, args...)
		}
	}
}

// checkHash compares the hash of a name in a directory that folds case.
func (d *kernelDir) checkHash(b *vectorBench, name, folded []byte, hash, minor string) {
	b.Helper()
	nonce := d.DirContext[len(d.DirContext)-16:]
	got := b.hashes("--file-nonce", hex.EncodeToString(nonce), "--hex", "--name", hex.EncodeToString(name))
	if d.FS == "f2fs" {
		got.Hash, got.Minor = got.F2fs, "00000000"
	}
	if got.Hash != hash || got.Minor != minor || folded != nil && got.Folded != hex.EncodeToString(folded) {
		b.Errorf("%s: %x hashes to %+v, want %s %s", d.ID, name, got, hash, minor)
	}
	if raw := got.NameBytes; raw != nil && !bytes.Equal(raw, name) {
		b.Errorf("%s: name %x came back as %x", d.ID, name, raw)
	}
}
