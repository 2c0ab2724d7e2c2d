//go:build !purego

package xts

import "fsenc/internal/crypt/modes/aesblk"

// The kernels take at least one unit of at least one block. keys are the
// round keys of the direction, tweakKeys those for encryption, and both keys
// have the same number of rounds, 10 or 14. The registers keep what they held
// last; nothing of a key stays on the stack.

//go:noescape
func encryptARMv8(dst, src *byte, units, unitSize int, keys, tweakKeys *aesblk.RoundKeys, rounds int, iv *[16]byte)

//go:noescape
func decryptARMv8(dst, src *byte, units, unitSize int, keys, tweakKeys *aesblk.RoundKeys, rounds int, iv *[16]byte)

func encryptKernel(dst, src *byte, units, unitSize int, keys, tweakKeys *aesblk.RoundKeys, rounds int, iv *[16]byte) {
	encryptARMv8(dst, src, units, unitSize, keys, tweakKeys, rounds, iv)
}

func decryptKernel(dst, src *byte, units, unitSize int, keys, tweakKeys *aesblk.RoundKeys, rounds int, iv *[16]byte) {
	decryptARMv8(dst, src, units, unitSize, keys, tweakKeys, rounds, iv)
}
