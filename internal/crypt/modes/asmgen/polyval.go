package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func polyvalKernels() {
	poly := words("polyvalPoly", 0xc200000000000000, 0)
	polyvalPowers(poly)
	polyvalUpdate(poly)
}

// product is an unreduced product of two polynomials: lo + mid·x⁶⁴ + hi·x¹²⁸.
type product struct{ lo, mid, hi reg.VecPhysical }

// add adds a·b; a and tmp become scratch.
func (p product) add(a, b, tmp reg.VecPhysical) {
	for _, part := range []struct {
		halves uint64
		sum    reg.VecPhysical
	}{{0x00, p.lo}, {0x11, p.hi}, {0x01, p.mid}} {
		MOVO(a, tmp)
		PCLMULQDQ(Imm(part.halves), b, tmp)
		PXOR(tmp, part.sum)
	}
	PCLMULQDQ(Imm(0x10), b, a)
	PXOR(a, p.mid)
}

// reduce leaves the product times x⁻¹²⁸ in p.hi. Twice the lowest word is
// added further up, since 1 is x¹²⁸ + x¹²⁷ + x¹²⁶ + x¹²¹.
func (p product) reduce(poly, tmp reg.VecPhysical) {
	MOVO(p.mid, tmp)
	PSLLDQ(Imm(8), tmp)
	PXOR(tmp, p.lo)
	PSRLDQ(Imm(8), p.mid)
	PXOR(p.mid, p.hi)
	for range 2 {
		MOVO(p.lo, tmp)
		PCLMULQDQ(Imm(0), poly, tmp)
		PSHUFD(Imm(0x4e), p.lo, p.lo)
		PXOR(tmp, p.lo)
	}
	PXOR(p.lo, p.hi)
}

func polyvalPowers(poly Mem) {
	TEXT("powersKernel", NOSPLIT, "func(powers *[8][2]uint64)")
	Comment("X0-X2 the product, X3 scratch, X4 the polynomial, X5 H, X6 a power of H.")
	powers := arg("powers")
	p := product{xmm[0], xmm[1], xmm[2]}
	MOVUPS(poly, xmm[4])
	MOVUPS(Mem{Base: powers, Disp: 16 * 7}, xmm[5])
	MOVO(xmm[5], xmm[6])
	for i := 6; i >= 0; i-- {
		for _, v := range []reg.VecPhysical{p.lo, p.mid, p.hi} {
			PXOR(v, v)
		}
		p.add(xmm[6], xmm[5], xmm[3])
		p.reduce(xmm[4], xmm[3])
		MOVO(p.hi, xmm[6])
		MOVUPS(xmm[6], Mem{Base: powers, Disp: 16 * i})
	}
	RET()
}

// polyvalUpdate adds up the products of up to eight blocks with as many powers
// of the key before it reduces once.
func polyvalUpdate(poly Mem) {
	TEXT("updateKernel", NOSPLIT, "func(acc *[16]byte, blocks *byte, n int, powers *[8][2]uint64)")
	Comment("X0-X2 the product, X3 scratch, X4 the polynomial, X5 hash so far, X6 block, X7 power.")
	acc, blocks, n, powers := arg("acc"), arg("blocks"), arg("n"), arg("powers")
	group, power := GP64(), GP64()
	p := product{xmm[0], xmm[1], xmm[2]}
	MOVUPS(poly, xmm[4])
	MOVUPS(Mem{Base: acc}, xmm[5])

	Label("group")
	MOVQ(U32(8), group)
	CMPQ(n, group)
	CMOVQLT(n, group)
	SUBQ(group, n)
	MOVQ(group, power)
	SHLQ(Imm(4), power)
	NEGQ(power)
	LEAQ(Mem{Base: powers, Index: power, Scale: 1, Disp: 128}, power)
	for _, v := range []reg.VecPhysical{p.lo, p.mid, p.hi} {
		PXOR(v, v)
	}
	Label("block")
	MOVUPS(Mem{Base: blocks}, xmm[6])
	PXOR(xmm[5], xmm[6])
	PXOR(xmm[5], xmm[5]) // only the first block of a group takes the hash in
	MOVUPS(Mem{Base: power}, xmm[7])
	p.add(xmm[6], xmm[7], xmm[3])
	ADDQ(Imm(16), blocks)
	ADDQ(Imm(16), power)
	DECQ(group)
	JNZ(LabelRef("block"))
	p.reduce(xmm[4], xmm[3])
	MOVO(p.hi, xmm[5])
	TESTQ(n, n)
	JNZ(LabelRef("group"))
	MOVUPS(xmm[5], Mem{Base: acc})
	RET()
}
