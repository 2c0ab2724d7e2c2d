package crypt

import (
	"bytes"
	"crypto/aes"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/xts"

	"fsenc/internal/crypt/policy"
)

func TestNewMasterKeyTakesOver(t *testing.T) {
	for n := range 70 {
		raw := bytes.Repeat([]byte{0x5a}, n)
		k, err := NewMasterKey(raw)
		if len(bytes.TrimLeft(raw, "\x00")) != 0 {
			t.Errorf("%d bytes: the caller's copy is left", n)
		}
		if n < MinKeySize || n > MaxKeySize {
			if !errors.Is(err, ErrKeySize) {
				t.Errorf("%d bytes: %v", n, err)
			}
			continue
		}
		if err != nil || !bytes.Equal(k.Raw(), bytes.Repeat([]byte{0x5a}, n)) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		k.Wipe()
	}
	for _, n := range []int{0, 16, 31, 33, 64} {
		if _, err := NewHardwareKey(make([]byte, n)); !errors.Is(err, ErrKeySize) {
			t.Errorf("hardware key of %d bytes: %v", n, err)
		}
	}
}

// TestKnownNames has the check value of the kernel's documentation and a
// descriptor made with sha512sum twice over.
func TestKnownNames(t *testing.T) {
	raw := make([]byte, 64)
	for i := range raw {
		raw[i] = byte(i + 1)
	}
	k, err := NewMasterKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Wipe()
	if got := k.Identifier().String(); got != "69b2f6edeee720cce0577937eb8a6751" {
		t.Errorf("identifier %s", got)
	}
	if got := k.Descriptor().String(); got != "433c48721c7f03c2" {
		t.Errorf("descriptor %s", got)
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	raw := bytes.Repeat([]byte("secret! "), 8)
	text, digits := "secret!", hex.EncodeToString(raw[:6])
	k, err := NewMasterKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Wipe()
	ring := Keyring{}
	ring.Add(k)
	c := xtsContext(k, 1)
	f, err := k.Contents(c, 12, vol4k)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		for _, v := range []any{k, *k, struct{ K *MasterKey }{k}, []*MasterKey{k}} {
			s := fmt.Sprintf(verb, v)
			if strings.Contains(s, text) || strings.Contains(s, digits) || strings.Contains(s, "115 101 99") {
				t.Errorf("%s of %T prints the key", verb, v)
			}
		}
		if s := fmt.Sprintf(verb, f); s != "[contents cipher]" {
			t.Errorf("%s of a cipher prints %d bytes", verb, len(s))
		}
		for _, v := range []any{ring, &ring} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, text) || strings.Contains(s, digits) {
				t.Errorf("%s of %T prints the key", verb, v)
			}
		}
	}
	if s := fmt.Sprint(k); s != "[master key]" {
		t.Errorf("prints %q", s)
	}
}

func TestWipedKey(t *testing.T) {
	k := randomKey(t)
	c := xtsContext(k, 1)
	f, err := k.Contents(c, 12, vol4k)
	if err != nil {
		t.Fatal(err)
	}
	k.Wipe()
	k.Wipe()
	f.EncryptBlocks(make([]byte, 4096), make([]byte, 4096), 0) // ciphers live on
	if k.Raw() != nil || k.Identifier() != c.Identifier {
		t.Error("a wiped key has its bytes, or has lost its name")
	}
	defer func() {
		if recover() == nil {
			t.Error("a wiped key makes ciphers")
		}
	}()
	k.Contents(c, 12, vol4k)
}

func TestKeyring(t *testing.T) {
	a, b := randomKey(t), randomKey(t)
	hw := mustKey(t, NewHardwareKey, 32)
	v2 := xtsContext(a, 1).Policy
	v1 := policy.Policy{Version: 1, Contents: policy.ModeAES256XTS, Filenames: policy.ModeAES256CTS, Descriptor: b.Descriptor()}
	free := v1
	free.Descriptor = policy.Descriptor{'f', 'r', 'e', 'e'}

	var none *Keyring
	if _, err := none.For(v2); !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), v2.KeySpec()) {
		t.Errorf("no ring: %v", err)
	}
	var r Keyring
	r.Add(a, hw, b, a)
	if len(r.Keys()) != 3 {
		t.Errorf("%d keys", len(r.Keys()))
	}
	if k, err := r.For(v2); k != a || err != nil {
		t.Errorf("v2: %v", err)
	}
	if k, err := r.For(v1); k != b || err != nil {
		t.Errorf("v1: %v", err)
	}
	if got := r.Candidates(v1); len(got) != 2 || got[0] != b || got[1] != a {
		t.Errorf("v1 has %d candidates", len(got))
	}
	if got := r.Candidates(v2); len(got) != 1 || got[0] != a {
		t.Errorf("v2 has %d candidates", len(got))
	}
	if _, err := r.For(free); !errors.Is(err, ErrNoKey) {
		t.Errorf("free descriptor: %v", err)
	}
	if got := r.Candidates(free); len(got) != 2 {
		t.Errorf("free descriptor has %d candidates", len(got))
	}
	r.Bind(free.Descriptor, a)
	if k, err := r.For(free); k != a || err != nil {
		t.Errorf("bound descriptor: %v", err)
	}
	if got := r.Candidates(free); len(got) != 1 || got[0] != a {
		t.Errorf("bound descriptor has %d candidates", len(got))
	}
	if r.Wipe(); len(r.Keys()) != 0 || a.Raw() != nil {
		t.Error("a wiped ring holds keys")
	}
}

// Keys of extents as series v5 for btrfs derived them, made here from the standard
// library and another XTS.
func TestOldExtentKey(t *testing.T) {
	k := randomKey(t)
	c := xtsContext(k, 1)
	e := policy.ExtentContext{Version: 1, Mode: c.Contents, Identifier: k.Identifier(), Nonce: policy.Nonce{7, 8, 9}, Old: true}
	key, err := hkdf.Key(sha512.New, k.Raw(), nil, "fscrypt\x00\x08"+string(e.Nonce[:]), 64)
	if err != nil {
		t.Fatal(err)
	}
	other, err := xts.NewCipher(aes.NewCipher, key)
	if err != nil {
		t.Fatal(err)
	}
	f, err := k.Extent(c, e, vol4k)
	if err != nil {
		t.Fatal(err)
	}
	plain := bytes.Repeat([]byte("contents"), 2*4096/8)
	got, want := make([]byte, len(plain)), make([]byte, len(plain))
	f.EncryptBlocks(got, plain, 3)
	for i := range 2 {
		other.Encrypt(want[i*4096:][:4096], plain[i*4096:][:4096], uint64(3+i))
	}
	if !bytes.Equal(got, want) {
		t.Error("another ciphertext")
	}
	e.Old = false
	if f, err = k.Extent(c, e, vol4k); err != nil {
		t.Fatal(err)
	}
	if f.EncryptBlocks(got, plain, 3); bytes.Equal(got, want) {
		t.Error("the same key as of series v6")
	}
}
