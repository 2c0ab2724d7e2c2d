package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const xtsSignature = "func(dst, src *byte, units, unitSize int, keys, tweakKeys *[60]uint32, rounds int, iv *[16]byte)"

// xtsKernel is what the kernels of all widths share: the walk over the units.
//
// Tweaks are encrypted for a batch of units at once, since one by one each
// would cost the full latency of AES.
type xtsKernel struct {
	width
	labels
	decrypt bool

	dst, src    reg.GPVirtual
	units       reg.GPVirtual // not yet begun
	unitSize    reg.GPVirtual
	data, tweak aesKeys
	iv          reg.GPVirtual
	tweaks      reg.GPVirtual // the encrypted tweaks of a batch, aligned
	batch       reg.GPVirtual // units of the batch that are left
	slot        reg.GPVirtual // tweak of the unit in flight
	left        reg.GPVirtual // bytes of the unit that are left
}

func xtsKernels() {
	for _, decrypt := range []bool{false, true} {
		xtsAESNI(decrypt)
		xtsVAES256(decrypt)
		xtsVAES512(decrypt)
	}
}

func xtsName(decrypt bool, set string) string {
	if decrypt {
		return "decrypt" + set
	}
	return "encrypt" + set
}

// begin loads the arguments and reserves size bytes of stack, aligned to the
// width of a register, at k.tweaks.
func (k *xtsKernel) begin(size int) {
	k.dst, k.src = arg("dst"), arg("src")
	k.units, k.unitSize = arg("units"), arg("unitSize")
	rounds := arg("rounds")
	k.data, k.tweak = loadKeys("keys", rounds), loadKeys("tweakKeys", rounds)
	k.iv = arg("iv")
	local := AllocLocal(size + k.bytes - 8)
	k.tweaks, k.batch, k.slot, k.left = GP64(), GP64(), GP64(), GP64()
	LEAQ(local.Offset(k.bytes-8), k.tweaks)
	ANDQ(I32(-k.bytes), k.tweaks)
}

// eachUnit emits the loops: encryptTweaks stores the tweaks of the next n
// units at k.tweaks, unit does one unit from k.slot and k.left on and moves
// dst and src behind it.
func (k *xtsKernel) eachUnit(n int, encryptTweaks, unit func()) {
	Label("nextBatch")
	k.takeBatch(n)
	encryptTweaks()
	Label("nextUnit")
	MOVQ(k.unitSize, k.left)
	unit()
	ADDQ(Imm(16), k.slot)
	DECQ(k.batch)
	JNZ(LabelRef("nextUnit"))
	TESTQ(k.units, k.units)
	JNZ(LabelRef("nextBatch"))
}

// takeBatch takes up to n units out of k.units for the next batch.
func (k *xtsKernel) takeBatch(n int) {
	MOVQ(U32(n), k.batch)
	CMPQ(k.units, k.batch)
	CMOVQLT(k.units, k.batch)
	SUBQ(k.batch, k.units)
	MOVQ(k.tweaks, k.slot)
}

// advance moves on by n bytes.
func (k *xtsKernel) advance(n int) {
	ADDQ(I32(n), k.src)
	ADDQ(I32(n), k.dst)
	SUBQ(I32(n), k.left)
}

// at is the i-th register of the input or output.
func (k *xtsKernel) at(base reg.Register, i int) Mem {
	return Mem{Base: base, Disp: i * k.bytes}
}
