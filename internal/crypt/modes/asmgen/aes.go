package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// aesKeys is where a kernel finds the round keys of one AES key.
type aesKeys struct {
	base   reg.GPVirtual // round key 0
	last   reg.GPVirtual // the last round key
	rounds reg.GPVirtual // 10 or 14
}

// labels makes the names of jump targets unique within a kernel.
type labels int

func (l *labels) new(name string) string {
	*l++
	return fmt.Sprintf("%s%d", name, int(*l))
}

// width is a register width that AES instructions come in.
type width struct {
	bytes int
	vex   bool // encoded with VEX or EVEX; never mixed with the old encoding
	vecs  []reg.VecPhysical
}

var (
	sse    = width{16, false, xmm[:]}
	avx128 = width{16, true, xmm[:]}
	avx2   = width{32, true, ymm[:]}
	avx512 = width{64, true, zmm[:]}
)

var xmm = [...]reg.VecPhysical{
	reg.X0, reg.X1, reg.X2, reg.X3, reg.X4, reg.X5, reg.X6, reg.X7,
	reg.X8, reg.X9, reg.X10, reg.X11, reg.X12, reg.X13, reg.X14, reg.X15,
}

var ymm = [...]reg.VecPhysical{
	reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7,
	reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15,
}

var zmm = [...]reg.VecPhysical{
	reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7,
	reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
	reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23,
	reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31,
}

// loadKey loads the 16 bytes at m into every lane of k.
func (w width) loadKey(m Mem, k reg.VecPhysical) {
	switch w.bytes {
	case 16:
		w.load(m, k)
	case 32:
		VBROADCASTI128(m, k)
	case 64:
		VBROADCASTI32X4(m, k)
	}
}

// load fills a register from memory, which need not be aligned.
func (w width) load(m Mem, v reg.VecPhysical) { w.move(m, v) }

// store is the inverse of load.
func (w width) store(v reg.VecPhysical, m Mem) { w.move(v, m) }

// move copies a register to another or between a register and memory.
func (w width) move(from, to Op) {
	switch {
	case !w.vex:
		MOVUPS(from, to)
	case w.bytes == 64:
		VMOVDQU64(from, to)
	default:
		VMOVDQU(from, to)
	}
}

// xor sets d to d ^ s.
func (w width) xor(s Op, d reg.VecPhysical) {
	switch {
	case !w.vex:
		PXOR(s, d)
	case w.bytes == 64:
		VPXORD(s, d, d)
	default:
		VPXOR(s, d, d)
	}
}

// addWords adds the 64-bit words of s to those of d.
func (w width) addWords(s, d reg.VecPhysical) {
	if w.vex {
		VPADDQ(s, d, d)
		return
	}
	PADDQ(s, d)
}

// xorMem is xor with unaligned memory, by way of tmp where that is needed.
func (w width) xorMem(m Mem, d, tmp reg.VecPhysical) {
	if w.vex {
		w.xor(m, d)
		return
	}
	MOVUPS(m, tmp)
	PXOR(tmp, d)
}

// round is one inner round of AES on v with the round key k.
func (w width) round(decrypt bool, k Op, v reg.VecPhysical) {
	switch {
	case !w.vex && decrypt:
		AESDEC(k, v)
	case !w.vex:
		AESENC(k, v)
	case decrypt:
		VAESDEC(k, v, v)
	default:
		VAESENC(k, v, v)
	}
}

// lastRound is the last round of AES on v with the round key k.
func (w width) lastRound(decrypt bool, k Op, v reg.VecPhysical) {
	switch {
	case !w.vex && decrypt:
		AESDECLAST(k, v)
	case !w.vex:
		AESENCLAST(k, v)
	case decrypt:
		VAESDECLAST(k, v, v)
	default:
		VAESENCLAST(k, v, v)
	}
}

// innerRounds emits all rounds but the whitening and the last, for 10 or 14
// rounds as keys.rounds says. Between the first nine rounds it emits the parts
// of interleave, which may use anything but the data, k and the flags.
func (w width) innerRounds(l *labels, decrypt bool, keys aesKeys, k reg.VecPhysical, data []reg.VecPhysical, interleave ...func()) {
	round := func(r int) {
		w.loadKey(Mem{Base: keys.base, Disp: 16 * r}, k)
		for _, v := range data {
			w.round(decrypt, k, v)
		}
	}
	for r := 1; r <= 9; r++ {
		round(r)
		for i := r - 1; i < len(interleave); i += 9 {
			interleave[i]()
		}
	}
	last := l.new("lastRound")
	CMPQ(keys.rounds, Imm(10))
	JE(LabelRef(last))
	for r := 10; r <= 13; r++ {
		round(r)
	}
	Label(last)
}

// cryptBlocks encrypts or decrypts the blocks in data.
func (w width) cryptBlocks(l *labels, decrypt bool, keys aesKeys, k reg.VecPhysical, data []reg.VecPhysical) {
	w.loadKey(Mem{Base: keys.base}, k)
	for _, v := range data {
		w.xor(k, v)
	}
	w.innerRounds(l, decrypt, keys, k, data)
	w.loadKey(Mem{Base: keys.last}, k)
	for _, v := range data {
		w.lastRound(decrypt, k, v)
	}
}

// loadKeys finds the round keys by the name of an argument.
func loadKeys(keys string, rounds reg.GPVirtual) aesKeys {
	k := aesKeys{arg(keys), GP64(), rounds}
	MOVQ(k.rounds, k.last)
	SHLQ(Imm(4), k.last)
	ADDQ(k.base, k.last)
	return k
}

// arg loads an argument of eight bytes.
func arg(name string) reg.GPVirtual {
	return Load(Param(name), GP64()).(reg.GPVirtual)
}

// words makes a constant of 64-bit words.
func words(name string, ws ...uint64) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i, w := range ws {
		DATA(8*i, U64(w))
	}
	return m
}
