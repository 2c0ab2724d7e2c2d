// Package crypttest reads the test vectors of testdata/vectors, which were
// made by implementations that are not ours; the README there tells by which.
// Only tests import it.
package crypttest

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

// Hex is a byte string, in JSON as hexadecimal digits.
type Hex []byte

// UnmarshalJSON reads the digits.
func (h *Hex) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	raw, err := hex.DecodeString(s)
	*h = raw
	return err
}

// Num is a number, in JSON as such or as a string of decimal digits.
type Num uint64

// UnmarshalJSON reads either form.
func (n *Num) UnmarshalJSON(b []byte) error {
	if len(b) > 1 && b[0] == '"' {
		b = b[1 : len(b)-1]
	}
	v, err := strconv.ParseUint(string(b), 10, 64)
	*n = Num(v)
	return err
}

// Load returns the vectors of a file, and fails the test if there are none.
func Load[V any](t testing.TB, name string) []V {
	t.Helper()
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("where is this source file?")
	}
	raw, err := os.ReadFile(filepath.Join(filepath.Dir(here), "..", "testdata", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Format  int
		Vectors []V
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if file.Format != 1 || len(file.Vectors) == 0 {
		t.Fatalf("%s: format %d with %d vectors", name, file.Format, len(file.Vectors))
	}
	return file.Vectors
}
