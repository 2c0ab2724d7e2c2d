package adiantum

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"sync"
	"testing"
)

// TestPublished has vectors of github.com/google/adiantum for XChaCha12,
// AES-256 and tweaks of 32 bytes.
func TestPublished(t *testing.T) {
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

// TestUnits compares many units in one call with one call each.
func TestUnits(t *testing.T) {
	c, err := New(random(KeySize))
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range []int{16, 17, 160, 1024, 1040, 2064, 4096} {
		text := random(3 * unit)
		tweak := [TweakSize]byte(random(TweakSize))
		binary.LittleEndian.PutUint64(tweak[:], 1<<64-2) // the index wraps
		want, next := make([]byte, len(text)), tweak
		for i := range 3 {
			c.Encrypt(want[i*unit:(i+1)*unit], text[i*unit:(i+1)*unit], &next)
			binary.LittleEndian.PutUint64(next[:], binary.LittleEndian.Uint64(next[:])+1)
		}
		got := make([]byte, len(text))
		if c.EncryptUnits(got, text, unit, &tweak); !bytes.Equal(got, want) {
			t.Errorf("units of %d bytes differ", unit)
		}
		if c.DecryptUnits(got, got, unit, &tweak); !bytes.Equal(got, text) {
			t.Errorf("units of %d bytes do not decrypt", unit)
		}
	}
}

func TestSharedByGoroutines(t *testing.T) {
	c, err := New(random(KeySize))
	if err != nil {
		t.Fatal(err)
	}
	text := random(4096)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			tweak := [TweakSize]byte{31: byte(i)}
			got := make([]byte, len(text))
			for range 50 {
				c.Encrypt(got, text, &tweak)
				if c.Decrypt(got, got, &tweak); !bytes.Equal(got, text) {
					t.Error("another goroutine shows")
					return
				}
			}
		})
	}
	wg.Wait()
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
	c.Wipe()
	c.Wipe()
	if c.key != [KeySize]byte{} {
		t.Error("key is left")
	}
	defer func() {
		if recover() == nil {
			t.Error("a wiped cipher encrypts")
		}
	}()
	c.Encrypt(make([]byte, 16), make([]byte, 16), new([TweakSize]byte))
}

func BenchmarkAdiantum(b *testing.B) {
	c, err := New(random(KeySize))
	if err != nil {
		b.Fatal(err)
	}
	buf, tweak := make([]byte, 4096), new([TweakSize]byte)
	b.Run("encrypt", func(b *testing.B) {
		b.SetBytes(4096)
		b.ReportAllocs()
		for b.Loop() {
			c.EncryptUnits(buf, buf, 4096, tweak)
		}
	})
	b.Run("decrypt", func(b *testing.B) {
		b.SetBytes(4096)
		b.ReportAllocs()
		for b.Loop() {
			c.DecryptUnits(buf, buf, 4096, tweak)
		}
	})
	b.Run("library", func(b *testing.B) {
		b.SetBytes(4096)
		b.ReportAllocs()
		for b.Loop() {
			c.shared.Encrypt(buf, tweak[:])
		}
	})
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
