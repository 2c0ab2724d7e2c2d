package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

var xtsPoly512, xtsShift512, xtsCount512 Mem

// xtsVAES512 does 32 blocks a turn in Z0 to Z7. Eight registers hold their
// tweaks and step by 32 blocks, each on its own, so no chain is in the way.
func xtsVAES512(decrypt bool) {
	TEXT(xtsName(decrypt, "VAES512"), NOSPLIT, xtsSignature)
	Comment("Z0-Z7 blocks in flight, Z8-Z12 and Z14 scratch, Z13 round key, Z15 the polynomial,",
		"Z16-Z23 the next 32 tweaks, Z24-Z31 the tweaks of the turn ^ last round key.",
		"Stack: 16 tweaks of a batch of units.")
	if !decrypt {
		xtsPoly512 = words("poly512", 0x87, 0)
		xtsShift512 = words("shift512", 0, 0, 1, 1, 2, 2, 3, 3, 64, 64, 63, 63, 62, 62, 61, 61)
		xtsCount512 = words("count512", 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 4, 0, 4, 0, 4, 0)
	}
	k := &xtsKernel{width: avx512, decrypt: decrypt}
	k.begin(256)
	blocks, tweaks, masked := zmm[:8], zmm[16:24], zmm[24:32]
	tmp, tmp2, ivs, four, key, poly := zmm[8], zmm[9], zmm[10], zmm[11], zmm[13], zmm[15]

	VBROADCASTI32X4(xtsPoly512, poly)
	VBROADCASTI32X4(Mem{Base: k.iv}, ivs)
	VPADDQ(xtsCount512, ivs, ivs)
	VMOVDQU64(xtsCount512.Offset(64), four)

	encryptTweaks := func() {
		for _, v := range blocks[:4] {
			VMOVDQA64(ivs, v)
			VPADDQ(four, ivs, ivs)
		}
		k.cryptBlocks(&k.labels, false, k.tweak, key, blocks[:4])
		for i, v := range blocks[:4] {
			VMOVDQU64(v, Mem{Base: k.tweaks, Disp: 64 * i})
		}
	}
	k.eachUnit(16, encryptTweaks, func() {
		turn, tail, quad, end := k.new("turn"), k.new("tail"), k.new("quad"), k.new("end")
		rest := k.new("rest")
		VBROADCASTI32X4(Mem{Base: k.slot}, tmp)
		k.spread(xtsShift512, xtsShift512.Offset(64), tmp, tweaks[0], tmp2, poly)
		CMPQ(k.left, U32(512))
		JLT(LabelRef(tail))
		k.timesBits(4, tweaks[0], tweaks[1], tmp, poly)
		for i := range 2 {
			k.timesBytes(1, tweaks[i], tweaks[i+2], tmp, poly)
		}
		for i := range 4 {
			k.timesBytes(2, tweaks[i], tweaks[i+4], tmp, poly)
		}

		Label(turn)
		k.loadKey(Mem{Base: k.data.base}, key)
		for i, v := range blocks {
			VMOVDQU64(k.at(k.src, i), v)
			VPTERNLOGD(Imm(0x96), key, tweaks[i], v)
		}
		k.loadKey(Mem{Base: k.data.last}, tmp2)
		var step []func()
		for i := range blocks {
			step = append(step, func() {
				VPXORD(tmp2, tweaks[i], masked[i])
				k.timesBytes(4, tweaks[i], tweaks[i], tmp, poly)
			})
		}
		k.innerRounds(&k.labels, decrypt, k.data, key, blocks, step...)
		for i, v := range blocks {
			k.lastRound(decrypt, masked[i], v)
		}
		for i, v := range blocks {
			VMOVDQU64(v, k.at(k.dst, i))
		}
		k.advance(512)
		CMPQ(k.left, U32(512))
		JGE(LabelRef(turn))

		Label(tail)
		CMPQ(k.left, Imm(64))
		JLT(LabelRef(rest))
		Label(quad)
		VPXORD(Mem{Base: k.src}, tweaks[0], blocks[0])
		k.wholeTail(tweaks[0], blocks[0], masked[0], key)
		VMOVDQU64(blocks[0], Mem{Base: k.dst})
		k.timesBits(4, tweaks[0], tweaks[0], tmp, poly)
		k.advance(64)
		CMPQ(k.left, Imm(64))
		JGE(LabelRef(quad))

		Label(rest)
		TESTQ(k.left, k.left)
		JZ(LabelRef(end))
		// One mask bit for each of the 2, 4 or 6 words that are left.
		count, mask := GP64(), GP64()
		MOVQ(k.left, count)
		SHRQ(Imm(3), count)
		MOVQ(I32(-1), mask)
		BZHIQ(count, mask, mask)
		KMOVB(mask.As32(), reg.K1)
		VMOVDQU64_Z(Mem{Base: k.src}, reg.K1, blocks[0])
		k.xor(tweaks[0], blocks[0])
		k.wholeTail(tweaks[0], blocks[0], masked[0], key)
		VMOVDQU64(blocks[0], reg.K1, Mem{Base: k.dst})
		ADDQ(k.left, k.src)
		ADDQ(k.left, k.dst)
		Label(end)
	})
	VZEROUPPER()
	RET()
}
