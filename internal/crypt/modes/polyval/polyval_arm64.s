//go:build !purego

#include "textflag.h"

// V0-V2 the unreduced product, low, middle and high part; V3 and V4 scratch,
// V5 the polynomial x⁶³ + x⁶² + x⁵⁷, V6 and V7 factors, V8 hash so far.

// PRODUCT adds V6·V7 to V0 + V1·x⁶⁴ + V2·x¹²⁸.
#define PRODUCT \
	VPMULL  V6.D1, V7.D1, V3.Q1; \
	VEOR    V3.B16, V0.B16, V0.B16; \
	VPMULL2 V6.D2, V7.D2, V3.Q1; \
	VEOR    V3.B16, V2.B16, V2.B16; \
	VEXT    $8, V7.B16, V7.B16, V4.B16; \
	VPMULL  V6.D1, V4.D1, V3.Q1; \
	VEOR    V3.B16, V1.B16, V1.B16; \
	VPMULL2 V6.D2, V4.D2, V3.Q1; \
	VEOR    V3.B16, V1.B16, V1.B16

#define CLEAR \
	VEOR V0.B16, V0.B16, V0.B16; \
	VEOR V1.B16, V1.B16, V1.B16; \
	VEOR V2.B16, V2.B16, V2.B16

// FOLD adds the lowest word of V0 further up, where x¹²⁸ + x¹²⁷ + x¹²⁶ + x¹²¹,
// which is 1, wants it, and brings the next word down.
#define FOLD \
	VPMULL V0.D1, V5.D1, V3.Q1; \
	VEXT   $8, V0.B16, V0.B16, V0.B16; \
	VEOR   V3.B16, V0.B16, V0.B16

// REDUCE leaves the product times x⁻¹²⁸ in V2. V4 becomes zero.
#define REDUCE \
	VEOR V4.B16, V4.B16, V4.B16; \
	VEXT $8, V1.B16, V4.B16, V3.B16; \
	VEOR V3.B16, V0.B16, V0.B16; \
	VEXT $8, V4.B16, V1.B16, V3.B16; \
	VEOR V3.B16, V2.B16, V2.B16; \
	FOLD; \
	FOLD; \
	VEOR V0.B16, V2.B16, V2.B16

#define LOAD_POLYNOMIAL \
	MOVD $0xc200000000000000, R8; \
	VMOV R8, V5.D[0]; \
	VMOV ZR, V5.D[1]

// func powersKernel(powers *[aggregate]element)
TEXT ·powersKernel(SB), NOSPLIT, $0-8
	MOVD powers+0(FP), R0
	LOAD_POLYNOMIAL
	ADD  $112, R0
	VLD1 (R0), [V9.B16]
	VORR V9.B16, V9.B16, V6.B16
	MOVD $-16, R1
	MOVD $7, R2

power:
	ADD  R1, R0
	VORR V9.B16, V9.B16, V7.B16
	CLEAR
	PRODUCT
	REDUCE
	VORR V2.B16, V2.B16, V6.B16
	VST1 [V6.B16], (R0)
	SUBS $1, R2
	BNE  power
	RET

// func updateKernel(acc *[BlockSize]byte, blocks *byte, n int, powers *[aggregate]element)
TEXT ·updateKernel(SB), NOSPLIT, $0-32
	MOVD acc+0(FP), R0
	MOVD blocks+8(FP), R1
	MOVD n+16(FP), R2
	MOVD powers+24(FP), R3
	LOAD_POLYNOMIAL
	ADD  $128, R3
	VLD1 (R0), [V8.B16]

group:
	MOVD $8, R4
	CMP  R4, R2
	CSEL LT, R2, R4, R4
	SUB  R4, R2
	SUB  R4<<4, R3, R5
	CLEAR

block:
	VLD1.P 16(R1), [V6.B16]
	VEOR V8.B16, V6.B16, V6.B16
	VEOR V8.B16, V8.B16, V8.B16 // only the first block of a group takes the hash in
	VLD1.P 16(R5), [V7.B16]
	PRODUCT
	SUBS $1, R4
	BNE  block
	REDUCE
	VORR V2.B16, V2.B16, V8.B16
	CBNZ R2, group
	VST1 [V8.B16], (R0)
	RET
