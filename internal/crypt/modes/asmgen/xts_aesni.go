package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

var xtsOne128 Mem

// aesniXTS does eight blocks a turn in X0 to X7. Between their rounds it makes
// the tweaks of the next turn, be that of this unit or of the next, so that
// the chain of doublings never holds AES up. The doubling is done in integer
// registers: AES leaves only one vector port free on most processors. The two
// stores of a tweak cannot be forwarded to its load, but they are long done
// when that comes, a turn later.
type aesniXTS struct {
	*xtsKernel
	key, tmp, tmp2, first, last reg.VecPhysical
	blocks                      []reg.VecPhysical
	lo, hi, carry               reg.GPVirtual // tweak of the next block; scratch
}

// next is where the tweak of block i of the next turn waits, masked where that
// of block i of this turn does, with the last round key in it.
func (k *aesniXTS) next(i int) Mem   { return Mem{Base: k.tweaks, Disp: 16 * (9 + i)} }
func (k *aesniXTS) masked(i int) Mem { return Mem{Base: k.tweaks, Disp: 16 * (17 + i)} }
func (k *aesniXTS) ivSlot() Mem      { return Mem{Base: k.tweaks, Disp: 16 * 25} }

func xtsAESNI(decrypt bool) {
	TEXT(xtsName(decrypt, "AESNI"), NOSPLIT, xtsSignature)
	Comment("X0-X7 blocks in flight, X8 round key, X9-X10 scratch, X11 first and X12 last round key.",
		"Stack: 8 tweaks of a batch of units and room for one; 8 tweaks of the next turn;",
		"8 tweaks of this turn, each ^ last round key; IV.")
	if !decrypt {
		xtsOne128 = words("one128", 1, 0)
	}
	k := &aesniXTS{
		xtsKernel: &xtsKernel{width: sse, decrypt: decrypt},
		key:       xmm[8], tmp: xmm[9], tmp2: xmm[10], first: xmm[11], last: xmm[12],
		blocks: xmm[:8],
	}
	k.begin(26 * 16)
	MOVUPS(Mem{Base: k.data.base}, k.first)
	MOVUPS(Mem{Base: k.data.last}, k.last)
	MOVUPS(Mem{Base: k.iv}, k.tmp)
	MOVAPS(k.tmp, k.ivSlot())
	k.lo, k.hi, k.carry = GP64(), GP64(), GP64()

	k.walk()
	// Tweaks and masked tweaks together would give away a round key.
	PXOR(k.tmp, k.tmp)
	for i := range 8 {
		MOVAPS(k.tmp, k.masked(i))
	}
	RET()
}

// walk is eachUnit, but that a unit that ends with a turn has its successor's
// tweaks ready.
func (k *aesniXTS) walk() {
	Label("nextBatch")
	k.takeBatch(8)
	k.encryptTweaks()

	Label("nextUnit")
	MOVQ(k.unitSize, k.left)
	k.startAt(Mem{Base: k.slot})
	for i := range 8 {
		k.nextTweak(i)
	}
	CMPQ(k.left, Imm(128))
	JLT(LabelRef("tail"))

	Label("turn")
	k.turn()
	JNZ(LabelRef("inUnit"))
	MOVQ(k.unitSize, k.left)
	ADDQ(Imm(16), k.slot)
	DECQ(k.batch)
	JNZ(LabelRef("turn"))
	JMP(LabelRef("batchDone"))
	Label("inUnit")
	CMPQ(k.left, Imm(128))
	JGE(LabelRef("turn"))

	Label("tail")
	k.tail()
	ADDQ(Imm(16), k.slot)
	DECQ(k.batch)
	JNZ(LabelRef("nextUnit"))

	Label("batchDone")
	TESTQ(k.units, k.units)
	JNZ(LabelRef("nextBatch"))
}

func (k *aesniXTS) encryptTweaks() {
	MOVAPS(k.ivSlot(), k.tmp)
	MOVUPS(xtsOne128, k.tmp2)
	for _, v := range k.blocks {
		MOVO(k.tmp, v)
		PADDQ(k.tmp2, k.tmp)
	}
	MOVAPS(k.tmp, k.ivSlot())
	k.cryptBlocks(&k.labels, false, k.tweak, k.key, k.blocks)
	for i, v := range k.blocks {
		MOVAPS(v, Mem{Base: k.tweaks, Disp: 16 * i})
	}
}

// startAt begins with the first tweak of a unit.
func (k *aesniXTS) startAt(tweak Mem) {
	MOVQ(tweak, k.lo)
	MOVQ(tweak.Offset(8), k.hi)
}

// nextTweak stores the tweak of block i of the next turn and doubles it.
func (k *aesniXTS) nextTweak(i int) {
	MOVQ(k.lo, k.next(i))
	MOVQ(k.hi, k.next(i).Offset(8))
	MOVQ(k.hi, k.carry)
	SARQ(Imm(63), k.carry)
	ANDQ(U32(0x87), k.carry)
	ADDQ(k.lo, k.lo)
	ADCQ(k.hi, k.hi)
	XORQ(k.carry, k.lo)
}

// turn does eight blocks. The flags say whether the unit ended.
func (k *aesniXTS) turn() {
	for i, v := range k.blocks {
		MOVUPS(k.at(k.src, i), v)
		PXOR(k.first, v)
		PXOR(k.next(i), v)
	}
	sameUnit := k.new("sameUnit")
	CMPQ(k.left, Imm(128))
	JNE(LabelRef(sameUnit))
	k.startAt(Mem{Base: k.slot, Disp: 16}) // the next turn is of the next unit
	Label(sameUnit)
	var between []func()
	for i := range k.blocks {
		between = append(between, func() {
			MOVAPS(k.next(i), k.tmp)
			PXOR(k.last, k.tmp)
			MOVAPS(k.tmp, k.masked(i))
			k.nextTweak(i)
		})
	}
	k.innerRounds(&k.labels, k.decrypt, k.data, k.key, k.blocks, between...)
	for i, v := range k.blocks {
		k.lastRound(k.decrypt, k.masked(i), v)
	}
	for i, v := range k.blocks {
		MOVUPS(v, k.at(k.dst, i))
	}
	k.advance(128)
}

// tail does the up to seven blocks that are left, with the tweaks that wait
// for the next turn.
func (k *aesniXTS) tail() {
	waiting, v := GP64(), k.blocks[0]
	LEAQ(k.next(0), waiting)
	Label("one")
	MOVUPS(Mem{Base: k.src}, v)
	MOVAPS(Mem{Base: waiting}, k.tmp)
	PXOR(k.tmp, v)
	PXOR(k.first, v)
	PXOR(k.last, k.tmp)
	k.innerRounds(&k.labels, k.decrypt, k.data, k.key, k.blocks[:1])
	k.lastRound(k.decrypt, k.tmp, v)
	MOVUPS(v, Mem{Base: k.dst})
	ADDQ(Imm(16), waiting)
	k.advance(16)
	JNZ(LabelRef("one"))
}
