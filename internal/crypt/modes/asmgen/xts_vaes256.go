package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

var xtsPoly256, xtsShift256, xtsCount256 Mem

// vaes256XTS does sixteen blocks a turn in Y0 to Y7. Four registers run
// through the tweaks, each 8 blocks a step; the tweaks of the turn, with the
// last round key in them, lie on the stack.
type vaes256XTS struct {
	*xtsKernel
	key, tmp, tmp2, poly reg.VecPhysical
	run, blocks          []reg.VecPhysical
}

func (k *vaes256XTS) masked(i int) Mem { return Mem{Base: k.tweaks, Disp: 128 + 32*i} }
func (k *vaes256XTS) ivSlot() Mem      { return Mem{Base: k.tweaks, Disp: 128 + 256} }

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
	k := &vaes256XTS{
		xtsKernel: &xtsKernel{width: avx2, decrypt: decrypt},
		key:       ymm[8], tmp: ymm[13], tmp2: ymm[14], poly: ymm[15],
		run: ymm[9:13], blocks: ymm[:8],
	}
	k.begin(128 + 256 + 32)
	VMOVDQU(xtsPoly256, k.poly)
	VBROADCASTI128(Mem{Base: k.iv}, k.tmp)
	VMOVDQU(k.tmp, k.ivSlot())

	k.eachUnit(8, k.encryptTweaks, k.unit)
	// Tweaks and masked tweaks together would give away a round key.
	VPXOR(k.tmp, k.tmp, k.tmp)
	for i := range 8 {
		VMOVDQU(k.tmp, k.masked(i))
	}
	VZEROUPPER()
	RET()
}

func (k *vaes256XTS) encryptTweaks() {
	v := k.blocks[:4]
	VMOVDQU(k.ivSlot(), k.tmp)
	VPADDQ(xtsCount256, k.tmp, v[0])
	for i := 1; i < 4; i++ {
		VPADDQ(xtsCount256.Offset(32), v[i-1], v[i])
	}
	VPADDQ(xtsCount256.Offset(64), k.tmp, k.tmp)
	VMOVDQU(k.tmp, k.ivSlot())
	k.cryptBlocks(&k.labels, false, k.tweak, k.key, v)
	for i := range v {
		VMOVDQU(v[i], Mem{Base: k.tweaks, Disp: 32 * i})
	}
}

func (k *vaes256XTS) unit() {
	VBROADCASTI128(Mem{Base: k.slot}, k.tmp)
	k.spread(xtsShift256, xtsShift256.Offset(32), k.tmp, k.run[0], k.tmp2, k.poly)
	CMPQ(k.left, U32(256))
	JLT(LabelRef("tail"))
	k.timesBits(2, k.run[0], k.run[1], k.tmp, k.poly)
	k.timesBits(4, k.run[0], k.run[2], k.tmp, k.poly)
	k.timesBits(4, k.run[1], k.run[3], k.tmp, k.poly)
	Label("turn")
	k.turn()
	CMPQ(k.left, U32(256))
	JGE(LabelRef("turn"))
	Label("tail")
	k.tail()
}

func (k *vaes256XTS) turn() {
	k.loadKey(Mem{Base: k.data.base}, k.tmp)
	k.loadKey(Mem{Base: k.data.last}, k.key)
	for i, v := range k.blocks {
		t := k.run[i%4]
		VPXOR(k.at(k.src, i), t, v)
		VPXOR(k.tmp, v, v)
		VPXOR(k.key, t, k.tmp2)
		VMOVDQU(k.tmp2, k.masked(i))
		k.timesBytes(1, t, t, k.tmp2, k.poly)
	}
	k.innerRounds(&k.labels, k.decrypt, k.data, k.key, k.blocks)
	for i, v := range k.blocks {
		k.lastRound(k.decrypt, k.masked(i), v)
	}
	for i, v := range k.blocks {
		VMOVDQU(v, k.at(k.dst, i))
	}
	k.advance(256)
}

// tail does what is less than a turn: pairs of blocks, then an odd one.
func (k *vaes256XTS) tail() {
	t, v, masked := k.run[0], k.blocks[0], k.run[1]
	CMPQ(k.left, Imm(32))
	JLT(LabelRef("odd"))
	Label("pair")
	VPXOR(Mem{Base: k.src}, t, v)
	k.oneRegister(t, v, masked, k.key)
	VMOVDQU(v, Mem{Base: k.dst})
	k.timesBits(2, t, t, k.tmp, k.poly)
	k.advance(32)
	CMPQ(k.left, Imm(32))
	JGE(LabelRef("pair"))
	Label("odd")
	TESTQ(k.left, k.left)
	JZ(LabelRef("unitDone"))
	VMOVDQU(Mem{Base: k.src}, v.AsX())
	VPXOR(t, v, v)
	k.oneRegister(t, v, masked, k.key)
	VMOVDQU(v.AsX(), Mem{Base: k.dst})
	k.advance(16)
	Label("unitDone")
}
