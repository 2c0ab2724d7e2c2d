package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// cbcEncrypt is as fast as the latency of AES lets one chain be.
func cbcEncrypt() {
	TEXT("cbcEncryptAESNI", NOSPLIT, "func(dst, src *byte, blocks int, keys *[60]uint32, rounds int, iv *[16]byte)")
	Comment("X0 the chain, X1 round key, X2 plaintext ^ first round key, X3 first round key.")
	var l labels
	dst, src, blocks := arg("dst"), arg("src"), arg("blocks")
	keys := loadKeys("keys", arg("rounds"))
	iv := arg("iv")
	MOVUPS(Mem{Base: iv}, xmm[0])
	MOVUPS(Mem{Base: keys.base}, xmm[3])
	Label("block")
	MOVUPS(Mem{Base: src}, xmm[2])
	PXOR(xmm[3], xmm[2])
	PXOR(xmm[2], xmm[0])
	sse.innerRounds(&l, false, keys, xmm[1], xmm[:1])
	MOVUPS(Mem{Base: keys.last}, xmm[1])
	AESENCLAST(xmm[1], xmm[0])
	MOVUPS(xmm[0], Mem{Base: dst})
	ADDQ(Imm(16), src)
	ADDQ(Imm(16), dst)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	MOVUPS(xmm[0], Mem{Base: iv})
	RET()
}

// cbcEncrypt8 runs eight chains side by side, one a message.
func cbcEncrypt8() {
	TEXT("cbcEncrypt8AESNI", NOSPLIT, "func(dst, src *byte, size int, keys *[60]uint32, rounds int, ivs *[8][16]byte)")
	Comment("X0-X7 the chains, X8 round key, X9 plaintext, X10 first round key.")
	var l labels
	dst, src, size := arg("dst"), arg("src"), arg("size")
	keys := loadKeys("keys", arg("rounds"))
	ivs := arg("ivs")
	chains := xmm[:8]
	for i, v := range chains {
		MOVUPS(Mem{Base: ivs, Disp: 16 * i}, v)
	}
	MOVUPS(Mem{Base: keys.base}, xmm[10])
	left, size3 := GP64(), GP64()
	MOVQ(size, left)
	LEAQ(Mem{Base: size, Index: size, Scale: 2}, size3)
	// Messages 0 to 3 are reached from the first base, 4 to 7 from the second.
	src4, dst4 := GP64(), GP64()
	LEAQ(Mem{Base: src, Index: size, Scale: 4}, src4)
	LEAQ(Mem{Base: dst, Index: size, Scale: 4}, dst4)
	at := func(base, base4 reg.GPVirtual, i int) Mem {
		if i >= 4 {
			base = base4
		}
		switch i % 4 {
		case 0:
			return Mem{Base: base}
		case 3:
			return Mem{Base: base, Index: size3, Scale: 1}
		default:
			return Mem{Base: base, Index: size, Scale: uint8(i % 4)}
		}
	}
	Label("block")
	for i, v := range chains {
		MOVUPS(at(src, src4, i), xmm[9])
		PXOR(xmm[10], v)
		PXOR(xmm[9], v)
	}
	sse.innerRounds(&l, false, keys, xmm[8], chains)
	MOVUPS(Mem{Base: keys.last}, xmm[8])
	for i, v := range chains {
		AESENCLAST(xmm[8], v)
		MOVUPS(v, at(dst, dst4, i))
	}
	for _, p := range []reg.GPVirtual{src, src4, dst, dst4} {
		ADDQ(Imm(16), p)
	}
	SUBQ(Imm(16), left)
	JNZ(LabelRef("block"))
	RET()
}

// cbcDecrypt does eight registers a turn, and with narrow ones, block by block,
// what is left.
func cbcDecrypt(name string, w, narrow width) {
	TEXT(name, NOSPLIT, "func(dst, src *byte, blocks int, keys *[60]uint32, rounds int, iv *[16]byte)")
	Comment("Registers 0-7 blocks in flight, 8 round key, 9 the ciphertext before register 0,",
		"in its top lane the block that the turn begins after, 10 scratch.")
	var l labels
	dst, src, blocks := arg("dst"), arg("src"), arg("blocks")
	keys := loadKeys("keys", arg("rounds"))
	iv := arg("iv")
	perTurn := w.bytes / 2
	advance := func(n int) {
		ADDQ(U32(16*n), src)
		ADDQ(U32(16*n), dst)
		SUBQ(Imm(uint64(n)), blocks)
	}
	w.loadKey(Mem{Base: iv}, w.vecs[9])
	CMPQ(blocks, Imm(uint64(perTurn)))
	JLT(LabelRef("tail"))

	Label("turn")
	cbcDecryptTurn(w, &l, keys, dst, src)
	advance(perTurn)
	CMPQ(blocks, Imm(uint64(perTurn)))
	JGE(LabelRef("turn"))
	topLane(w, w.vecs[9])

	Label("tail")
	TESTQ(blocks, blocks)
	JZ(LabelRef("end"))
	Label("one")
	cbcDecryptOne(narrow, &l, keys, dst, src)
	advance(1)
	JNZ(LabelRef("one"))
	Label("end")
	if w.vex {
		VZEROUPPER()
	}
	RET()
}

// cbcDecryptTurn reads every ciphertext of a turn before it writes the first
// plaintext, so dst may be src.
func cbcDecryptTurn(w width, l *labels, keys aesKeys, dst, src reg.GPVirtual) {
	data, key, before, tmp := w.vecs[:8], w.vecs[8], w.vecs[9], w.vecs[10]
	for i, v := range data {
		w.load(Mem{Base: src, Disp: i * w.bytes}, v)
	}
	switch w.bytes {
	case 32:
		VPERM2I128(Imm(0x21), data[0], before, before)
	case 64:
		VALIGNQ(Imm(6), before, data[0], before)
	}
	w.cryptBlocks(l, true, keys, key, data)
	w.xor(before, data[0])
	for i, v := range data[1:] {
		w.xorMem(Mem{Base: src, Disp: (i+1)*w.bytes - 16}, v, tmp)
	}
	w.load(Mem{Base: src, Disp: 7 * w.bytes}, before)
	for i, v := range data {
		w.store(v, Mem{Base: dst, Disp: i * w.bytes})
	}
}

func cbcDecryptOne(w width, l *labels, keys aesKeys, dst, src reg.GPVirtual) {
	v, key, before, tmp := w.vecs[0], w.vecs[8], w.vecs[9], w.vecs[10]
	w.load(Mem{Base: src}, v)
	w.move(v, tmp)
	w.cryptBlocks(l, true, keys, key, w.vecs[:1])
	w.xor(before, v)
	w.move(tmp, before)
	w.store(v, Mem{Base: dst})
}

// topLane brings the top lane of v to the bottom.
func topLane(w width, v reg.VecPhysical) {
	switch w.bytes {
	case 32:
		VEXTRACTI128(Imm(1), v, v.AsX())
	case 64:
		VEXTRACTI32X4(Imm(3), v, v.AsX())
	}
}
