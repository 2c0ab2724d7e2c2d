package cts

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/modes/isa"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// TestRFC3962 has the examples of RFC 3962, appendix B: AES-128, zero IV.
func TestRFC3962(t *testing.T) {
	c, err := New(unhex("636869636b656e207465726979616b69"))
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("I would like the General Gau's Chicken, please, and wonton soup.")
	for n, want := range map[int]string{
		17: "c6353568f2bf8cb4d8a580362da7ff7f97",
		31: "fc00783e0efdb2c1d445d4c8eff7ed2297687268d6ecccc0c07b25e25ecfe5",
		32: "39312523a78662d5be7fcbcc98ebf5a897687268d6ecccc0c07b25e25ecfe584",
		47: "97687268d6ecccc0c07b25e25ecfe584b3fffd940c16a18c1b5549d2f838029e39312523a78662d5be7fcbcc98ebf5",
		48: "97687268d6ecccc0c07b25e25ecfe5849dad8bbb96c4cdc03bc103e1a194bbd839312523a78662d5be7fcbcc98ebf5a8",
		64: "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a84807efe836ee89a526730dbc2f7bc8409dad8bbb96c4cdc03bc103e1a194bbd8",
	} {
		got := make([]byte, n)
		if c.Encrypt(got, text[:n], new([16]byte)); hex.EncodeToString(got) != want {
			t.Errorf("%d bytes: %x, want %s", n, got, want)
		}
		if c.Decrypt(got, got, new([16]byte)); !bytes.Equal(got, text[:n]) {
			t.Errorf("%d bytes: decrypts to %q", n, got)
		}
	}
}

// TestSM4AgainstPlainCBC compares with crypto/cipher over the same block
// cipher; the bytes themselves are held by the vectors of package crypt.
func TestSM4AgainstPlainCBC(t *testing.T) {
	key, iv, text := random(16), [16]byte(random(16)), random(64)
	c, err := NewSM4(key)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, len(text))
	cipher.NewCBCEncrypter(c.block.(sm4Blocks).Block, iv[:]).CryptBlocks(want, text)
	swapLast(want)
	got := make([]byte, len(text))
	if c.Encrypt(got, text, &iv); !bytes.Equal(got, want) {
		t.Error("not CBC with the last two blocks swapped")
	}
	for n := 16; n < 64; n++ {
		c.Encrypt(got[:n], text[:n], &iv)
		if c.Decrypt(got[:n], got[:n], &iv); !bytes.Equal(got[:n], text[:n]) {
			t.Errorf("%d bytes do not decrypt in place", n)
		}
	}
}

// TestAgainstCBC compares whole blocks with crypto/cipher, and cut ones with
// the same on a zero-padded text.
func TestAgainstCBC(t *testing.T) {
	for _, set := range isa.Available() {
		t.Run(set.String(), func(t *testing.T) {
			defer isa.Use(set)()
			testAgainstCBC(t)
		})
	}
}

func testAgainstCBC(t *testing.T) {
	for _, size := range []int{16, 32} {
		key := random(size)
		c, err := New(key)
		if err != nil {
			t.Fatal(err)
		}
		std, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		for n := 16; n <= 300; n++ {
			iv, text := [16]byte(random(16)), random(n)
			want := make([]byte, (n+15)/16*16)
			copy(want, text)
			cipher.NewCBCEncrypter(std, iv[:]).CryptBlocks(want, want)
			if n > 16 {
				swapLast(want)
			}
			got := bytes.Clone(text)
			if c.Encrypt(got, got, &iv); !bytes.Equal(got, want[:n]) {
				t.Fatalf("%d bytes in place: %x, want %x", n, got, want[:n])
			}
			apart := make([]byte, n)
			if c.Decrypt(apart, got, &iv); !bytes.Equal(apart, text) {
				t.Fatalf("%d bytes do not decrypt", n)
			}
			if c.Decrypt(got, got, &iv); !bytes.Equal(got, text) {
				t.Fatalf("%d bytes do not decrypt in place", n)
			}
		}
	}
}

func TestWipe(t *testing.T) {
	c, err := NewSM4(random(16))
	if err != nil {
		t.Fatal(err)
	}
	c.Wipe()
	c.Wipe()
	defer func() {
		if recover() == nil {
			t.Error("a wiped cipher encrypts")
		}
	}()
	c.Encrypt(make([]byte, 16), make([]byte, 16), new([16]byte))
}

func TestKeySizes(t *testing.T) {
	for _, n := range []int{0, 15, 17, 24, 33} {
		if _, err := New(make([]byte, n)); !errors.Is(err, ErrKeySize) {
			t.Errorf("aes, %d bytes: %v", n, err)
		}
		if _, err := NewSM4(make([]byte, n)); !errors.Is(err, ErrKeySize) {
			t.Errorf("sm4, %d bytes: %v", n, err)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	c, err := New(random(32))
	if err != nil {
		t.Fatal(err)
	}
	buf, iv := make([]byte, 255), new([16]byte)
	crypttest.NoAllocs(t, "names", func() { c.Encrypt(buf, buf, iv); c.Decrypt(buf, buf, iv) })
}

func BenchmarkCTS(b *testing.B) {
	c, err := New(random(32))
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{16, 32, 255} {
		buf, iv := make([]byte, n), new([16]byte)
		b.Run(fmt.Sprintf("encrypt/%d", n), func(b *testing.B) {
			crypttest.CPU(b, n, func() { c.Encrypt(buf, buf, iv) })
		})
		b.Run(fmt.Sprintf("decrypt/%d", n), func(b *testing.B) {
			crypttest.CPU(b, n, func() { c.Decrypt(buf, buf, iv) })
		})
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func swapLast(b []byte) {
	n := len(b)
	a := [16]byte(b[n-32:])
	copy(b[n-32:], b[n-16:])
	copy(b[n-16:], a[:])
}
