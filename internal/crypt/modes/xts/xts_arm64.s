//go:build !purego

#include "textflag.h"

// R0 dst, R1 src, R2 units not yet begun, R3 unit size, R4 round keys,
// R5 tweak keys, R6 rounds, R7 IV and then its upper half, R8 scratch,
// R9 units of the batch that are left, R10 lower half of the next IV,
// R11 scratch, R12 tweak of the unit in flight, R13 bytes of it that are left,
// R14 and R15 tweak of the next block, R19 scratch.
//
// V0-V7 blocks in flight, V8-V15 their tweaks, V16-V30 the round keys of the
// data key, V31 scratch. Rounds 0 to 8 are V16-V24, the last inner round and
// the last round key V29 and V30; AES-256 has V25-V28 in between.
//
// On the stack lie the tweaks of up to eight units, which are no secret that
// the round keys could be had from.

#define LOAD_KEYS \
	VLD1.P 64(R4), [V16.B16, V17.B16, V18.B16, V19.B16]; \
	VLD1.P 64(R4), [V20.B16, V21.B16, V22.B16, V23.B16]; \
	VLD1.P 16(R4), [V24.B16]; \
	CMP    $10, R6; \
	BEQ    2(PC); \
	VLD1.P 64(R4), [V25.B16, V26.B16, V27.B16, V28.B16]; \
	VLD1   (R4), [V29.B16, V30.B16]

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

// LAST8 is the last inner step, without MixColumns.
#define LAST8(OP, K) \
	OP K, V0.B16; \
	OP K, V1.B16; \
	OP K, V2.B16; \
	OP K, V3.B16; \
	OP K, V4.B16; \
	OP K, V5.B16; \
	OP K, V6.B16; \
	OP K, V7.B16

#define XOR8(A, B, C, D, E, F, G, H) \
	VEOR A.B16, V0.B16, V0.B16; \
	VEOR B.B16, V1.B16, V1.B16; \
	VEOR C.B16, V2.B16, V2.B16; \
	VEOR D.B16, V3.B16, V3.B16; \
	VEOR E.B16, V4.B16, V4.B16; \
	VEOR F.B16, V5.B16, V5.B16; \
	VEOR G.B16, V6.B16, V6.B16; \
	VEOR H.B16, V7.B16, V7.B16

// TWEAK puts the tweak of the next block into V and doubles it.
#define TWEAK(V) \
	VMOV R14, V.D[0]; \
	VMOV R15, V.D[1]; \
	ASR  $63, R15, R8; \
	AND  $0x87, R8, R8; \
	EXTR $63, R14, R15, R15; \
	EOR  R14<<1, R8, R14

#define NEXT_IV(V) \
	VMOV R10, V.D[0]; \
	VMOV R7, V.D[1]; \
	ADD  $1, R10

// ENCRYPT_TWEAKS takes a batch of up to eight units and stores their tweaks.
#define ENCRYPT_TWEAKS(loop) \
	MOVD   $8, R9; \
	CMP    R9, R2; \
	CSEL   LT, R2, R9, R9; \
	SUB    R9, R2; \
	NEXT_IV(V0); \
	NEXT_IV(V1); \
	NEXT_IV(V2); \
	NEXT_IV(V3); \
	NEXT_IV(V4); \
	NEXT_IV(V5); \
	NEXT_IV(V6); \
	NEXT_IV(V7); \
	MOVD   R5, R19; \
	SUB    $1, R6, R11; \
loop: \
	VLD1.P 16(R19), [V31.B16]; \
	ROUND8(AESE, AESMC, V31.B16); \
	SUBS   $1, R11; \
	BNE    loop; \
	VLD1.P 16(R19), [V31.B16]; \
	LAST8(AESE, V31.B16); \
	VLD1   (R19), [V31.B16]; \
	XOR8(V31, V31, V31, V31, V31, V31, V31, V31); \
	MOVD   $tweaks-128(SP), R12; \
	MOVD   R12, R19; \
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R19); \
	VST1   [V4.B16, V5.B16, V6.B16, V7.B16], (R19)

