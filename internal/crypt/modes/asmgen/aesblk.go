package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func aesblkKernels() {
	expandKey()
	invertKeys()
	oneBlock("encryptBlockAESNI", false)
	oneBlock("decryptBlockAESNI", true)
	encrypt8()
	cbcEncrypt()
	cbcEncrypt8()
	cbcDecrypt("cbcDecryptAESNI", sse, sse)
	cbcDecrypt("cbcDecryptVAES256", avx2, avx128)
	cbcDecrypt("cbcDecryptVAES512", avx512, avx128)
	xctr("xctrAESNI", sse)
	xctr("xctrVAES256", avx2)
}

// expandKey is KeyExpansion of FIPS 197. SubWord comes out of AESENCLAST on a
// word in all four columns, where ShiftRows moves nothing: that is twice as
// fast as AESKEYGENASSIST on most processors.
func expandKey() {
	rotate := words("rotateWord3", 0x0c0f0e0d0c0f0e0d, 0x0c0f0e0d0c0f0e0d)
	spread := words("spreadWord3", 0x0f0e0d0c0f0e0d0c, 0x0f0e0d0c0f0e0d0c)
	one := words("rcon1", 0x0000000100000001, 0x0000000100000001)
	rcon9 := words("rcon9", 0x0000001b0000001b, 0x0000001b0000001b)
	TEXT("expandKeyAESNI", NOSPLIT, "func(keys *[60]uint32, key *byte, rounds int)")
	Comment("X0 and X1 the last two round keys, X2 the word to mix in, X3 scratch,",
		"X4 round constant, X5 RotWord of word 3 everywhere, X6 word 3 everywhere, X7 zero.")
	out, key, rounds := arg("keys"), arg("key"), arg("rounds")
	lo, hi, rcon, rotated, spreaded, zero := xmm[0], xmm[1], xmm[4], xmm[5], xmm[6], xmm[7]
	MOVUPS(rotate, rotated)
	MOVUPS(one, rcon)
	MOVUPS(Mem{Base: key}, lo)
	MOVUPS(lo, Mem{Base: out})
	CMPQ(rounds, Imm(10))
	JNE(LabelRef("aes256"))
	for i := 1; i <= 10; i++ {
		if i == 9 {
			MOVUPS(rcon9, rcon)
		}
		expandStep(lo, lo, rotated, rcon)
		PSLLL(Imm(1), rcon)
		MOVUPS(lo, Mem{Base: out, Disp: 16 * i})
	}
	RET()

	Label("aes256")
	MOVUPS(spread, spreaded)
	PXOR(zero, zero)
	MOVUPS(Mem{Base: key, Disp: 16}, hi)
	MOVUPS(hi, Mem{Base: out, Disp: 16})
	for i := 2; i <= 14; i += 2 {
		expandStep(lo, hi, rotated, rcon)
		PSLLL(Imm(1), rcon)
		MOVUPS(lo, Mem{Base: out, Disp: 16 * i})
		if i < 14 {
			expandStep(hi, lo, spreaded, zero)
			MOVUPS(hi, Mem{Base: out, Disp: 16 * (i + 1)})
		}
	}
	RET()
}

// expandStep makes k the running sum of its words, and mixes in SubWord of the
// word that shuffle takes out of from, and a constant.
func expandStep(k, from reg.VecPhysical, shuffle, constant Op) {
	mix, tmp := xmm[2], xmm[3]
	MOVO(from, mix)
	PSHUFB(shuffle, mix)
	AESENCLAST(constant, mix)
	for _, bytes := range []uint64{4, 8} {
		MOVO(k, tmp)
		PSLLO(Imm(bytes), tmp)
		PXOR(tmp, k)
	}
	PXOR(mix, k)
}

// invertKeys makes the round keys of the equivalent inverse cipher.
func invertKeys() {
	TEXT("invertKeysAESNI", NOSPLIT, "func(dec, enc *[60]uint32, rounds int)")
	Comment("X0 the round key in flight.")
	dec, enc, rounds := arg("dec"), arg("enc"), arg("rounds")
	SHLQ(Imm(4), rounds)
	ADDQ(rounds, dec)
	MOVUPS(Mem{Base: enc}, xmm[0])
	MOVUPS(xmm[0], Mem{Base: dec})
	Label("inner")
	ADDQ(Imm(16), enc)
	SUBQ(Imm(16), dec)
	SUBQ(Imm(16), rounds)
	JZ(LabelRef("last"))
	MOVUPS(Mem{Base: enc}, xmm[0]) // AESIMC wants its memory aligned
	AESIMC(xmm[0], xmm[0])
	MOVUPS(xmm[0], Mem{Base: dec})
	JMP(LabelRef("inner"))
	Label("last")
	MOVUPS(Mem{Base: enc}, xmm[0])
	MOVUPS(xmm[0], Mem{Base: dec})
	RET()
}

