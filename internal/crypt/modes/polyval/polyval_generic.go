package polyval

import (
	"encoding/binary"
	"math/bits"
)

// element is a polynomial, low word first.
type element struct{ lo, hi uint64 }

func load(b []byte) element {
	return element{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
}

func (e element) store(b *[BlockSize]byte) {
	binary.LittleEndian.PutUint64(b[:8], e.lo)
	binary.LittleEndian.PutUint64(b[8:], e.hi)
}

func (e element) plus(o element) element { return element{e.lo ^ o.lo, e.hi ^ o.hi} }

func initKeyGeneric(k *Key, h element) {
	p := h
	for i := aggregate - 1; i >= 0; i-- {
		k.powers[i] = p
		p = mul(p, h)
	}
}

func updateGeneric(k *Key, acc *[BlockSize]byte, blocks []byte) {
	h, s := k.powers[aggregate-1], load(acc[:])
	for ; len(blocks) > 0; blocks = blocks[BlockSize:] {
		s = mul(s.plus(load(blocks)), h)
	}
	s.store(acc)
}

// mul is a·b·x⁻¹²⁸.
func mul(a, b element) element {
	l0, l1 := clmul(a.lo, b.lo)
	h0, h1 := clmul(a.hi, b.hi)
	m0, m1 := clmul(a.lo^a.hi, b.lo^b.hi) // Karatsuba
	m0 ^= l0 ^ h0
	m1 ^= l1 ^ h1
	v0, v1, v2, v3 := l0, l1^m0, h0^m1, h1
	// 1 = x¹²⁸ + x¹²⁷ + x¹²⁶ + x¹²¹: the lowest word is added further up, twice.
	v1 ^= v0<<63 ^ v0<<62 ^ v0<<57
	v2 ^= v0 ^ v0>>1 ^ v0>>2 ^ v0>>7
	v2 ^= v1<<63 ^ v1<<62 ^ v1<<57
	v3 ^= v1 ^ v1>>1 ^ v1>>2 ^ v1>>7
	return element{v2, v3}
}

// clmul is the product without carries. The high half is the low half of the
// product of the numbers with their bits reversed.
func clmul(x, y uint64) (lo, hi uint64) {
	return clmulLow(x, y), bits.Reverse64(clmulLow(bits.Reverse64(x), bits.Reverse64(y))) >> 1
}

// clmulLow takes every fourth bit of x and y at a time: of their ordinary
// product the carries fall into the three bits between, but at the very top,
// where they fall off.
func clmulLow(x, y uint64) uint64 {
	const every = 0x1111111111111111
	x0, x1, x2, x3 := x&every, x&(every<<1), x&(every<<2), x&(every<<3)
	y0, y1, y2, y3 := y&every, y&(every<<1), y&(every<<2), y&(every<<3)
	z0 := x0*y0 ^ x1*y3 ^ x2*y2 ^ x3*y1
	z1 := x0*y1 ^ x1*y0 ^ x2*y3 ^ x3*y2
	z2 := x0*y2 ^ x1*y1 ^ x2*y0 ^ x3*y3
	z3 := x0*y3 ^ x1*y2 ^ x2*y1 ^ x3*y0
	return z0&every | z1&(every<<1) | z2&(every<<2) | z3&(every<<3)
}
