package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

var xtsPoly128, xtsOne128 Mem

// xtsAESNI does eight blocks a turn in X0 to X7. The tweaks of the turn, with
// the last round key in them, lie on the stack, where AESENCLAST takes them
// from.
func xtsAESNI(decrypt bool) {
	TEXT(xtsName(decrypt, "AESNI"), NOSPLIT, xtsSignature)
	Comment("X0-X7 blocks in flight, X8 round key, X9 tweak of the next block,",
		"X10 scratch, X11 the polynomial, X12 first and X13 last round key, X14 IV.",
		"Stack: 8 tweaks of a batch of units, 8 tweaks of the turn ^ last round key.")
	if !decrypt {
		xtsPoly128 = words("poly128", 0x87, 1)
		xtsOne128 = words("one128", 1, 0)
	}
	k := &xtsKernel{width: sse, decrypt: decrypt}
	k.begin(256)
	key, tweak, tmp, poly := xmm[8], xmm[9], xmm[10], xmm[11]
	first, last, iv := xmm[12], xmm[13], xmm[14]
	blocks := xmm[:8]

	MOVUPS(xtsPoly128, poly)
	MOVUPS(Mem{Base: k.data.base}, first)
	MOVUPS(Mem{Base: k.data.last}, last)
	MOVUPS(Mem{Base: k.iv}, iv)
	masked := func(i int) Mem { return Mem{Base: k.tweaks, Disp: 128 + 16*i} }

	encryptTweaks := func() {
		MOVUPS(xtsOne128, tmp)
		for _, v := range blocks {
			MOVO(iv, v)
			PADDQ(tmp, iv)
		}
		k.cryptBlocks(&k.labels, false, k.tweak, key, blocks)
		for i, v := range blocks {
			MOVAPS(v, Mem{Base: k.tweaks, Disp: 16 * i})
		}
	}
	k.eachUnit(8, encryptTweaks, func() {
		turn, tail, one, end := k.new("turn"), k.new("tail"), k.new("one"), k.new("end")
		MOVAPS(Mem{Base: k.slot}, tweak)
		CMPQ(k.left, Imm(128))
		JLT(LabelRef(tail))

		Label(turn)
		for i, v := range blocks {
			MOVUPS(k.at(k.src, i), v)
			PXOR(tweak, v)
			PXOR(first, v)
			MOVO(tweak, tmp)
			PXOR(last, tmp)
			MOVAPS(tmp, masked(i))
			doubleTweak(tweak, tmp, poly)
		}
		k.innerRounds(&k.labels, decrypt, k.data, key, blocks)
		for i, v := range blocks {
			k.lastRound(decrypt, masked(i), v)
		}
		for i, v := range blocks {
			MOVUPS(v, k.at(k.dst, i))
		}
		k.advance(128)
		CMPQ(k.left, Imm(128))
		JGE(LabelRef(turn))

		Label(tail)
		TESTQ(k.left, k.left)
		JZ(LabelRef(end))
		Label(one)
		MOVUPS(Mem{Base: k.src}, blocks[0])
		PXOR(tweak, blocks[0])
		PXOR(first, blocks[0])
		MOVO(tweak, xmm[15])
		PXOR(last, xmm[15])
		doubleTweak(tweak, tmp, poly)
		k.innerRounds(&k.labels, decrypt, k.data, key, blocks[:1])
		k.lastRound(decrypt, xmm[15], blocks[0])
		MOVUPS(blocks[0], Mem{Base: k.dst})
		k.advance(16)
		JNZ(LabelRef(one))
		Label(end)
	})

	// Tweaks and masked tweaks together would give away a round key.
	PXOR(tmp, tmp)
	for i := range 8 {
		MOVAPS(tmp, masked(i))
	}
	RET()
}

// doubleTweak multiplies t by x. The shuffle brings the sign bit of each half
// to where its carry goes.
func doubleTweak(t, tmp, poly reg.VecPhysical) {
	PSHUFD(Imm(0x13), t, tmp)
	PADDQ(t, t)
	PSRAL(Imm(31), tmp)
	PAND(poly, tmp)
	PXOR(tmp, t)
}