#define LOAD_ARGS \
	MOVD dst+0(FP), R0; \
	MOVD src+8(FP), R1; \
	MOVD units+16(FP), R2; \
	MOVD unitSize+24(FP), R3; \
	MOVD keys+32(FP), R4; \
	MOVD tweakKeys+40(FP), R5; \
	MOVD rounds+48(FP), R6; \
	MOVD iv+56(FP), R7; \
	LDP  (R7), (R10, R7)

// func encryptARMv8(dst, src *byte, units, unitSize int, keys, tweakKeys *aesblk.RoundKeys, rounds int, iv *[16]byte)
TEXT ·encryptARMv8(SB), NOSPLIT, $128-64
	LOAD_ARGS
	LOAD_KEYS

nextBatch:
	ENCRYPT_TWEAKS(tweakRound)

nextUnit:
	LDP.P 16(R12), (R14, R15)
	MOVD  R3, R13
	CMP   $128, R13
	BLT   tail

turn:
	TWEAK(V8)
	TWEAK(V9)
	TWEAK(V10)
	TWEAK(V11)
	TWEAK(V12)
	TWEAK(V13)
	TWEAK(V14)
	TWEAK(V15)
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 64(R1), [V4.B16, V5.B16, V6.B16, V7.B16]
	XOR8(V8, V9, V10, V11, V12, V13, V14, V15)
	ROUND8(AESE, AESMC, V16.B16)
	ROUND8(AESE, AESMC, V17.B16)
	ROUND8(AESE, AESMC, V18.B16)
	ROUND8(AESE, AESMC, V19.B16)
	ROUND8(AESE, AESMC, V20.B16)
	ROUND8(AESE, AESMC, V21.B16)
	ROUND8(AESE, AESMC, V22.B16)
	ROUND8(AESE, AESMC, V23.B16)
	ROUND8(AESE, AESMC, V24.B16)
	CMP    $10, R6
	BEQ    turnLast
	ROUND8(AESE, AESMC, V25.B16)
	ROUND8(AESE, AESMC, V26.B16)
	ROUND8(AESE, AESMC, V27.B16)
	ROUND8(AESE, AESMC, V28.B16)

turnLast:
	LAST8(AESE, V29.B16)
	XOR8(V30, V30, V30, V30, V30, V30, V30, V30)
	XOR8(V8, V9, V10, V11, V12, V13, V14, V15)
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R0)
	VST1.P [V4.B16, V5.B16, V6.B16, V7.B16], 64(R0)
	SUB    $128, R13
	CMP    $128, R13
	BGE    turn

tail:
	CBZ R13, unitDone

one:
	TWEAK(V8)
	VLD1.P 16(R1), [V0.B16]
	VEOR   V8.B16, V0.B16, V0.B16
	ROUND(AESE, AESMC, V16.B16, V0.B16)
	ROUND(AESE, AESMC, V17.B16, V0.B16)
	ROUND(AESE, AESMC, V18.B16, V0.B16)
	ROUND(AESE, AESMC, V19.B16, V0.B16)
	ROUND(AESE, AESMC, V20.B16, V0.B16)
	ROUND(AESE, AESMC, V21.B16, V0.B16)
	ROUND(AESE, AESMC, V22.B16, V0.B16)
	ROUND(AESE, AESMC, V23.B16, V0.B16)
	ROUND(AESE, AESMC, V24.B16, V0.B16)
	CMP    $10, R6
	BEQ    oneLast
	ROUND(AESE, AESMC, V25.B16, V0.B16)
	ROUND(AESE, AESMC, V26.B16, V0.B16)
	ROUND(AESE, AESMC, V27.B16, V0.B16)
	ROUND(AESE, AESMC, V28.B16, V0.B16)

oneLast:
	AESE   V29.B16, V0.B16
	VEOR   V30.B16, V0.B16, V0.B16
	VEOR   V8.B16, V0.B16, V0.B16
	VST1.P [V0.B16], 16(R0)
	SUB    $16, R13
	CBNZ   R13, one

