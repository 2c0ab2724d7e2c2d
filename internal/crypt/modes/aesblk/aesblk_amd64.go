//go:build !purego

package aesblk

import "fsenc/internal/crypt/modes/isa"

//go:generate sh -c "cd ../asmgen && go run . -kernels aesblk -out ../aesblk/aesblk_amd64.s"

//go:noescape
func expandKeyAESNI(keys *RoundKeys, key *byte, rounds int)

//go:noescape
func invertKeysAESNI(dec, enc *RoundKeys, rounds int)

//go:noescape
func encryptBlockAESNI(dst, src *byte, keys *RoundKeys, rounds int)

//go:noescape
func decryptBlockAESNI(dst, src *byte, keys *RoundKeys, rounds int)

//go:noescape
func encrypt8AESNI(blocks *[8][BlockSize]byte, keys *RoundKeys, rounds int)

// cbcEncryptAESNI takes at least one block and leaves the last one in *iv.
//
//go:noescape
func cbcEncryptAESNI(dst, src *byte, blocks int, keys *RoundKeys, rounds int, iv *[BlockSize]byte)

// cbcEncrypt8AESNI takes eight messages of size bytes, at least one block.
//
//go:noescape
func cbcEncrypt8AESNI(dst, src *byte, size int, keys *RoundKeys, rounds int, ivs *[8][BlockSize]byte)

//go:noescape
func cbcDecryptAESNI(dst, src *byte, blocks int, keys *RoundKeys, rounds int, iv *[BlockSize]byte)

//go:noescape
func cbcDecryptVAES256(dst, src *byte, blocks int, keys *RoundKeys, rounds int, iv *[BlockSize]byte)

//go:noescape
func cbcDecryptVAES512(dst, src *byte, blocks int, keys *RoundKeys, rounds int, iv *[BlockSize]byte)

// xctrAESNI takes n bytes, at least one.
//
//go:noescape
func xctrAESNI(dst, src *byte, n int, keys *RoundKeys, rounds int, start *[BlockSize]byte)

//go:noescape
func xctrVAES256(dst, src *byte, n int, keys *RoundKeys, rounds int, start *[BlockSize]byte)

func expandKeyKernel(keys *RoundKeys, key *byte, rounds int) { expandKeyAESNI(keys, key, rounds) }

func invertKeysKernel(dec, enc *RoundKeys, rounds int) { invertKeysAESNI(dec, enc, rounds) }

func encryptBlockKernel(dst, src *byte, keys *RoundKeys, rounds int) {
	encryptBlockAESNI(dst, src, keys, rounds)
}

func decryptBlockKernel(dst, src *byte, keys *RoundKeys, rounds int) {
	decryptBlockAESNI(dst, src, keys, rounds)
}

func encrypt8Kernel(blocks *[8][BlockSize]byte, keys *RoundKeys, rounds int) {
	encrypt8AESNI(blocks, keys, rounds)
}

func cbcEncryptKernel(dst, src *byte, blocks int, keys *RoundKeys, rounds int, iv *[BlockSize]byte) {
	cbcEncryptAESNI(dst, src, blocks, keys, rounds, iv)
}

func cbcEncrypt8Kernel(dst, src *byte, size int, keys *RoundKeys, rounds int, ivs *[8][BlockSize]byte) {
	cbcEncrypt8AESNI(dst, src, size, keys, rounds, ivs)
}

func cbcDecryptKernel(dst, src *byte, blocks int, keys *RoundKeys, rounds int, iv *[BlockSize]byte) {
	switch isa.Current() {
	case isa.VAES512:
		cbcDecryptVAES512(dst, src, blocks, keys, rounds, iv)
	case isa.VAES256:
		cbcDecryptVAES256(dst, src, blocks, keys, rounds, iv)
	default:
		cbcDecryptAESNI(dst, src, blocks, keys, rounds, iv)
	}
}

// xctrKernel has no use for wider registers than VAES256: those hold the key
// stream of the longest name already.
func xctrKernel(dst, src *byte, n int, keys *RoundKeys, rounds int, start *[BlockSize]byte) {
	switch isa.Current() {
	case isa.VAES512, isa.VAES256:
		xctrVAES256(dst, src, n, keys, rounds, start)
	default:
		xctrAESNI(dst, src, n, keys, rounds, start)
	}
}
