//go:build !purego

#include "textflag.h"

// Throughout: R0 dst, R1 src, R2 a length, R3 round keys, R4 rounds, R5 IV;
// V0-V7 blocks in flight, V16-V30 the round keys, V31 scratch. Rounds 0 to 8
// are V16-V24, the last inner round and the last round key V29 and V30;
// AES-256 has V25-V28 in between.

#define LOAD_KEYS \
	VLD1.P 64(R3), [V16.B16, V17.B16, V18.B16, V19.B16]; \
	VLD1.P 64(R3), [V20.B16, V21.B16, V22.B16, V23.B16]; \
	VLD1.P 16(R3), [V24.B16]; \
	CMP    $10, R4; \
	BEQ    2(PC); \
	VLD1.P 64(R3), [V25.B16, V26.B16, V27.B16, V28.B16]; \
	VLD1   (R3), [V29.B16, V30.B16]

#define ROUND(OP, MIX, K, V) \
	OP  K, V; \
	MIX V, V

#define ROUND8(OP, MIX, K) \
	ROUND(OP, MIX, K, V0.B16); \
	ROUND(OP, MIX, K, V1.B16); \
	ROUND(OP, MIX, K, V2.B16); \
	ROUND(OP, MIX, K, V3.B16); \
	ROUND(OP, MIX, K, V4.B16); \
	ROUND(OP, MIX, K, V5.B16); \
	ROUND(OP, MIX, K, V6.B16); \
	ROUND(OP, MIX, K, V7.B16)

#define XOR8(A, B, C, D, E, F, G, H) \
	VEOR A.B16, V0.B16, V0.B16; \
	VEOR B.B16, V1.B16, V1.B16; \
	VEOR C.B16, V2.B16, V2.B16; \
	VEOR D.B16, V3.B16, V3.B16; \
	VEOR E.B16, V4.B16, V4.B16; \
	VEOR F.B16, V5.B16, V5.B16; \
	VEOR G.B16, V6.B16, V6.B16; \
	VEOR H.B16, V7.B16, V7.B16

// CRYPT8 does V0-V7; last is a label of the function's own.
#define CRYPT8(OP, MIX, last) \
	ROUND8(OP, MIX, V16.B16); \
	ROUND8(OP, MIX, V17.B16); \
	ROUND8(OP, MIX, V18.B16); \
	ROUND8(OP, MIX, V19.B16); \
	ROUND8(OP, MIX, V20.B16); \
	ROUND8(OP, MIX, V21.B16); \
	ROUND8(OP, MIX, V22.B16); \
	ROUND8(OP, MIX, V23.B16); \
	ROUND8(OP, MIX, V24.B16); \
	CMP $10, R4; \
	BEQ last; \
	ROUND8(OP, MIX, V25.B16); \
	ROUND8(OP, MIX, V26.B16); \
	ROUND8(OP, MIX, V27.B16); \
	ROUND8(OP, MIX, V28.B16); \
last: \
	OP V29.B16, V0.B16; \
	OP V29.B16, V1.B16; \
	OP V29.B16, V2.B16; \
	OP V29.B16, V3.B16; \
	OP V29.B16, V4.B16; \
	OP V29.B16, V5.B16; \
	OP V29.B16, V6.B16; \
	OP V29.B16, V7.B16; \
	XOR8(V30, V30, V30, V30, V30, V30, V30, V30)

// CRYPT1 does V0.
#define CRYPT1(OP, MIX, last) \
	ROUND(OP, MIX, V16.B16, V0.B16); \
	ROUND(OP, MIX, V17.B16, V0.B16); \
	ROUND(OP, MIX, V18.B16, V0.B16); \
	ROUND(OP, MIX, V19.B16, V0.B16); \
	ROUND(OP, MIX, V20.B16, V0.B16); \
	ROUND(OP, MIX, V21.B16, V0.B16); \
	ROUND(OP, MIX, V22.B16, V0.B16); \
	ROUND(OP, MIX, V23.B16, V0.B16); \
	ROUND(OP, MIX, V24.B16, V0.B16); \
	CMP  $10, R4; \
	BEQ  last; \
	ROUND(OP, MIX, V25.B16, V0.B16); \
	ROUND(OP, MIX, V26.B16, V0.B16); \
	ROUND(OP, MIX, V27.B16, V0.B16); \
	ROUND(OP, MIX, V28.B16, V0.B16); \
