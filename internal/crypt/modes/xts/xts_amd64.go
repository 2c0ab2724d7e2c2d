//go:build !purego

package xts

import (
	"fsenc/internal/crypt/modes/aesblk"
	"fsenc/internal/crypt/modes/isa"
)

//go:generate sh -c "cd ../asmgen && go run . -kernels xts -out ../xts/xts_amd64.s"

// The kernels take at least one unit of at least one block. keys are the
// round keys of the direction, tweakKeys those for encryption, and both keys
// have the same number of rounds, 10 or 14. The registers keep what they held
// last, as with every AES in assembly; nothing of a key stays on the stack.

//go:noescape
func encryptAESNI(dst, src *byte, units, unitSize int, keys, tweakKeys *aesblk.RoundKeys, rounds int, iv *[16]byte)

//go:noescape
func decryptAESNI(dst, src *byte, units, unitSize int, keys, tweakKeys *aesblk.RoundKeys, rounds int, iv *[16]byte)

//go:noescape
func encryptVAES256(dst, src *byte, units, unitSize int, keys, tweakKeys *aesblk.RoundKeys, rounds int, iv *[16]byte)

//go:noescape
func decryptVAES256(dst, src *byte, units, unitSize int, keys, tweakKeys *aesblk.RoundKeys, rounds int, iv *[16]byte)

//go:noescape
func encryptVAES512(dst, src *byte, units, unitSize int, keys, tweakKeys *aesblk.RoundKeys, rounds int, iv *[16]byte)

//go:noescape
func decryptVAES512(dst, src *byte, units, unitSize int, keys, tweakKeys *aesblk.RoundKeys, rounds int, iv *[16]byte)

func encryptKernel(dst, src *byte, units, unitSize int, keys, tweakKeys *aesblk.RoundKeys, rounds int, iv *[16]byte) {
	switch isa.Current() {
	case isa.VAES512:
		encryptVAES512(dst, src, units, unitSize, keys, tweakKeys, rounds, iv)
	case isa.VAES256:
		encryptVAES256(dst, src, units, unitSize, keys, tweakKeys, rounds, iv)
	default:
		encryptAESNI(dst, src, units, unitSize, keys, tweakKeys, rounds, iv)
	}
}

func decryptKernel(dst, src *byte, units, unitSize int, keys, tweakKeys *aesblk.RoundKeys, rounds int, iv *[16]byte) {
	switch isa.Current() {
	case isa.VAES512:
		decryptVAES512(dst, src, units, unitSize, keys, tweakKeys, rounds, iv)
	case isa.VAES256:
		decryptVAES256(dst, src, units, unitSize, keys, tweakKeys, rounds, iv)
	default:
		decryptAESNI(dst, src, units, unitSize, keys, tweakKeys, rounds, iv)
	}
}
