package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

var xtsPoly512, xtsShift512, xtsCount512 Mem

// vaes512XTS does 32 blocks a turn in Z0 to Z7. Eight registers hold their
// tweaks and step by 32 blocks, each on its own, so no chain is in the way.
type vaes512XTS struct {
	*xtsKernel
	tmp, tmp2, ivs, four, key, poly reg.VecPhysical
	run, masked, blocks             []reg.VecPhysical
}

func xtsVAES512(decrypt bool) {
	TEXT(xtsName(decrypt, "VAES512"), NOSPLIT, xtsSignature)
	Comment("Z0-Z7 blocks in flight, Z8-Z9 and Z14 scratch, Z10 the next 4 IVs, Z11 what they step by,",
		"Z13 round key, Z15 the polynomial, Z16-Z23 the next 32 tweaks,",
		"Z24-Z31 the tweaks of the turn ^ last round key.",
		"Stack: 16 tweaks of a batch of units.")
	if !decrypt {
		xtsPoly512 = words("poly512", 0x87, 0)
		xtsShift512 = words("shift512", 0, 0, 1, 1, 2, 2, 3, 3, 64, 64, 63, 63, 62, 62, 61, 61)
		xtsCount512 = words("count512", 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 4, 0, 4, 0, 4, 0)
	}
	k := &vaes512XTS{
		xtsKernel: &xtsKernel{width: avx512, decrypt: decrypt},
		tmp:       zmm[8], tmp2: zmm[9], ivs: zmm[10], four: zmm[11], key: zmm[13], poly: zmm[15],
		run: zmm[16:24], masked: zmm[24:32], blocks: zmm[:8],
	}
	k.begin(256)
	VBROADCASTI32X4(xtsPoly512, k.poly)
	VBROADCASTI32X4(Mem{Base: k.iv}, k.ivs)
	VPADDQ(xtsCount512, k.ivs, k.ivs)
	VMOVDQU64(xtsCount512.Offset(64), k.four)
	k.eachUnit(16, k.encryptTweaks, k.unit)
	VZEROUPPER()
	RET()
}

func (k *vaes512XTS) encryptTweaks() {
	v := k.blocks[:4]
	for i := range v {
		VMOVDQA64(k.ivs, v[i])
		VPADDQ(k.four, k.ivs, k.ivs)
	}
	k.cryptBlocks(&k.labels, false, k.tweak, k.key, v)
	for i := range v {
		VMOVDQU64(v[i], Mem{Base: k.tweaks, Disp: 64 * i})
	}
}

func (k *vaes512XTS) unit() {
	VBROADCASTI32X4(Mem{Base: k.slot}, k.tmp)
	k.spread(xtsShift512, xtsShift512.Offset(64), k.tmp, k.run[0], k.tmp2, k.poly)
	CMPQ(k.left, U32(512))
	JLT(LabelRef("tail"))
	k.timesBits(4, k.run[0], k.run[1], k.tmp, k.poly)
	for i := range 2 {
		k.timesBytes(1, k.run[i], k.run[i+2], k.tmp, k.poly)
	}
	for i := range 4 {
		k.timesBytes(2, k.run[i], k.run[i+4], k.tmp, k.poly)
	}
	Label("turn")
	k.turn()
	CMPQ(k.left, U32(512))
	JGE(LabelRef("turn"))
	Label("tail")
	k.tail()
}

func (k *vaes512XTS) turn() {
	k.loadKey(Mem{Base: k.data.base}, k.key)
	for i, v := range k.blocks {
		VMOVDQU64(k.at(k.src, i), v)
		VPTERNLOGD(Imm(0x96), k.key, k.run[i], v) // xor of all three
	}
	k.loadKey(Mem{Base: k.data.last}, k.tmp2)
	var between []func()
	for i := range k.blocks {
		between = append(between, func() {
			VPXORD(k.tmp2, k.run[i], k.masked[i])
			k.timesBytes(4, k.run[i], k.run[i], k.tmp, k.poly)
		})
	}
	k.innerRounds(&k.labels, k.decrypt, k.data, k.key, k.blocks, between...)
	for i, v := range k.blocks {
		k.lastRound(k.decrypt, k.masked[i], v)
	}
	for i, v := range k.blocks {
		VMOVDQU64(v, k.at(k.dst, i))
	}
	k.advance(512)
}

// tail does what is less than a turn: four blocks at a time, then the rest
// under a mask.
func (k *vaes512XTS) tail() {
	t, v, masked := k.run[0], k.blocks[0], k.masked[0]
	CMPQ(k.left, Imm(64))
	JLT(LabelRef("rest"))
	Label("quad")
	VPXORD(Mem{Base: k.src}, t, v)
	k.oneRegister(t, v, masked, k.key)
	VMOVDQU64(v, Mem{Base: k.dst})
	k.timesBits(4, t, t, k.tmp, k.poly)
	k.advance(64)
	CMPQ(k.left, Imm(64))
	JGE(LabelRef("quad"))

	Label("rest")
	TESTQ(k.left, k.left)
	JZ(LabelRef("unitDone"))
	// One mask bit for each of the 2, 4 or 6 words that are left.
	count, mask := GP64(), GP64()
	MOVQ(k.left, count)
	SHRQ(Imm(3), count)
	MOVQ(I32(-1), mask)
	BZHIQ(count, mask, mask)
	KMOVB(mask.As32(), reg.K1)
	VMOVDQU64_Z(Mem{Base: k.src}, reg.K1, v)
	k.xor(t, v)
	k.oneRegister(t, v, masked, k.key)
	VMOVDQU64(v, reg.K1, Mem{Base: k.dst})
	ADDQ(k.left, k.src)
	ADDQ(k.left, k.dst)
	Label("unitDone")
}