last: \
	OP   V29.B16, V0.B16; \
	VEOR V30.B16, V0.B16, V0.B16

// SUB_WORD sets W to SubWord of R. With the same word in all columns the
// ShiftRows of AESE moves nothing, and V1 is a round key of zeros.
#define SUB_WORD(R, W) \
	VDUP  R, V0.S4; \
	AESE  V1.B16, V0.B16; \
	VMOV  V0.S[0], W

// func expandKeyARMv8(keys *RoundKeys, key *byte, rounds int)
//
// R4-R11 the last words, R12 scratch, R13 round constant.
TEXT ·expandKeyARMv8(SB), NOSPLIT, $0-24
	MOVD keys+0(FP), R0
	MOVD key+8(FP), R1
	MOVD rounds+16(FP), R2
	VEOR V1.B16, V1.B16, V1.B16
	MOVD $1, R13
	LDPW (R1), (R4, R5)
	LDPW 8(R1), (R6, R7)
	STPW.P (R4, R5), 8(R0)
	STPW.P (R6, R7), 8(R0)
	CMP  $10, R2
	BNE  aes256

aes128:
	RORW $8, R7, R12
	SUB_WORD(R12, R12)
	EORW R13, R12, R12
	EORW R12, R4, R4
	EORW R4, R5, R5
	EORW R5, R6, R6
	EORW R6, R7, R7
	STPW.P (R4, R5), 8(R0)
	STPW.P (R6, R7), 8(R0)
	LSL  $1, R13
	TBZ  $8, R13, 2(PC)
	MOVD $0x1b, R13
	SUBS $1, R2
	BNE  aes128
	RET

aes256:
	LDPW 16(R1), (R8, R9)
	LDPW 24(R1), (R10, R11)
	STPW.P (R8, R9), 8(R0)
	STPW.P (R10, R11), 8(R0)

pair:
	RORW $8, R11, R12
	SUB_WORD(R12, R12)
	EORW R13, R12, R12
	EORW R12, R4, R4
	EORW R4, R5, R5
	EORW R5, R6, R6
	EORW R6, R7, R7
	STPW.P (R4, R5), 8(R0)
	STPW.P (R6, R7), 8(R0)
	LSL  $1, R13
	CMP  $128, R13 // seven constants are all that AES-256 takes
	BEQ  done
	SUB_WORD(R7, R12)
	EORW R12, R8, R8
	EORW R8, R9, R9
	EORW R9, R10, R10
	EORW R10, R11, R11
	STPW.P (R8, R9), 8(R0)
	STPW.P (R10, R11), 8(R0)
	B    pair

done:
	RET

// func invertKeysARMv8(dec, enc *RoundKeys, rounds int)
TEXT ·invertKeysARMv8(SB), NOSPLIT, $0-24
	MOVD dec+0(FP), R0
	MOVD enc+8(FP), R1
	MOVD rounds+16(FP), R2
	ADD  R2<<4, R0
	MOVD $-16, R3
	VLD1.P 16(R1), [V0.B16]
	VST1.P [V0.B16], (R0)(R3)
	SUB  $1, R2

inner:
	VLD1.P 16(R1), [V0.B16]
	AESIMC V0.B16, V0.B16
	VST1.P [V0.B16], (R0)(R3)
	SUBS $1, R2
	BNE  inner
	VLD1 (R1), [V0.B16]
	VST1 [V0.B16], (R0)
	RET

// func encryptBlockARMv8(dst, src *byte, keys *RoundKeys, rounds int)
TEXT ·encryptBlockARMv8(SB), NOSPLIT, $0-32
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD keys+16(FP), R3
	MOVD rounds+24(FP), R4
	LOAD_KEYS
	VLD1 (R1), [V0.B16]
	CRYPT1(AESE, AESMC, last)
	VST1 [V0.B16], (R0)
	RET

