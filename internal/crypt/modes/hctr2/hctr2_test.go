package hctr2

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"fsenc/internal/crypt/modes/isa"
)

func TestPublished(t *testing.T) {
	for _, set := range isa.Available() {
		t.Run(set.String(), func(t *testing.T) {
			defer isa.Use(set)()
			checkPublished(t)
		})
	}
}

func checkPublished(t *testing.T) {
	for _, v := range published {
		c, err := New(unhex(v.key))
		if err != nil {
			t.Fatal(err)
		}
		tweak := [TweakSize]byte(unhex(v.tweak))
		got := unhex(v.plain)
		if c.Encrypt(got, got, &tweak); hex.EncodeToString(got) != v.cipher {
			t.Errorf("%d bytes: %x, want %s", len(got), got, v.cipher)
		}
		if c.Decrypt(got, got, &tweak); hex.EncodeToString(got) != v.plain {
			t.Errorf("%d bytes: decrypts to %x", len(got), got)
		}
	}
}

func TestRoundTrips(t *testing.T) {
	c, err := New(random(KeySize))
	if err != nil {
		t.Fatal(err)
	}
	for n := 16; n <= 600; n++ {
		text, tweak := random(n), [TweakSize]byte(random(TweakSize))
		ct, back := make([]byte, n), make([]byte, n)
		c.Encrypt(ct, text, &tweak)
		if c.Decrypt(back, ct, &tweak); !bytes.Equal(back, text) {
			t.Fatalf("%d bytes do not decrypt", n)
		}
		inPlace := bytes.Clone(text)
		if c.Encrypt(inPlace, inPlace, &tweak); !bytes.Equal(inPlace, ct) {
			t.Fatalf("%d bytes in place differ", n)
		}
		if c.Decrypt(inPlace, inPlace, &tweak); !bytes.Equal(inPlace, text) {
			t.Fatalf("%d bytes in place do not decrypt", n)
		}
	}
}

func TestKeySizes(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33, 64} {
		if _, err := New(make([]byte, n)); !errors.Is(err, ErrKeySize) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestWipe(t *testing.T) {
	c, err := New(random(KeySize))
	if err != nil {
		t.Fatal(err)
	}
	if c.Wipe(); *c != (Cipher{}) {
		t.Error("something is left")
	}
}

func TestNoAllocation(t *testing.T) {
	key := random(KeySize)
	c, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	buf, tweak := make([]byte, 255), new([TweakSize]byte)
	if n := testing.AllocsPerRun(100, func() {
		if err := c.Init(key); err != nil {
			t.Error(err)
		}
		c.Encrypt(buf, buf, tweak)
		c.Decrypt(buf, buf, tweak)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHCTR2(b *testing.B) {
	c, err := New(random(KeySize))
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{16, 32, 64, 255} {
		buf, tweak := make([]byte, n), new([TweakSize]byte)
		b.Run(fmt.Sprintf("encrypt/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				c.Encrypt(buf, buf, tweak)
			}
		})
		b.Run(fmt.Sprintf("decrypt/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				c.Decrypt(buf, buf, tweak)
			}
		})
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
