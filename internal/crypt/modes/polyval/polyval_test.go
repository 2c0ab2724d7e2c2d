package polyval

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
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

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n+7)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b[:n:n]
}

func newRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// RFC 8452, appendix A, and two examples of appendix C.
func TestVectors(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		for _, v := range []struct{ h, in, want string }{
			{"25629347589242761d31f826ba4b757b",
				"4f4f95668c83dfb6401762bb2d01a262d1a24ddd2721d006bbe45f20d3c9f362",
				"f7a3b47b846119fae5b7866cf5e5b77e"},
			{"d9b360279694941ac5dbc6987ada7377",
				"0100000000000000000000000000000000000000000000004000000000000000",
				"eb93b7740962c5e49d2a90a7dc5cec74"},
			{"d9b360279694941ac5dbc6987ada7377",
				"01000000000000000000000000000000020000000000000000000000000000000" +
					"0000000000000000001000000000000",
				"ce6edc9a50b36d9a98986bbf6a261c3b"},
		} {
			var k Key
			k.Init((*[16]byte)(unhex(v.h)))
			var acc [16]byte
			k.Update(&acc, unhex(v.in))
			if !bytes.Equal(acc[:], unhex(v.want)) {
				t.Errorf("%x, want %s", acc, v.want)
			}
		}
	})
}

// slowMul is a·b·x⁻¹²⁸, bit by bit as the definition says.
func slowMul(a, b element) element {
	var p element
	for i := 127; i >= 0; i-- {
		// p times x; x¹²⁸ is x¹²⁷ + x¹²⁶ + x¹²¹ + 1.
		top := p.hi >> 63
		p = element{p.lo<<1 ^ top, p.hi<<1 ^ p.lo>>63 ^ top*(1<<63|1<<62|1<<57)}
		bit := b.lo >> i & 1
		if i >= 64 {
			bit = b.hi >> (i - 64) & 1
		}
		if bit == 1 {
			p = p.plus(a)
		}
	}
	for range 128 {
		// p divided by x: where bit 0 is set, the modulus is added first.
		low := p.lo & 1
		p = element{p.lo ^ low, p.hi ^ low*(1<<63|1<<62|1<<57)}
		p = element{p.lo>>1 | p.hi<<63, p.hi>>1 | low<<63}
	}
	return p
}

func TestAgainstDefinition(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		r := newRand()
		for n := 0; n <= 40; n++ {
			h, start, in := load(randomBytes(r, 16)), load(randomBytes(r, 16)), randomBytes(r, 16*n)
			want := start
			for b := in; len(b) > 0; b = b[16:] {
				want = slowMul(want.plus(load(b)), h)
			}
			var k Key
			var acc, hb, wb [16]byte
			h.store(&hb)
			want.store(&wb)
			start.store(&acc)
			k.Init(&hb)
			k.Update(&acc, in)
			if acc != wb {
				t.Fatalf("%d blocks: %x, want %x", n, acc, wb)
			}
		}
	})
}

func TestPowersAreEqual(t *testing.T) {
	r := newRand()
	for range 50 {
		h := load(randomBytes(r, 16))
		var want Key
		initKeyGeneric(&want, h)
		onEachSet(t, func(t *testing.T) {
			var k Key
			var hb [16]byte
			h.store(&hb)
			k.Init(&hb)
			if k != want {
				t.Fatalf("powers of %x are %x, want %x", h, k, want)
			}
		})
	}
}

func TestSplitUpdates(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		r := newRand()
		in := randomBytes(r, 16*20)
		var k Key
		k.Init((*[16]byte)(randomBytes(r, 16)))
		var want [16]byte
		k.Update(&want, in)
		for n := range 21 {
			var acc [16]byte
			k.Update(&acc, in[:16*n])
			k.Update(&acc, in[16*n:])
			if acc != want {
				t.Errorf("split after %d blocks: %x, want %x", n, acc, want)
			}
		}
	})
}

func TestWipeAndMistakes(t *testing.T) {
	var k Key
	k.Init(&[16]byte{1})
	k.Wipe()
	if k != (Key{}) {
		t.Error("key left after Wipe")
	}
	defer func() {
		if recover() == nil {
			t.Error("half a block did not panic")
		}
	}()
	k.Update(new([16]byte), make([]byte, 24))
}
