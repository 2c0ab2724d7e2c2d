package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The wide kernels multiply tweaks by powers of x, each lane its own. What
// falls out at the top is reduced by a product without carries with 0x87; the
// register poly holds that in the low half of each lane.

// spread multiplies lane j of t by x to the power j. left holds the powers,
// right 64 minus the powers; t becomes scratch.
func (k *xtsKernel) spread(left, right Mem, t, out, tmp, poly reg.VecPhysical) {
	VPSLLVQ(left, t, out)
	VPSRLVQ(right, t, t)
	k.carry(t, out, tmp, poly)
}

// timesBits sets out to t times x to the power n, n < 57, by shifts of the
// halves. Register 14 becomes scratch.
func (k *xtsKernel) timesBits(n uint8, t, out, tmp, poly reg.VecPhysical) {
	VPSRLQ(Imm(uint64(64-n)), t, tmp)
	VPSLLQ(Imm(uint64(n)), t, out)
	k.carry(tmp, out, k.vecs[14], poly)
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

// timesBytes sets out, which may be t, to t times x to the power 8n, n < 8.
func (k *xtsKernel) timesBytes(n uint8, t, out, tmp, poly reg.VecPhysical) {
	VPSRLDQ(Imm(uint64(16-n)), t, tmp)
	VPCLMULQDQ(Imm(0), tmp, poly, tmp)
	VPSLLDQ(Imm(uint64(n)), t, out)
	k.xor(tmp, out)
}

// oneRegister does all rounds of v, which has its tweak t in already.
func (k *xtsKernel) oneRegister(t, v, masked, key reg.VecPhysical) {
	k.loadKey(Mem{Base: k.data.last}, masked)
	k.xor(t, masked)
	k.loadKey(Mem{Base: k.data.base}, key)
	k.xor(key, v)
	k.innerRounds(&k.labels, k.decrypt, k.data, key, []reg.VecPhysical{v})
	k.lastRound(k.decrypt, masked, v)
}
