package aesblk

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"testing"

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

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// randomBytes gives the same bytes for the same seed.
func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n+7)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b[:n:n]
}

func newRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// FIPS 197, appendix C.1 and C.3.
func TestFIPS197(t *testing.T) {
	plain := unhex("00112233445566778899aabbccddeeff")
	for _, v := range []struct{ key, want string }{
		{"000102030405060708090a0b0c0d0e0f", "69c4e0d86a7b0430d8cdb78070b4c55a"},
		{"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "8ea2b7ca516745bfeafc49904b496089"},
	} {
		onEachSet(t, func(t *testing.T) {
			s, err := New(unhex(v.key))
			must(t, err)
			got := make([]byte, BlockSize)
			s.Encrypt(got, plain)
			if !bytes.Equal(got, unhex(v.want)) {
				t.Errorf("encrypted to %x, want %s", got, v.want)
			}
			s.Decrypt(got, got)
			if !bytes.Equal(got, plain) {
				t.Errorf("decrypted to %x", got)
			}
		})
	}
}

func TestBlocksAgainstStandardLibrary(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		r := newRand()
		for range 200 {
			for _, size := range []int{16, 32} {
				key, in := randomBytes(r, size), randomBytes(r, BlockSize)
				oracle, err := aes.NewCipher(key)
				must(t, err)
				s, err := New(key)
				must(t, err)
				got, want := make([]byte, BlockSize), make([]byte, BlockSize)
				s.Encrypt(got, in)
				oracle.Encrypt(want, in)
				if !bytes.Equal(got, want) {
					t.Fatalf("encrypt with key %x: %x, want %x", key, got, want)
				}
				s.Decrypt(got, in)
				oracle.Decrypt(want, in)
				if !bytes.Equal(got, want) {
					t.Fatalf("decrypt with key %x: %x, want %x", key, got, want)
				}
			}
		}
	})
}

// Every set expands a key to the same words, so a schedule made under one
// serves another.
func TestSchedulesAreEqual(t *testing.T) {
	r := newRand()
	for range 100 {
		for _, size := range []int{16, 32} {
			key := randomBytes(r, size)
			var want Schedule
			want.rounds = size/4 + 6
			expandKeyGeneric(&want, key)
			invertKeysGeneric(&want)
			onEachSet(t, func(t *testing.T) {
				s, err := New(key)
				must(t, err)
				if *s != want {
					t.Fatalf("schedule of %x differs from the generic one", key)
				}
			})
		}
	}
}

func TestKeySizes(t *testing.T) {
	for n := range 66 {
		_, err := New(make([]byte, n))
		if ok := n == 16 || n == 32; ok != (err == nil) {
			t.Errorf("key of %d bytes: %v", n, err)
		} else if !ok && !errors.Is(err, ErrKeySize) {
			t.Errorf("key of %d bytes: %v does not wrap ErrKeySize", n, err)
		}
	}
}

func TestWipe(t *testing.T) {
	s, err := New(bytes.Repeat([]byte{7}, 32))
	must(t, err)
	s.Wipe()
	if *s != (Schedule{}) {
		t.Error("round keys left after Wipe")
	}
	defer func() {
		if recover() == nil {
			t.Error("a wiped schedule encrypted")
		}
	}()
	s.Encrypt(make([]byte, 16), make([]byte, 16))
}

func TestInitDoesNotAllocate(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		var s Schedule
		key := bytes.Repeat([]byte{7}, 32)
		if n := testing.AllocsPerRun(100, func() { must(t, s.Init(key)) }); n != 0 {
			t.Errorf("%v allocations per Init", n)
		}
	})
}
