package adiantum

import "math/bits"

// polyKey is the key of Poly1305 (RFC 8439), clamped.
type polyKey struct{ r0, r1 uint64 }

func (k *polyKey) init(key []byte) {
	r := load(key)
	k.r0, k.r1 = r.lo&0x0ffffffc0fffffff, r.hi&0x0ffffffc0ffffffc
}

// poly is Poly1305 without its last addition: a number modulo 2¹³⁰ - 5 in three
// words, the top one below 8 between blocks.
type poly struct{ h0, h1, h2 uint64 }

// add takes a block of 16 bytes, with a 1 bit on top, and multiplies by r.
func (p *poly) add(k *polyKey, m number) {
	var c uint64
	p.h0, c = bits.Add64(p.h0, m.lo, 0)
	p.h1, c = bits.Add64(p.h1, m.hi, c)
	p.h2 += 1 + c

	// The product in words t0 to t3; clamping leaves room for the carries.
	aHi, t0 := bits.Mul64(p.h0, k.r0)
	bHi, bLo := bits.Mul64(p.h1, k.r0)
	cHi, cLo := bits.Mul64(p.h0, k.r1)
	dHi, dLo := bits.Mul64(p.h1, k.r1)
	t1, c1 := bits.Add64(bLo, cLo, 0)
	t2, _ := bits.Add64(bHi, cHi, c1)
	t1, c1 = bits.Add64(t1, aHi, 0)
	t2, c1 = bits.Add64(t2, dLo, c1)
	t3 := dHi + c1
	t2, c1 = bits.Add64(t2, p.h2*k.r0, 0)
	t3 += p.h2*k.r1 + c1

	// 2¹³⁰ is 5: what lies above is added four times and once.
	p.h0, p.h1, p.h2 = t0, t1, t2&3
	p.fold(t2&^3, t3)
	p.fold(t2>>2|t3<<62, t3>>2)
}

func (p *poly) fold(lo, hi uint64) {
	var c uint64
	p.h0, c = bits.Add64(p.h0, lo, 0)
	p.h1, c = bits.Add64(p.h1, hi, c)
	p.h2 += c
}

// sum reduces fully and drops what lies above 128 bits.
func (p *poly) sum() number {
	d0, b := bits.Sub64(p.h0, 1<<64-5, 0)
	d1, b := bits.Sub64(p.h1, 1<<64-1, b)
	_, b = bits.Sub64(p.h2, 3, b)
	keep := -b // all ones where h was below the modulus
	return number{p.h0&keep | d0&^keep, p.h1&keep | d1&^keep}
}
