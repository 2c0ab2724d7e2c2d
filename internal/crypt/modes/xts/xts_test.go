package xts

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	oracle "golang.org/x/crypto/xts"

	"fsenc/internal/crypt/modes/isa"
)

// onEachSet runs f on every instruction set of this machine.
func onEachSet(t *testing.T, f func(t *testing.T)) {
	for _, s := range isa.Available() {
		t.Run(s.String(), func(t *testing.T) {
			defer isa.Use(s)()
			f(t)
		})
	}
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type vector struct {
	ID     string
	Key    hexBytes
	IV     hexBytes
	Unit   int
	Plain  hexBytes
	Cipher hexBytes
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n+7)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b[:n:n]
}

func newRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// ieee1619.json has vectors 2 to 5 and 10 of annex B of IEEE 1619; the halves
// of vector 1's key are equal. fscrypt.json was made with xfstests'
// fscrypt-crypt-util and has several units a vector.
func TestVectors(t *testing.T) {
	for _, file := range []string{"testdata/ieee1619.json", "testdata/fscrypt.json"} {
		text, err := os.ReadFile(file)
		must(t, err)
		var vectors []vector
		must(t, json.Unmarshal(text, &vectors))
		if len(vectors) == 0 {
			t.Fatalf("%s is empty", file)
		}
		onEachSet(t, func(t *testing.T) {
			for _, v := range vectors {
				c, err := New(v.Key)
				must(t, err)
				got := make([]byte, len(v.Plain))
				c.EncryptUnits(got, v.Plain, v.Unit, (*[16]byte)(v.IV))
				if !bytes.Equal(got, v.Cipher) {
					t.Errorf("%s: wrong ciphertext", v.ID)
				}
				c.DecryptUnits(got, v.Cipher, v.Unit, (*[16]byte)(v.IV))
				if !bytes.Equal(got, v.Plain) {
					t.Errorf("%s: wrong plaintext", v.ID)
				}
			}
		})
	}
}

// unitSizes holds every count of blocks up to 70 and then some: each tail of
// each kernel, and full turns before it.
func unitSizes() []int {
	var sizes []int
	for n := 1; n <= 70; n++ {
		sizes = append(sizes, n*blockSize)
	}
	return append(sizes, 1536, 2048, 2064, 4080, 4096, 4112, 16384)
}

func TestAgainstOracle(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		r := newRand()
		for _, unit := range unitSizes() {
			for _, keySize := range []int{32, 64} {
				compareWithOracle(t, r, keySize, unit, 1+r.IntN(3))
			}
		}
		for units := 1; units <= 40; units++ {
			compareWithOracle(t, r, 64, 16, units)
			compareWithOracle(t, r, 64, 48, units)
			compareWithOracle(t, r, 32, 512, units)
		}
	})
}

// compareWithOracle works between guard bytes, in place and not, and on an
// odd address.
func compareWithOracle(t *testing.T, r *rand.Rand, keySize, unit, units int) {
	t.Helper()
	key, sector := randomBytes(r, keySize), r.Uint64()
	if r.IntN(3) == 0 {
		sector = -uint64(r.IntN(units + 1)) // wraps within the call
	}
	c, err := New(key)
	must(t, err)
	o, err := oracle.NewCipher(aes.NewCipher, key)
	must(t, err)
	n := unit * units
	plain, want := randomBytes(r, n), make([]byte, n)
	for u := range units {
		o.Encrypt(want[u*unit:][:unit], plain[u*unit:][:unit], sector+uint64(u))
	}
	var iv [16]byte
	binary.LittleEndian.PutUint64(iv[:], sector)
	what := fmt.Sprintf("key of %d bytes, %d units of %d bytes", keySize, units, unit)

	buf := bytes.Repeat([]byte{0xa5}, n+33)
	off := 1 + r.IntN(32)
	dst := buf[off : off+n]
	c.EncryptUnits(dst, plain, unit, &iv)
	if !bytes.Equal(dst, want) {
		t.Fatalf("%s: wrong ciphertext", what)
	}
	c.DecryptUnits(dst, dst, unit, &iv)
	if !bytes.Equal(dst, plain) {
		t.Fatalf("%s: wrong plaintext in place", what)
	}
	c.EncryptUnits(dst, dst, unit, &iv)
	if !bytes.Equal(dst, want) {
		t.Fatalf("%s: wrong ciphertext in place", what)
	}
	for i, b := range buf {
		if (i < off || i >= off+n) && b != 0xa5 {
			t.Fatalf("%s: wrote outside the destination", what)
		}
	}
	if binary.LittleEndian.Uint64(iv[:]) != sector || binary.LittleEndian.Uint64(iv[8:]) != 0 {
		t.Fatalf("%s: the IV was changed", what)
	}
}

