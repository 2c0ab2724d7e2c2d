package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

var xtsPoly256, xtsShift256, xtsCount256 Mem

// xtsVAES256 does sixteen blocks a turn in Y0 to Y7. Four registers run
// through the tweaks, each 8 blocks a step; the tweaks of the turn, with the
// last round key in them, lie on the stack.
func xtsVAES256(decrypt bool) {
	TEXT(xtsName(decrypt, "VAES256"), NOSPLIT, xtsSignature)
	Comment("Y0-Y7 blocks in flight, Y8 round key, Y9-Y12 the next 8 tweaks,",
		"Y13-Y14 scratch, Y15 the polynomial.",
		"Stack: 8 tweaks of a batch of units, 16 tweaks of the turn ^ last round key, IV.")
	if !decrypt {
		xtsPoly256 = words("poly256", 0x87, 0, 0x87, 0)
		xtsShift256 = words("shift256", 0, 0, 1, 1, 64, 64, 63, 63)
		xtsCount256 = words("count256", 0, 0, 1, 0, 2, 0, 2, 0, 8, 0, 8, 0)
	}
	k := &xtsKernel{width: avx2, decrypt: decrypt}
	k.begin(128 + 256 + 32)
	key, tmp, tmp2, poly := ymm[8], ymm[13], ymm[14], ymm[15]
	tweaks, blocks := ymm[9:13], ymm[:8]

	VMOVDQU(xtsPoly256, poly)
	VBROADCASTI128(Mem{Base: k.iv}, tmp)
	ivSlot := Mem{Base: k.tweaks, Disp: 128 + 256}
	VMOVDQU(tmp, ivSlot)
	masked := func(i int) Mem { return Mem{Base: k.tweaks, Disp: 128 + 32*i} }

	encryptTweaks := func() {
		VMOVDQU(ivSlot, tmp)
		VPADDQ(xtsCount256, tmp, blocks[0])
		for i := 1; i < 4; i++ {
			VPADDQ(xtsCount256.Offset(32), blocks[i-1], blocks[i])
		}
		VPADDQ(xtsCount256.Offset(64), tmp, tmp)
		VMOVDQU(tmp, ivSlot)
		k.cryptBlocks(&k.labels, false, k.tweak, key, blocks[:4])
		for i, v := range blocks[:4] {
			VMOVDQU(v, Mem{Base: k.tweaks, Disp: 32 * i})
		}
	}
	k.eachUnit(8, encryptTweaks, func() {
		turn, tail, pair, end := k.new("turn"), k.new("tail"), k.new("pair"), k.new("end")
		odd := k.new("odd")
		VBROADCASTI128(Mem{Base: k.slot}, tmp)
		k.spread(xtsShift256, xtsShift256.Offset(32), tmp, tweaks[0], tmp2, poly)
		CMPQ(k.left, U32(256))
		JLT(LabelRef(tail))
		k.timesBits(2, tweaks[0], tweaks[1], tmp, poly)
		k.timesBits(4, tweaks[0], tweaks[2], tmp, poly)
		k.timesBits(4, tweaks[1], tweaks[3], tmp, poly)

		Label(turn)
		for half := range 2 {
			k.loadKey(Mem{Base: k.data.base}, tmp)
			k.loadKey(Mem{Base: k.data.last}, key)
			for i, t := range tweaks {
				v := blocks[4*half+i]
				VPXOR(k.at(k.src, 4*half+i), t, v)
				VPXOR(tmp, v, v)
				VPXOR(key, t, tmp2)
				VMOVDQU(tmp2, masked(4*half+i))
				k.timesBytes(1, t, t, tmp2, poly)
			}
		}
		k.innerRounds(&k.labels, decrypt, k.data, key, blocks)
		for i, v := range blocks {
			k.lastRound(decrypt, masked(i), v)
		}
		for i, v := range blocks {
			VMOVDQU(v, k.at(k.dst, i))
		}
		k.advance(256)
		CMPQ(k.left, U32(256))
		JGE(LabelRef(turn))

		Label(tail)
		CMPQ(k.left, Imm(32))
		JLT(LabelRef(odd))
		Label(pair)
		VPXOR(Mem{Base: k.src}, tweaks[0], blocks[0])
		k.wholeTail(tweaks[0], blocks[0], tweaks[1], key)
		VMOVDQU(blocks[0], Mem{Base: k.dst})
		k.timesBits(2, tweaks[0], tweaks[0], tmp, poly)
		k.advance(32)
		CMPQ(k.left, Imm(32))
		JGE(LabelRef(pair))
		Label(odd)
		TESTQ(k.left, k.left)
		JZ(LabelRef(end))
		VMOVDQU(Mem{Base: k.src}, blocks[0].AsX())
		VPXOR(tweaks[0], blocks[0], blocks[0])
		k.wholeTail(tweaks[0], blocks[0], tweaks[1], key)
		VMOVDQU(blocks[0].AsX(), Mem{Base: k.dst})
		k.advance(16)
		Label(end)
	})

	// Tweaks and masked tweaks together would give away a round key.
	VPXOR(tmp, tmp, tmp)
	for i := range 8 {
		VMOVDQU(tmp, masked(i))
	}
	VZEROUPPER()
	RET()
}

// wholeTail does the rounds of one register that has its tweak t in already.
func (k *xtsKernel) wholeTail(t, v, maskedTweak, key reg.VecPhysical) {
	k.loadKey(Mem{Base: k.data.last}, key)
	switch k.bytes {
	case 32:
		VPXOR(key, t, maskedTweak)
	case 64:
		VPXORD(key, t, maskedTweak)
	}
	k.loadKey(Mem{Base: k.data.base}, key)
	k.xor(key, v)
	k.innerRounds(&k.labels, k.decrypt, k.data, key, []reg.VecPhysical{v})
	k.lastRound(k.decrypt, maskedTweak, v)
}

// spread multiplies lane j of t by x to the power j. left holds the powers,
// right 64 minus the powers; t becomes scratch.
func (k *xtsKernel) spread(left, right Mem, t, out, tmp, poly reg.VecPhysical) {
	VPSLLVQ(left, t, out)
	VPSRLVQ(right, t, t)
	k.carry(t, out, tmp, poly)
}

// timesBits sets out to t times x to the power n, n < 57, by shifts of the
// halves.
func (k *xtsKernel) timesBits(n uint8, t, out, tmp, poly reg.VecPhysical) {
	scratch := k.vecs[14]
	VPSRLQ(Imm(uint64(64-n)), t, tmp)
	VPSLLQ(Imm(uint64(n)), t, out)
	k.carry(tmp, out, scratch, poly)
}

// carry brings what fell out of the halves of out: c holds it. That of the
// low half goes to the high one, that of the high half is reduced. c becomes
// scratch.
func (k *xtsKernel) carry(c, out, tmp, poly reg.VecPhysical) {
	VPCLMULQDQ(Imm(0x10), c, poly, tmp)
	VPSLLDQ(Imm(8), c, c)
	k.xor(c, out)
	k.xor(tmp, out)
}

// timesBytes sets out, which may be t, to t times x to the power 8n.
func (k *xtsKernel) timesBytes(n uint8, t, out, tmp, poly reg.VecPhysical) {
	VPSRLDQ(Imm(uint64(16-n)), t, tmp)
	VPCLMULQDQ(Imm(0), tmp, poly, tmp)
	VPSLLDQ(Imm(uint64(n)), t, out)
	k.xor(tmp, out)
}
