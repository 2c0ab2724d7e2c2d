package crypt

import (
	"bytes"
	"testing"

	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/names"
	"fsenc/internal/crypt/policy"
)

// FuzzNames reads what an image may hold where a ciphertext is expected.
func FuzzNames(f *testing.F) {
	for _, v := range crypttest.Load[vector](f, "names_v2_per_file.json") {
		for _, pair := range v.Names {
			f.Add([]byte(pair[1]), uint8(v.Mode), v.Flags)
		}
	}
	for _, v := range crypttest.Load[vector](f, "symlinks.json") {
		f.Add([]byte(v.OnDisk), uint8(v.Mode), v.Flags)
	}
	k, err := NewMasterKey(bytes.Repeat([]byte{3, 1, 4, 1}, 16))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, ct []byte, mode, flags uint8) {
		c := contextFor(k, partner[policy.Mode(mode)], policy.Mode(mode), 1)
		c.Flags = flags
		n, err := k.Names(c, 12, vol4k)
		if err != nil {
			return
		}
		defer n.Close()
		fuzzName(t, n, ct)
		target, err := n.CheckLink(ct)
		if err != nil {
			return
		}
		size := len(ct)
		if stored, err := LinkCiphertext(ct); err == nil {
			size = len(stored)
		}
		// A room that leaves the ciphertext just as long gives it back.
		if again, err := n.EncryptLink(target, size+linkHeader+1); err == nil && len(again) == size+linkHeader && !bytes.Equal(again, ct[:len(again)]) {
			t.Fatalf("target %q is stored otherwise", target)
		}
	})
}

func fuzzName(t *testing.T, n *Names, ct []byte) {
	loose, err := n.DecryptName(nil, ct)
	if (err == nil) != (len(ct) >= names.MinEncrypted && len(ct) <= names.MaxName) {
		t.Fatalf("%d bytes: %v", len(ct), err)
	}
	strict, err := n.CheckName(nil, ct)
	if err != nil {
		return
	}
	if !bytes.Equal(loose, strict) {
		t.Fatalf("reads as %q and as %q", loose, strict)
	}
	again, err := n.EncryptName(nil, strict)
	if err != nil {
		t.Fatalf("%q cannot be encrypted: %v", strict, err)
	}
	// Another implementation may have padded further.
	if len(again) == len(ct) && !bytes.Equal(again, ct) {
		t.Fatalf("%q encrypts otherwise", strict)
	}
}