// The oracle has no IVs with anything in bytes 8 to 15, and its own carry.
func TestCarryingIVsAgainstGeneric(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		r := newRand()
		for range 300 {
			unit, units := blockSize*(1+r.IntN(40)), 1+r.IntN(20)
			c, err := New(randomBytes(r, 64))
			must(t, err)
			iv := [16]byte(randomBytes(r, 16))
			binary.LittleEndian.PutUint64(iv[:], -uint64(r.IntN(units+1)))
			plain := randomBytes(r, unit*units)
			got, want := make([]byte, len(plain)), make([]byte, len(plain))
			c.EncryptUnits(got, plain, unit, &iv)
			cryptUnitsGeneric(c, c.data.Encrypt, want, plain, unit, &iv)
			if !bytes.Equal(got, want) {
				t.Fatalf("%d units of %d bytes from IV %x: wrong ciphertext", units, unit, iv)
			}
			c.DecryptUnits(got, got, unit, &iv)
			if !bytes.Equal(got, plain) {
				t.Fatalf("%d units of %d bytes from IV %x: wrong plaintext", units, unit, iv)
			}
		}
	})
}

func TestKeys(t *testing.T) {
	good := bytes.Repeat([]byte{1}, 80)
	for n := range good {
		good[n] = byte(n)
		_, err := New(good[:n])
		if ok := n == 32 || n == 64; ok != (err == nil) {
			t.Errorf("key of %d bytes: %v", n, err)
		} else if !ok && !errors.Is(err, ErrKeySize) {
			t.Errorf("key of %d bytes: %v does not wrap ErrKeySize", n, err)
		}
	}
	for _, n := range []int{32, 64} {
		if _, err := New(bytes.Repeat(good[:n/2], 2)); !errors.Is(err, ErrWeakKey) {
			t.Errorf("equal halves of %d bytes: %v, want ErrWeakKey", n/2, err)
		}
	}
}

func TestInitAfterError(t *testing.T) {
	key := randomBytes(newRand(), 64)
	c, err := New(key)
	must(t, err)
	before := *c
	if err := c.Init(make([]byte, 64)); !errors.Is(err, ErrWeakKey) {
		t.Errorf("zero key: %v", err)
	}
	if *c != before {
		t.Error("a refused key changed the cipher")
	}
	must(t, c.Init(key[:32]))
	fresh, err := New(key[:32])
	must(t, err)
	plain := randomBytes(newRand(), 512)
	got, want := make([]byte, 512), make([]byte, 512)
	c.EncryptUnits(got, plain, 512, new([16]byte))
	fresh.EncryptUnits(want, plain, 512, new([16]byte))
	if !bytes.Equal(got, want) {
		t.Error("a cipher that had another key encrypts differently")
	}
}

func TestWipe(t *testing.T) {
	c, err := New(randomBytes(newRand(), 64))
	must(t, err)
	c.Wipe()
	if *c != (Cipher{}) {
		t.Error("round keys left after Wipe")
	}
	mustPanic(t, "use after Wipe", func() { c.EncryptUnits(make([]byte, 16), make([]byte, 16), 16, new([16]byte)) })
}

func TestCallersMistakesPanic(t *testing.T) {
	c, err := New(randomBytes(newRand(), 64))
	must(t, err)
	buf, iv := make([]byte, 256), new([16]byte)
	for _, v := range []struct {
		what     string
		dst, src []byte
		unit     int
	}{
		{"unit size 0", buf[:64], buf[:64], 0},
		{"negative unit size", buf[:64], buf[:64], -16},
		{"unit size 24", buf[:48], buf[:48], 24},
		{"half a unit", buf[:48], buf[:48], 32},
		{"short destination", buf[:16], buf[128:160], 32},
		{"overlap", buf[16:80], buf[:64], 64},
	} {
		mustPanic(t, v.what, func() { c.EncryptUnits(v.dst, v.src, v.unit, iv) })
		mustPanic(t, v.what, func() { c.DecryptUnits(v.dst, v.src, v.unit, iv) })
	}
	c.EncryptUnits(nil, nil, 16, iv) // no units are no mistake
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s did not panic", what)
		}
	}()
	f()
}

func TestDoesNotAllocate(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		var c Cipher
		key, buf, iv := randomBytes(newRand(), 64), make([]byte, 8192), new([16]byte)
		n := testing.AllocsPerRun(20, func() {
			must(t, c.Init(key))
			c.EncryptUnits(buf, buf, 4096, iv)
			c.DecryptUnits(buf, buf, 512, iv)
		})
		if n != 0 {
			t.Errorf("%v allocations, want none", n)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		r := newRand()
		c, err := New(randomBytes(r, 64))
		must(t, err)
		plain, iv := randomBytes(r, 8192), new([16]byte)
		want := make([]byte, len(plain))
		c.EncryptUnits(want, plain, 512, iv)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				got := make([]byte, len(plain))
				for range 20 {
					c.EncryptUnits(got, plain, 512, iv)
					if !bytes.Equal(got, want) {
						t.Error("two goroutines disturbed each other")
						return
					}
				}
			})
		}
		wg.Wait()
	})
}