unitDone:
	SUBS $1, R9
	BNE  nextUnit
	CBNZ R2, nextBatch
	RET

// func decryptARMv8(dst, src *byte, units, unitSize int, keys, tweakKeys *aesblk.RoundKeys, rounds int, iv *[16]byte)
TEXT ·decryptARMv8(SB), NOSPLIT, $128-64
	LOAD_ARGS
	LOAD_KEYS

nextBatch:
	ENCRYPT_TWEAKS(tweakRound)

nextUnit:
	LDP.P 16(R12), (R14, R15)
	MOVD  R3, R13
	CMP   $128, R13
	BLT   tail

turn:
	TWEAK(V8)
	TWEAK(V9)
	TWEAK(V10)
	TWEAK(V11)
	TWEAK(V12)
	TWEAK(V13)
	TWEAK(V14)
	TWEAK(V15)
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 64(R1), [V4.B16, V5.B16, V6.B16, V7.B16]
	XOR8(V8, V9, V10, V11, V12, V13, V14, V15)
	ROUND8(AESD, AESIMC, V16.B16)
	ROUND8(AESD, AESIMC, V17.B16)
	ROUND8(AESD, AESIMC, V18.B16)
	ROUND8(AESD, AESIMC, V19.B16)
	ROUND8(AESD, AESIMC, V20.B16)
	ROUND8(AESD, AESIMC, V21.B16)
	ROUND8(AESD, AESIMC, V22.B16)
	ROUND8(AESD, AESIMC, V23.B16)
	ROUND8(AESD, AESIMC, V24.B16)
	CMP    $10, R6
	BEQ    turnLast
	ROUND8(AESD, AESIMC, V25.B16)
	ROUND8(AESD, AESIMC, V26.B16)
	ROUND8(AESD, AESIMC, V27.B16)
	ROUND8(AESD, AESIMC, V28.B16)

turnLast:
	LAST8(AESD, V29.B16)
	XOR8(V30, V30, V30, V30, V30, V30, V30, V30)
	XOR8(V8, V9, V10, V11, V12, V13, V14, V15)
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R0)
	VST1.P [V4.B16, V5.B16, V6.B16, V7.B16], 64(R0)
	SUB    $128, R13
	CMP    $128, R13
	BGE    turn

tail:
	CBZ R13, unitDone

one:
	TWEAK(V8)
	VLD1.P 16(R1), [V0.B16]
	VEOR   V8.B16, V0.B16, V0.B16
	ROUND(AESD, AESIMC, V16.B16, V0.B16)
	ROUND(AESD, AESIMC, V17.B16, V0.B16)
	ROUND(AESD, AESIMC, V18.B16, V0.B16)
	ROUND(AESD, AESIMC, V19.B16, V0.B16)
	ROUND(AESD, AESIMC, V20.B16, V0.B16)
	ROUND(AESD, AESIMC, V21.B16, V0.B16)
	ROUND(AESD, AESIMC, V22.B16, V0.B16)
	ROUND(AESD, AESIMC, V23.B16, V0.B16)
	ROUND(AESD, AESIMC, V24.B16, V0.B16)
	CMP    $10, R6
	BEQ    oneLast
	ROUND(AESD, AESIMC, V25.B16, V0.B16)
	ROUND(AESD, AESIMC, V26.B16, V0.B16)
	ROUND(AESD, AESIMC, V27.B16, V0.B16)
	ROUND(AESD, AESIMC, V28.B16, V0.B16)

oneLast:
	AESD   V29.B16, V0.B16
	VEOR   V30.B16, V0.B16, V0.B16
	VEOR   V8.B16, V0.B16, V0.B16
	VST1.P [V0.B16], 16(R0)
	SUB    $16, R13
	CBNZ   R13, one

unitDone:
	SUBS $1, R9
	BNE  nextUnit
	CBNZ R2, nextBatch
	RET