// func decryptBlockARMv8(dst, src *byte, keys *RoundKeys, rounds int)
TEXT ·decryptBlockARMv8(SB), NOSPLIT, $0-32
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD keys+16(FP), R3
	MOVD rounds+24(FP), R4
	LOAD_KEYS
	VLD1 (R1), [V0.B16]
	CRYPT1(AESD, AESIMC, last)
	VST1 [V0.B16], (R0)
	RET

// func encrypt8ARMv8(blocks *[8][BlockSize]byte, keys *RoundKeys, rounds int)
TEXT ·encrypt8ARMv8(SB), NOSPLIT, $0-24
	MOVD blocks+0(FP), R0
	MOVD keys+8(FP), R3
	MOVD rounds+16(FP), R4
	LOAD_KEYS
	MOVD R0, R1
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1 (R1), [V4.B16, V5.B16, V6.B16, V7.B16]
	CRYPT8(AESE, AESMC, last)
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R0)
	VST1 [V4.B16, V5.B16, V6.B16, V7.B16], (R0)
	RET

// func cbcEncryptARMv8(dst, src *byte, blocks int, keys *RoundKeys, rounds int, iv *[BlockSize]byte)
//
// V0 the chain.
TEXT ·cbcEncryptARMv8(SB), NOSPLIT, $0-48
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD blocks+16(FP), R2
	MOVD keys+24(FP), R3
	MOVD rounds+32(FP), R4
	MOVD iv+40(FP), R5
	LOAD_KEYS
	VLD1 (R5), [V0.B16]

block:
	VLD1.P 16(R1), [V31.B16]
	VEOR V31.B16, V0.B16, V0.B16
	CRYPT1(AESE, AESMC, last)
	VST1.P [V0.B16], 16(R0)
	SUBS $1, R2
	BNE  block
	VST1 [V0.B16], (R5)
	RET

// func cbcEncrypt8ARMv8(dst, src *byte, size int, keys *RoundKeys, rounds int, ivs *[8][BlockSize]byte)
//
// V0-V7 the chains of the eight messages, V8-V15 their plaintext. Eight steps
// of a message's size, and back to the next block of the first: R6.
TEXT ·cbcEncrypt8ARMv8(SB), NOSPLIT, $0-48
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD size+16(FP), R2
	MOVD keys+24(FP), R3
	MOVD rounds+32(FP), R4
	MOVD ivs+40(FP), R5
	LOAD_KEYS
	VLD1.P 64(R5), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1 (R5), [V4.B16, V5.B16, V6.B16, V7.B16]
	LSL  $3, R2, R6
	SUB  $16, R6
	MOVD R2, R7

block:
	VLD1.P (R1)(R2), [V8.B16]
	VLD1.P (R1)(R2), [V9.B16]
	VLD1.P (R1)(R2), [V10.B16]
	VLD1.P (R1)(R2), [V11.B16]
	VLD1.P (R1)(R2), [V12.B16]
	VLD1.P (R1)(R2), [V13.B16]
	VLD1.P (R1)(R2), [V14.B16]
	VLD1.P (R1)(R2), [V15.B16]
	SUB  R6, R1
	XOR8(V8, V9, V10, V11, V12, V13, V14, V15)
	CRYPT8(AESE, AESMC, last)
	VST1.P [V0.B16], (R0)(R2)
	VST1.P [V1.B16], (R0)(R2)
	VST1.P [V2.B16], (R0)(R2)
	VST1.P [V3.B16], (R0)(R2)
	VST1.P [V4.B16], (R0)(R2)
	VST1.P [V5.B16], (R0)(R2)
	VST1.P [V6.B16], (R0)(R2)
	VST1.P [V7.B16], (R0)(R2)
	SUB  R6, R0
	SUBS $16, R7
	BNE  block
	RET

#define MOVE(A, B) VORR A.B16, A.B16, B.B16

