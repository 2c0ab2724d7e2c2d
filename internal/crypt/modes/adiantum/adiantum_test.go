package adiantum

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"

	library "lukechampine.com/adiantum"

	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/modes/aesblk"
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
	if c.stream.key != [KeySize]byte{} || c.hash != (hash{}) || c.aes != (aesblk.Schedule{}) {
		t.Error("a key is left")
	}
	defer func() {
		if recover() == nil {
			t.Error("a wiped cipher encrypts")
		}
	}()
	c.Encrypt(make([]byte, 16), make([]byte, 16), new([TweakSize]byte))
}

// TestAgainstLibrary compares with the library's own way on all lengths of names
// and on some units, and rekeys one cipher all the time.
func TestAgainstLibrary(t *testing.T) {
	var c Cipher
	lengths := []int{512, 1023, 1024, 1025, 1040, 1041, 2048, 4096, 4111}
	for n := 16; n <= 300; n++ {
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		key, text, tweak := random(KeySize), random(n), [TweakSize]byte(random(TweakSize))
		if n%3 == 0 {
			clear(text[:n/2]) // and numbers that reduce otherwise
			text = bytes.Repeat([]byte{0xff}, n)
		}
		if err := c.Init(key); err != nil {
			t.Fatal(err)
		}
		want := library.New(key).Encrypt(bytes.Clone(text), tweak[:])
		got := make([]byte, n)
		if c.Encrypt(got, text, &tweak); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes differ", n)
		}
		if c.Decrypt(got, got, &tweak); !bytes.Equal(got, text) {
			t.Fatalf("%d bytes do not decrypt", n)
		}
	}
}

// TestPoly compares with arithmetic on big numbers.
func TestPoly(t *testing.T) {
	for n := range 300 {
		key := random(16)
		text := random(16 * (n % 7))
		if n%2 == 0 {
			key = bytes.Repeat([]byte{0xff}, 16)
			text = bytes.Repeat([]byte{0xff}, len(text))
		}
		var got [16]byte
		var k polyKey
		var p poly
		k.init(key)
		for m := text; len(m) > 0; m = m[16:] {
			p.add(&k, load(m))
		}
		want := bigPoly(key, text)
		if p.sum().store(got[:]); got != want {
			t.Fatalf("%d blocks: %x, want %x", len(text)/16, got, want)
		}
	}
}

// bigPoly is Poly1305 without its last addition, of whole blocks.
func bigPoly(key, text []byte) (out [16]byte) {
	little := func(b []byte) *big.Int {
		b = bytes.Clone(b)
		slices.Reverse(b)
		return new(big.Int).SetBytes(b)
	}
	one := big.NewInt(1)
	p := new(big.Int).Sub(new(big.Int).Lsh(one, 130), big.NewInt(5))
	r := little(key)
	clamp, _ := new(big.Int).SetString("0ffffffc0ffffffc0ffffffc0fffffff", 16)
	r.And(r, clamp)
	h := new(big.Int)
	for ; len(text) > 0; text = text[16:] {
		h.Add(h, little(text[:16]))
		h.Add(h, new(big.Int).Lsh(one, 128))
		h.Mod(h.Mul(h, r), p)
	}
	h.Mod(h, new(big.Int).Lsh(one, 128)).FillBytes(out[:])
	slices.Reverse(out[:])
	return out
}

func TestNoAllocation(t *testing.T) {
	key, buf, tweak := random(KeySize), make([]byte, 8192), new([TweakSize]byte)
	var c Cipher
	crypttest.NoAllocs(t, "key and units", func() {
		if err := c.Init(key); err != nil {
			t.Error(err)
		}
		c.EncryptUnits(buf, buf, 4096, tweak)
		c.DecryptUnits(buf, buf, 512, tweak)
		c.Encrypt(buf[:31], buf[:31], tweak)
	})
}

func BenchmarkAdiantum(b *testing.B) {
	key := random(KeySize)
	c, err := New(key)
	if err != nil {
		b.Fatal(err)
	}
	l := library.New(key)
	for _, n := range []int{32, 512, 4096} {
		buf, tweak := make([]byte, n), new([TweakSize]byte)
		b.Run(fmt.Sprintf("encrypt/%d", n), func(b *testing.B) {
			crypttest.CPU(b, n, func() { c.Encrypt(buf, buf, tweak) })
		})
		b.Run(fmt.Sprintf("decrypt/%d", n), func(b *testing.B) {
			crypttest.CPU(b, n, func() { c.Decrypt(buf, buf, tweak) })
		})
		b.Run(fmt.Sprintf("library/%d", n), func(b *testing.B) {
			crypttest.CPU(b, n, func() { l.Encrypt(buf, tweak[:]) })
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
