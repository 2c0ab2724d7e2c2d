package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

var xtsOne128 Mem

// xtsAESNI does eight blocks a turn in X0 to X7. Between their rounds it makes
// the tweaks of the next turn, be that of this unit or of the next, so that
// the chain of doublings never holds AES up. The doubling is done in integer
// registers: AES leaves only one vector port free on most processors. The two
// stores of a tweak cannot be forwarded to its load, but they are long done
// when that comes, a turn later.
func xtsAESNI(decrypt bool) {
	TEXT(xtsName(decrypt, "AESNI"), NOSPLIT, xtsSignature)
	Comment("X0-X7 blocks in flight, X8 round key, X9-X10 scratch, X11 first and X12 last round key.",
		"Stack: 8 tweaks of a batch of units and room for one; 8 tweaks of the next turn;",
		"8 tweaks of this turn, each ^ last round key; IV.")
	if !decrypt {
		xtsOne128 = words("one128", 1, 0)
	}
	k := &xtsKernel{width: sse, decrypt: decrypt}
	k.begin(26 * 16)
	key, tmp, tmp2, first, last := xmm[8], xmm[9], xmm[10], xmm[11], xmm[12]
	blocks := xmm[:8]
	next := func(i int) Mem { return Mem{Base: k.tweaks, Disp: 16 * (9 + i)} }
	masked := func(i int) Mem { return Mem{Base: k.tweaks, Disp: 16 * (17 + i)} }
	ivSlot := Mem{Base: k.tweaks, Disp: 16 * 25}

	MOVUPS(Mem{Base: k.data.base}, first)
	MOVUPS(Mem{Base: k.data.last}, last)
	MOVUPS(Mem{Base: k.iv}, tmp)
	MOVAPS(tmp, ivSlot)

	lo, hi, carry := GP64(), GP64(), GP64() // the tweak of the next block
	// nextTweak stores the tweak of block i of the next turn and steps on.
	nextTweak := func(i int) {
		MOVQ(lo, next(i))
		MOVQ(hi, next(i).Offset(8))
		MOVQ(hi, carry)
		SARQ(Imm(63), carry)
		ANDQ(U32(0x87), carry)
		ADDQ(lo, lo)
		ADCQ(hi, hi)
		XORQ(carry, lo)
	}
	nextBatch, nextUnit, turn, follow := k.new("nextBatch"), k.new("nextUnit"), k.new("turn"), k.new("follow")
	inUnit, tail, one, unitDone := k.new("inUnit"), k.new("tail"), k.new("one"), k.new("unitDone")

	Label(nextBatch)
	k.takeBatch(8)
	MOVAPS(ivSlot, tmp)
	MOVUPS(xtsOne128, tmp2)
	for _, v := range blocks {
		MOVO(tmp, v)
		PADDQ(tmp2, tmp)
	}
	MOVAPS(tmp, ivSlot)
	k.cryptBlocks(&k.labels, false, k.tweak, key, blocks)
	for i, v := range blocks {
		MOVAPS(v, Mem{Base: k.tweaks, Disp: 16 * i})
	}

	Label(nextUnit)
	MOVQ(k.unitSize, k.left)
	MOVQ(Mem{Base: k.slot}, lo)
	MOVQ(Mem{Base: k.slot, Disp: 8}, hi)
	for i := range 8 {
		nextTweak(i)
	}
	CMPQ(k.left, Imm(128))
	JLT(LabelRef(tail))

	Label(turn)
	for i, v := range blocks {
		MOVUPS(k.at(k.src, i), v)
		PXOR(first, v)
		PXOR(next(i), v)
	}
	CMPQ(k.left, Imm(128))
	JNE(LabelRef(inUnit))
	// The next turn belongs to the next unit.
	MOVQ(Mem{Base: k.slot, Disp: 16}, lo)
	MOVQ(Mem{Base: k.slot, Disp: 24}, hi)
	Label(inUnit)
	var between []func()
	for i := range blocks {
		between = append(between, func() {
			MOVAPS(next(i), tmp)
			PXOR(last, tmp)
			MOVAPS(tmp, masked(i))
			nextTweak(i)
		})
	}
	k.innerRounds(&k.labels, decrypt, k.data, key, blocks, between...)
	for i, v := range blocks {
		k.lastRound(decrypt, masked(i), v)
	}
	for i, v := range blocks {
		MOVUPS(v, k.at(k.dst, i))
	}
	k.advance(128)
	JNZ(LabelRef(follow))
	// The unit ends with the turn.
	MOVQ(k.unitSize, k.left)
	ADDQ(Imm(16), k.slot)
	DECQ(k.batch)
	JNZ(LabelRef(turn))
	JMP(LabelRef(unitDone))
	Label(follow)
	CMPQ(k.left, Imm(128))
	JGE(LabelRef(turn))

	Label(tail)
	waiting := GP64()
	LEAQ(next(0), waiting)
	Label(one)
	MOVUPS(Mem{Base: k.src}, blocks[0])
	MOVAPS(Mem{Base: waiting}, tmp)
	PXOR(tmp, blocks[0])
	PXOR(first, blocks[0])
	PXOR(last, tmp)
	k.innerRounds(&k.labels, decrypt, k.data, key, blocks[:1])
	k.lastRound(decrypt, tmp, blocks[0])
	MOVUPS(blocks[0], Mem{Base: k.dst})
	ADDQ(Imm(16), waiting)
	k.advance(16)
	JNZ(LabelRef(one))
	ADDQ(Imm(16), k.slot)
	DECQ(k.batch)
	JNZ(LabelRef(nextUnit))

	Label(unitDone)
	TESTQ(k.units, k.units)
	JNZ(LabelRef(nextBatch))
	// Tweaks and masked tweaks together would give away a round key.
	PXOR(tmp, tmp)
	for i := range 8 {
		MOVAPS(tmp, masked(i))
	}
	RET()
}
