// Package imagetest gives tests the golden images of testdata/images, with
// their manifests, and holds the suite that every filesystem package passes
// on the images of its kind.
package imagetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"

	"github.com/klauspost/compress/zstd"
)

// Dir returns the directory of the golden images.
func Dir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..", "testdata", "images")
}

// Names returns the golden images whose name starts with one of the prefixes,
// sorted: "ext4-" is every image of testdata/images for ext4, "oracle/ext4-"
// those of its oracle folder. No match is a mistake of the test.
func Names(t testing.TB, prefixes ...string) []string {
	t.Helper()
	var names []string
	for _, p := range prefixes {
		files, err := filepath.Glob(filepath.Join(Dir(), p+"*.json"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			t.Fatalf("no golden image is called %s*", p)
		}
		for _, f := range files {
			name, err := filepath.Rel(Dir(), f)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, strings.TrimSuffix(filepath.ToSlash(name), ".json"))
		}
	}
	slices.Sort(names)
	return names
}

// Manifest returns the manifest of a golden image: "ext4-4k",
// "oracle/ext4-modes-619".
func Manifest(t testing.TB, name string) *manifest.Golden {
	t.Helper()
	g, err := manifest.ReadGolden(filepath.Join(Dir(), name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Golden unpacks a golden image into a sparse file of its own, which the test
// may change, and returns its path. The digest was checked.
func Golden(t testing.TB, name string) string {
	t.Helper()
	m := Manifest(t, name)
	path := filepath.Join(t.TempDir(), filepath.Base(name)+".img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	n, err := unpack(io.MultiWriter(&sparseWriter{f: f}, sum), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(n); err != nil {
		t.Fatal(err)
	}
	check(t, m, n, sum.Sum(nil))
	return path
}

// GoldenBytes returns the contents of a golden image. The digest was checked.
func GoldenBytes(t testing.TB, name string) []byte {
	t.Helper()
	m := Manifest(t, name)
	b := bytes.NewBuffer(make([]byte, 0, m.Size))
	n, err := unpack(b, name)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	check(t, m, n, sum[:])
	return b.Bytes()
}

// Break returns a copy of the image in base with one of the manifest's ways
// to damage it applied.
func Break(t testing.TB, base []byte, b manifest.Broken) []byte {
	t.Helper()
	img := bytes.Clone(base)
	for _, p := range b.Patch {
		at := img[p.Offset:]
		if !bytes.HasPrefix(at, p.Old) {
			t.Fatalf("%s: offset %d does not hold what the patch replaces", b.Name, p.Offset)
		}
		copy(at, p.New)
	}
	if got := Sum(img); got != b.SHA256 {
		t.Fatalf("%s: patched image has digest %s, want %s", b.Name, got, b.SHA256)
	}
	return img
}

// Sum returns the SHA-256 of b in hex, as manifests have it.
func Sum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func check(t testing.TB, m *manifest.Golden, n int64, sum []byte) {
	t.Helper()
	if n != m.Size {
		t.Fatalf("%s: unpacked to %d bytes, want %d", m.Name, n, m.Size)
	}
	if got := hex.EncodeToString(sum); got != m.SHA256 {
		t.Fatalf("%s: digest is %s, want %s", m.Name, got, m.SHA256)
	}
}

func unpack(w io.Writer, name string) (int64, error) {
	f, err := os.Open(filepath.Join(Dir(), name+".img.zst"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return Unpack(w, f)
}

// Unpack writes the zstd stream r to w and returns the length in bytes.
func Unpack(w io.Writer, r io.Reader) (int64, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return 0, err
	}
	defer z.Close()
	n, err := io.Copy(w, z)
	if err != nil {
		return n, fmt.Errorf("unpack: %w", err)
	}
	return n, nil
}

// sparseWriter leaves holes where what is written is zero.
type sparseWriter struct {
	f   *os.File
	off int64
}

const sparseUnit = 4096 // bytes

func (s *sparseWriter) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := min(sparseUnit-int(s.off%sparseUnit), len(p)-done)
		piece := p[done : done+n]
		if len(bytes.TrimLeft(piece, "\x00")) > 0 {
			if _, err := s.f.WriteAt(piece, s.off); err != nil {
				return done, err
			}
		}
		s.off += int64(n)
		done += n
	}
	return len(p), nil
}
