package sm4xts

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	gmcipher "github.com/emmansun/gmsm/cipher"
	"github.com/emmansun/gmsm/sm4"
	"golang.org/x/crypto/xts"

	"fsenc/internal/crypt/crypttest"
)

// TestAgainstOracle compares with x/crypto's XTS, which knows sectors of up to
// 2⁶⁴ and doubles as IEEE 1619 does.
func TestAgainstOracle(t *testing.T) {
	for _, unit := range []int{16, 48, 64, 512, 528, 1040, 4096} {
		for units := range 4 {
			key, text := random(KeySize), random(unit*units)
			sector := binary.LittleEndian.Uint64(random(8))
			if units == 3 {
				sector = 1<<64 - 2
			}
			oracle, err := xts.NewCipher(sm4.NewCipher, key)
			if err != nil {
				t.Fatal(err)
			}
			want := make([]byte, len(text))
			for i := range units {
				oracle.Encrypt(want[i*unit:(i+1)*unit], text[i*unit:(i+1)*unit], sector+uint64(i))
			}
			c, err := New(key)
			if err != nil {
				t.Fatal(err)
			}
			checkBoth(t, c, text, want, unit, sector)
		}
	}
}

func checkBoth(t *testing.T, c *Cipher, text, want []byte, unit int, sector uint64) {
	var iv [16]byte
	binary.LittleEndian.PutUint64(iv[:], sector)
	got := bytes.Clone(text)
	if c.EncryptUnits(got, got, unit, &iv); !bytes.Equal(got, want) {
		t.Fatalf("%d bytes in units of %d differ", len(text), unit)
	}
	apart := make([]byte, len(text))
	c.DecryptUnits(apart, got, unit, &iv)
	c.DecryptUnits(got, got, unit, &iv)
	if !bytes.Equal(got, text) || !bytes.Equal(apart, text) {
		t.Fatalf("%d bytes in units of %d do not decrypt", len(text), unit)
	}
}

func TestKeys(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33, 64} {
		if _, err := New(make([]byte, n)); !errors.Is(err, ErrKeySize) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	half := random(16)
	if _, err := New(append(half, half...)); !errors.Is(err, ErrWeakKey) {
		t.Errorf("equal halves: %v", err)
	}
}

func TestWipe(t *testing.T) {
	c, err := New(random(KeySize))
	if err != nil {
		t.Fatal(err)
	}
	data := c.data
	before, after := make([]byte, 16), make([]byte, 16)
	data.Encrypt(before, before)
	if c.Wipe(); fmt.Sprintf("%v", c) != fmt.Sprintf("%v", &Cipher{}) {
		t.Error("something is left")
	}
	defer func() {
		if recover() == nil && bytes.Equal(before, after) {
			t.Error("round keys are left")
		}
	}()
	data.Encrypt(after, after)
}

func TestNoAllocation(t *testing.T) {
	c, err := New(random(KeySize))
	if err != nil {
		t.Fatal(err)
	}
	buf, iv := make([]byte, 8192), new([16]byte)
	crypttest.NoAllocs(t, "units", func() { c.EncryptUnits(buf, buf, 512, iv); c.DecryptUnits(buf, buf, 4096, iv) })
}

// BenchmarkSM4XTS has the library's XTS beside ours: it makes an object per
// unit, from keys or, which it does not offer as such, from prepared blocks.
func BenchmarkSM4XTS(b *testing.B) {
	key := random(KeySize)
	c, err := New(key)
	if err != nil {
		b.Fatal(err)
	}
	iv := new([16]byte)
	prepared := func(key []byte) (cipher.Block, error) { return c.data, nil }
	for _, n := range []int{512, 4096} {
		buf := make([]byte, n)
		library := func(create gmcipher.CipherCreator) func() {
			return func() {
				m, err := gmcipher.NewXTSEncrypter(create, key[:16], key[16:], iv[:])
				if err != nil {
					b.Fatal(err)
				}
				m.CryptBlocks(buf, buf)
			}
		}
		for name, f := range map[string]func(){
			"encrypt":          func() { c.EncryptUnits(buf, buf, n, iv) },
			"decrypt":          func() { c.DecryptUnits(buf, buf, n, iv) },
			"library":          library(sm4.NewCipher),
			"library-prepared": library(prepared),
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) { crypttest.CPU(b, n, f) })
		}
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
