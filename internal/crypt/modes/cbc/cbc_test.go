package cbc

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/modes/isa"
)

// reference is CBC-ESSIV by crypto/cipher, one unit.
func reference(t *testing.T, key []byte, iv [16]byte, text []byte) []byte {
	hashed := sha256.Sum256(key)
	essiv, err := aes.NewCipher(hashed[:])
	if err != nil {
		t.Fatal(err)
	}
	data, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	essiv.Encrypt(iv[:], iv[:])
	out := make([]byte, len(text))
	cipher.NewCBCEncrypter(data, iv[:]).CryptBlocks(out, text)
	return out
}

func TestAgainstStandardLibrary(t *testing.T) {
	for _, set := range isa.Available() {
		t.Run(set.String(), func(t *testing.T) {
			defer isa.Use(set)()
			testAgainstStandardLibrary(t)
		})
	}
}

func testAgainstStandardLibrary(t *testing.T) {
	for _, unit := range []int{16, 32, 112, 512, 1040, 4096} {
		for units := range 19 {
			key, text := random(16), random(unit*units)
			iv := [16]byte(random(16))
			if units == 2 {
				binary.LittleEndian.PutUint64(iv[:8], 1<<64-1) // the index wraps
			}
			c, err := New(key)
			if err != nil {
				t.Fatal(err)
			}
			var want []byte
			next := iv
			for off := 0; off < len(text); off += unit {
				want = append(want, reference(t, key, next, text[off:off+unit])...)
				binary.LittleEndian.PutUint64(next[:8], binary.LittleEndian.Uint64(next[:8])+1)
			}
			got := bytes.Clone(text)
			if c.EncryptUnits(got, got, unit, &iv); !bytes.Equal(got, want) {
				t.Fatalf("%d units of %d bytes differ", units, unit)
			}
			apart := make([]byte, len(text))
			c.DecryptUnits(apart, got, unit, &iv)
			c.DecryptUnits(got, got, unit, &iv)
			if !bytes.Equal(apart, text) || !bytes.Equal(got, text) {
				t.Fatalf("%d units of %d bytes do not decrypt", units, unit)
			}
		}
	}
}

func TestKeySizes(t *testing.T) {
	for _, n := range []int{0, 15, 17, 32} {
		if _, err := New(make([]byte, n)); !errors.Is(err, ErrKeySize) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestWipedCipherPanics(t *testing.T) {
	c, err := New(random(16))
	if err != nil {
		t.Fatal(err)
	}
	if c.Wipe(); *c != (Cipher{}) {
		t.Error("round keys are left")
	}
	defer func() {
		if recover() == nil {
			t.Error("a wiped cipher encrypts")
		}
	}()
	c.EncryptUnits(make([]byte, 16), make([]byte, 16), 16, new([16]byte))
}

func TestNoAllocation(t *testing.T) {
	c, err := New(random(16))
	if err != nil {
		t.Fatal(err)
	}
	key, buf := random(16), make([]byte, 4096)
	var iv [16]byte
	if n := testing.AllocsPerRun(100, func() {
		if err := c.Init(key); err != nil {
			t.Error(err)
		}
		c.EncryptUnits(buf, buf, 1024, &iv)
		c.DecryptUnits(buf, buf, 1024, &iv)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCBC(b *testing.B) {
	c, err := New(random(16))
	if err != nil {
		b.Fatal(err)
	}
	buf, iv := make([]byte, 64<<10), new([16]byte)
	for _, unit := range []int{512, 4096} {
		b.Run(fmt.Sprintf("encrypt/%d", unit), func(b *testing.B) {
			crypttest.CPU(b, len(buf), func() { c.EncryptUnits(buf, buf, unit, iv) })
		})
		b.Run(fmt.Sprintf("decrypt/%d", unit), func(b *testing.B) {
			crypttest.CPU(b, len(buf), func() { c.DecryptUnits(buf, buf, unit, iv) })
		})
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
