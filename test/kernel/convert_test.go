package kernel

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/linux"
	"fsenc/test/mkimage"
)

// In every layout a tree is encrypted and reads the same through the kernel,
// which then writes into it; fsenc reads that back, and decrypts it again. At
// each stop e2fsck is content.
func TestConvert(t *testing.T) {
	for _, r := range mkimage.Rows {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			image, before := mkimage.Build(t, r)
			key, keyFile := masterKey(t, r.Name)

			run(t, "setup", image, "--yes")
			mustBeClean(t, image, "after setup")
			run(t, "encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			mustBeClean(t, image, "after encrypt-dir")
			noMarks(t, image)
			after := look(t, image, key)
			same(t, "after encrypt-dir", before, after, manifest.Encryption)
			isEncrypted(t, after)

			written := addTo(t, image, key)
			mustBeClean(t, image, "after the kernel wrote")
			fsckIsContent(t, image, keyFile)
			readsBack(t, image, keyFile, written)

			run(t, "decrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			mustBeClean(t, image, "after decrypt-dir")
			plain := look(t, image)
			same(t, "after decrypt-dir", written, plain, manifest.Encryption)
			nothingEncrypted(t, plain)
		})
	}
}

// addTo lets the kernel write into the encrypted tree and returns the tree as
// it shows it after a new mount.
func addTo(t *testing.T, image string, key []byte) []manifest.Entry {
	t.Helper()
	mkimage.Mounted(t, image, true, func(dir string) {
		if _, err := linux.AddKey(dir, key); err != nil {
			t.Fatal(err)
		}
		if err := linux.Add(filepath.Join(dir, "secret")); err != nil {
			t.Fatalf("write into the encrypted tree: %v", err)
		}
	})
	return look(t, image, key)
}

// isEncrypted checks that all of /secret is encrypted with a nonce of its own
// and one policy, and nothing else is.
func isEncrypted(t *testing.T, tree []manifest.Entry) {
	t.Helper()
	nonces := make(map[string]string)
	policy := ""
	for _, e := range tree {
		inside := e.Path == "secret" || strings.HasPrefix(e.Path, "secret/")
		carries := e.Type == manifest.File || e.Type == manifest.Dir || e.Type == manifest.Symlink
		if want := inside && carries; e.Encrypted != want {
			t.Errorf("%q: encrypted is %v, want %v", e.Path, e.Encrypted, want)
		}
		if e.Policy != nil && policy == "" {
			policy = e.Policy.Raw
		}
		if e.Policy != nil && e.Policy.Raw != policy {
			t.Errorf("%q: policy is %s, want %s", e.Path, e.Policy.Raw, policy)
		}
		if e.SameAs != "" || e.Nonce == "" {
			continue
		}
		if other, ok := nonces[e.Nonce]; ok {
			t.Errorf("%q and %q have one nonce", e.Path, other)
		}
		nonces[e.Nonce] = e.Path
	}
	if !strings.HasPrefix(policy, "0201040") {
		t.Errorf("policy is %s, want v2 with AES-256-XTS and AES-256-CTS", policy)
	}
}

func nothingEncrypted(t *testing.T, tree []manifest.Entry) {
	t.Helper()
	for _, e := range tree {
		if e.Encrypted || e.Nonce != "" {
			t.Errorf("%q is still encrypted", e.Path)
		}
	}
}

// noMarks searches the whole image, free blocks and journal included, for the
// words that the names, contents and targets of /secret are made of.
func noMarks(t *testing.T, image string) {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// Four bytes alone stand in ciphertext by chance, now and then.
	marks := [][]byte{[]byte(linux.MarkName + "-"), []byte(linux.MarkContents), []byte(linux.MarkTarget)}
	const overlap = 64
	buf := make([]byte, 1<<20)
	r := bufio.NewReaderSize(f, len(buf))
	kept := 0
	for off := int64(0); ; {
		n, err := io.ReadFull(r, buf[kept:])
		piece := buf[:kept+n]
		for _, m := range marks {
			if i := bytes.Index(piece, m); i >= 0 {
				at := max(0, i-32)
				t.Errorf("plaintext %q is left at byte %d:\n%s", m, off+int64(i), hex.Dump(piece[at:min(len(piece), at+96)]))
			}
		}
		if err != nil || t.Failed() {
			return
		}
		kept = copy(buf, piece[len(piece)-overlap:])
		off += int64(len(piece) - overlap)
	}
}

// fsckIsContent lets our own checker decode the whole image.
func fsckIsContent(t *testing.T, image, keyFile string) {
	t.Helper()
	run(t, "fsck", image, "--content", "--key-file", keyFile)
}

// readsBack extracts /secret with the key and compares it with what the
// kernel shows.
func readsBack(t *testing.T, image, keyFile string, want []manifest.Entry) {
	t.Helper()
	mkimage.InRoom(t, func(dir string) {
		run(t, "extract", image, "/secret", "-C", dir, "--key-file", keyFile)
		got := mkimage.Walk(t, dir)
		ignore := manifest.Inos | manifest.Encryption | manifest.Ranges | manifest.Flags
		same(t, "extracted", manifest.Below(want, "secret"), got, ignore)
	})

	for _, e := range want {
		if e.Type == manifest.File && path.Dir(e.Path) == "secret/"+linux.MarkName+"-added" && e.Size > 0 {
			out := run(t, "cat", image, "/"+e.Path, "--key-file", keyFile)
			if int64(len(out)) != e.Size {
				t.Errorf("cat %q: %d bytes, want %d", e.Path, len(out), e.Size)
			}
		}
	}
}