func oneBlock(name string, decrypt bool) {
	TEXT(name, NOSPLIT, "func(dst, src *byte, keys *[60]uint32, rounds int)")
	Comment("X0 the block, X1 round key.")
	var l labels
	dst, src := arg("dst"), arg("src")
	keys := loadKeys("keys", arg("rounds"))
	MOVUPS(Mem{Base: src}, xmm[0])
	sse.cryptBlocks(&l, decrypt, keys, xmm[1], xmm[:1])
	MOVUPS(xmm[0], Mem{Base: dst})
	RET()
}

func encrypt8() {
	TEXT("encrypt8AESNI", NOSPLIT, "func(blocks *[8][16]byte, keys *[60]uint32, rounds int)")
	Comment("X0-X7 the blocks, X8 round key.")
	var l labels
	blocks := arg("blocks")
	keys := loadKeys("keys", arg("rounds"))
	for i, v := range xmm[:8] {
		MOVUPS(Mem{Base: blocks, Disp: 16 * i}, v)
	}
	sse.cryptBlocks(&l, false, keys, xmm[8], xmm[:8])
	for i, v := range xmm[:8] {
		MOVUPS(v, Mem{Base: blocks, Disp: 16 * i})
	}
	RET()
}

// xctr makes eight registers of key stream at a time. What a message does not
// fill is cut off the key stream on the stack.
func xctr(name string, w width) {
	TEXT(name, NOSPLIT, "func(dst, src *byte, n int, keys *[60]uint32, rounds int, start *[16]byte)")
	Comment("Registers 0-7 key stream, 8 round key, 9 start, 10 counters of the next register,",
		"11 what they step by, 12 and 13 scratch. Stack: the last key stream.")
	var l labels
	dst, src, n := arg("dst"), arg("src"), arg("n")
	keys := loadKeys("keys", arg("rounds"))
	start := arg("start")
	rest := AllocLocal(8 * w.bytes)
	stream, key, from, next, stepBy, tmp := w.vecs[:8], w.vecs[8], w.vecs[9], w.vecs[10], w.vecs[11], w.vecs[12]
	lanes := uint64(w.bytes / 16)
	w.load(words("xctrFirst"+name, []uint64{1, 0, 2, 0}[:2*lanes]...), next)
	w.load(words("xctrStep"+name, []uint64{lanes, 0, lanes, 0}[:2*lanes]...), stepBy)
	w.loadKey(Mem{Base: start}, from)

	Label("turn")
	for _, v := range stream {
		w.move(next, v)
		w.xor(from, v)
		w.addWords(stepBy, next)
	}
	w.cryptBlocks(&l, false, keys, key, stream)
	CMPQ(n, U32(8*w.bytes))
	JLT(LabelRef("partial"))
	for i, v := range stream {
		w.xorMem(Mem{Base: src, Disp: i * w.bytes}, v, tmp)
		w.store(v, Mem{Base: dst, Disp: i * w.bytes})
	}
	ADDQ(U32(8*w.bytes), src)
	ADDQ(U32(8*w.bytes), dst)
	SUBQ(U32(8*w.bytes), n)
	JNZ(LabelRef("turn"))
	JMP(LabelRef("end"))

	Label("partial")
	for i, v := range stream {
		w.store(v, rest.Offset(i*w.bytes))
	}
	xorRest(w, rest, dst, src, n, tmp)
	Label("end")
	if w.vex {
		VZEROUPPER()
	}
	RET()
}

// xorRest xors n bytes of src with those at rest into dst, in ever smaller
// steps.
func xorRest(w width, rest Mem, dst, src, n reg.GPVirtual, tmp reg.VecPhysical) {
	narrow := sse
	if w.vex {
		narrow = avx128
	}
	x, pad, word := tmp.AsX().(reg.VecPhysical), GP64(), GP64()
	other := xmm[13]
	LEAQ(rest, pad)
	loop := func(label string, size int, body func()) {
		Label(label)
		CMPQ(n, Imm(uint64(size)))
		JLT(LabelRef(label + "Done"))
		body()
		for _, p := range []reg.GPVirtual{pad, src, dst} {
			ADDQ(Imm(uint64(size)), p)
		}
		SUBQ(Imm(uint64(size)), n)
		JMP(LabelRef(label))
		Label(label + "Done")
	}
	loop("by16", 16, func() {
		narrow.load(Mem{Base: src}, x)
		narrow.xorMem(Mem{Base: pad}, x, other)
		narrow.store(x, Mem{Base: dst})
	})
	loop("by4", 4, func() {
		MOVL(Mem{Base: src}, word.As32())
		XORL(Mem{Base: pad}, word.As32())
		MOVL(word.As32(), Mem{Base: dst})
	})
	loop("by1", 1, func() {
		MOVB(Mem{Base: src}, word.As8())
		XORB(Mem{Base: pad}, word.As8())
		MOVB(word.As8(), Mem{Base: dst})
	})
}
