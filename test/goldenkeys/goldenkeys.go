// Package goldenkeys makes keyrings of the manifests of golden images. imagetest,
// which reads them, knows no keys.
package goldenkeys

import (
	"bytes"
	"testing"

	"fsenc/internal/crypt"
	"fsenc/internal/image/imagetest/manifest"
)

// Ring has all keys of an image. It is wiped when the test ends.
func Ring(t testing.TB, m *manifest.Golden) *crypt.Keyring {
	t.Helper()
	ring := new(crypt.Keyring)
	for _, k := range m.Keys {
		ring.Add(Key(t, k.MasterKey))
	}
	t.Cleanup(ring.Wipe)
	return ring
}

// Key is the master key with these bytes, which it leaves alone.
func Key(t testing.TB, raw []byte) *crypt.MasterKey {
	t.Helper()
	key, err := crypt.NewMasterKey(bytes.Clone(raw))
	if err != nil {
		t.Fatal(err)
	}
	return key
}