// func cbcDecryptARMv8(dst, src *byte, blocks int, keys *RoundKeys, rounds int, iv *[BlockSize]byte)
//
// V31 the ciphertext before V0, V8-V15 that of V0-V7, kept since dst may be src.
TEXT ·cbcDecryptARMv8(SB), NOSPLIT, $0-48
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD blocks+16(FP), R2
	MOVD keys+24(FP), R3
	MOVD rounds+32(FP), R4
	MOVD iv+40(FP), R5
	LOAD_KEYS
	VLD1 (R5), [V31.B16]
	CMP  $8, R2
	BLT  tail

turn:
	VLD1.P 64(R1), [V8.B16, V9.B16, V10.B16, V11.B16]
	VLD1.P 64(R1), [V12.B16, V13.B16, V14.B16, V15.B16]
	MOVE(V8, V0)
	MOVE(V9, V1)
	MOVE(V10, V2)
	MOVE(V11, V3)
	MOVE(V12, V4)
	MOVE(V13, V5)
	MOVE(V14, V6)
	MOVE(V15, V7)
	CRYPT8(AESD, AESIMC, turnLast)
	XOR8(V31, V8, V9, V10, V11, V12, V13, V14)
	MOVE(V15, V31)
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R0)
	VST1.P [V4.B16, V5.B16, V6.B16, V7.B16], 64(R0)
	SUB  $8, R2
	CMP  $8, R2
	BGE  turn

tail:
	CBZ  R2, done

one:
	VLD1.P 16(R1), [V8.B16]
	MOVE(V8, V0)
	CRYPT1(AESD, AESIMC, oneLast)
	VEOR V31.B16, V0.B16, V0.B16
	MOVE(V8, V31)
	VST1.P [V0.B16], 16(R0)
	SUBS $1, R2
	BNE  one

done:
	RET

// COUNT puts counter block R6 of the key stream into V. R7 and R8 are the
// halves of the start.
#define COUNT(V) \
	EOR  R6, R7, R9; \
	VMOV R9, V.D[0]; \
	VMOV R8, V.D[1]; \
	ADD  $1, R6

// func xctrARMv8(dst, src *byte, n int, keys *RoundKeys, rounds int, start *[BlockSize]byte)
//
// V0-V7 key stream, V8-V15 message. The last key stream, of which the message
// takes less than all, goes over the stack.
TEXT ·xctrARMv8(SB), NOSPLIT, $128-48
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD n+16(FP), R2
	MOVD keys+24(FP), R3
	MOVD rounds+32(FP), R4
	MOVD start+40(FP), R5
	LOAD_KEYS
	LDP  (R5), (R7, R8)
	MOVD $1, R6

turn:
	COUNT(V0)
	COUNT(V1)
	COUNT(V2)
	COUNT(V3)
	COUNT(V4)
	COUNT(V5)
	COUNT(V6)
	COUNT(V7)
	CRYPT8(AESE, AESMC, last)
	CMP  $128, R2
	BLT  partial
	VLD1.P 64(R1), [V8.B16, V9.B16, V10.B16, V11.B16]
	VLD1.P 64(R1), [V12.B16, V13.B16, V14.B16, V15.B16]
	XOR8(V8, V9, V10, V11, V12, V13, V14, V15)
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R0)
	VST1.P [V4.B16, V5.B16, V6.B16, V7.B16], 64(R0)
	SUBS $128, R2
	BNE  turn
	RET

partial:
	MOVD $stream-128(SP), R10
	MOVD R10, R11
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R11)
	VST1 [V4.B16, V5.B16, V6.B16, V7.B16], (R11)

by16:
	CMP  $16, R2
	BLT  by1
	VLD1.P 16(R10), [V0.B16]
	VLD1.P 16(R1), [V1.B16]
	VEOR V1.B16, V0.B16, V0.B16
	VST1.P [V0.B16], 16(R0)
	SUB  $16, R2
	B    by16

by1:
	CBZ  R2, done
	MOVBU.P 1(R10), R11
	MOVBU.P 1(R1), R12
	EOR  R11, R12, R12
	MOVB.P R12, 1(R0)
	SUB  $1, R2
	B    by1

done:
	RET
