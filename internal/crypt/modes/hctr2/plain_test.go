package hctr2

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"testing"

	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/modes/isa"
)

// plain is HCTR2 as one would write it over crypto/aes: the oracle for random
// inputs and the peer of the benchmark.
type plain struct {
	aes  cipher.Block
	h, l [16]byte
}

func newPlain(t testing.TB, key []byte) *plain {
	t.Helper()
	b, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	p := &plain{aes: b}
	b.Encrypt(p.h[:], p.h[:])
	p.l[0] = 1
	b.Encrypt(p.l[:], p.l[:])
	return p
}

func (p *plain) encrypt(dst, src, tweak []byte) {
	var mm, uu, s [16]byte
	p.hash(&mm, tweak, src[16:])
	subtle.XORBytes(mm[:], mm[:], src[:16])
	p.aes.Encrypt(uu[:], mm[:])
	subtle.XORBytes(s[:], mm[:], uu[:])
	subtle.XORBytes(s[:], s[:], p.l[:])
	for i := 16; i < len(src); i += 16 {
		stream := s
		for b, v := range binary.LittleEndian.AppendUint64(nil, uint64(i/16)) {
			stream[b] ^= v
		}
		p.aes.Encrypt(stream[:], stream[:])
		subtle.XORBytes(dst[i:], src[i:], stream[:])
	}
	p.hash(&mm, tweak, dst[16:])
	subtle.XORBytes(dst, mm[:], uu[:])
}

func (p *plain) hash(acc *[16]byte, tweak, m []byte) {
	*acc = [16]byte{}
	length := [16]byte{0x02, 0x02}
	if len(m)%16 != 0 {
		length[0]++
	}
	p.mulAdd(acc, length[:])
	p.mulAdd(acc, tweak[:16])
	p.mulAdd(acc, tweak[16:])
	for ; len(m) >= 16; m = m[16:] {
		p.mulAdd(acc, m[:16])
	}
	if len(m) > 0 {
		var last [16]byte
		last[copy(last[:], m)] = 1
		p.mulAdd(acc, last[:])
	}
}

// mulAdd is a step of POLYVAL: (acc + b)·h·x⁻¹²⁸, a bit of h after the other,
// from the lowest on, with a division by x each time.
func (p *plain) mulAdd(acc *[16]byte, b []byte) {
	lo := binary.LittleEndian.Uint64(acc[:]) ^ binary.LittleEndian.Uint64(b)
	hi := binary.LittleEndian.Uint64(acc[8:]) ^ binary.LittleEndian.Uint64(b[8:])
	var rlo, rhi uint64
	for _, h := range []uint64{binary.LittleEndian.Uint64(p.h[:]), binary.LittleEndian.Uint64(p.h[8:])} {
		for range 64 {
			take := -(h & 1)
			rlo, rhi, h = rlo^lo&take, rhi^hi&take, h>>1
			odd := rlo & 1
			rlo, rhi = rlo>>1|rhi<<63, rhi>>1
			rhi ^= odd * (1<<63 | 1<<62 | 1<<61 | 1<<56)
		}
	}
	binary.LittleEndian.PutUint64(acc[:], rlo)
	binary.LittleEndian.PutUint64(acc[8:], rhi)
}

func TestAgainstPlain(t *testing.T) {
	for _, set := range isa.Available() {
		t.Run(set.String(), func(t *testing.T) {
			defer isa.Use(set)()
			for n := 16; n <= 300; n++ {
				key, tweak, text := random(KeySize), random(TweakSize), random(n)
				c, err := New(key)
				if err != nil {
					t.Fatal(err)
				}
				got, want := make([]byte, n), make([]byte, n)
				c.Encrypt(got, text, (*[TweakSize]byte)(tweak))
				if newPlain(t, key).encrypt(want, text, tweak); !bytes.Equal(got, want) {
					t.Fatalf("%d bytes: %x, want %x", n, got, want)
				}
				if c.Decrypt(got, got, (*[TweakSize]byte)(tweak)); !bytes.Equal(got, text) {
					t.Fatalf("%d bytes do not decrypt", n)
				}
			}
		})
	}
}

func BenchmarkNames(b *testing.B) {
	key, tweak := random(KeySize), new([TweakSize]byte)
	for _, n := range []int{16, 32, 64, 128, 255} {
		text := random(n)
		p := newPlain(b, key)
		b.Run(fmt.Sprintf("plain/%d", n), func(b *testing.B) {
			crypttest.CPU(b, n, func() { p.encrypt(text, text, tweak[:]) })
		})
		for _, set := range isa.Available() {
			b.Run(fmt.Sprintf("%v/encrypt/%d", set, n), func(b *testing.B) {
				defer isa.Use(set)()
				c, err := New(key)
				if err != nil {
					b.Fatal(err)
				}
				crypttest.CPU(b, n, func() { c.Encrypt(text, text, tweak) })
			})
			b.Run(fmt.Sprintf("%v/decrypt/%d", set, n), func(b *testing.B) {
				defer isa.Use(set)()
				c, err := New(key)
				if err != nil {
					b.Fatal(err)
				}
				crypttest.CPU(b, n, func() { c.Decrypt(text, text, tweak) })
			})
		}
	}
}
