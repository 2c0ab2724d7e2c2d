//go:build amd64 && !purego

#include "textflag.h"

// func cpuid7ecx() uint32
TEXT ·cpuid7ecx(SB), NOSPLIT, $0-4
	XORL AX, AX
	CPUID
	CMPL AX, $7 // the highest leaf
	JB   none
	MOVL $7, AX
	XORL CX, CX
	CPUID
	MOVL CX, ret+0(FP)
	RET

none:
	MOVL $0, ret+0(FP)
	RET
