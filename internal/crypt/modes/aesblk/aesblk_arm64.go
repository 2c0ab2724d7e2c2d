//go:build !purego

package aesblk

//go:noescape
func expandKeyARMv8(keys *RoundKeys, key *byte, rounds int)

//go:noescape
func invertKeysARMv8(dec, enc *RoundKeys, rounds int)

//go:noescape
func encryptBlockARMv8(dst, src *byte, keys *RoundKeys, rounds int)

//go:noescape
func decryptBlockARMv8(dst, src *byte, keys *RoundKeys, rounds int)

//go:noescape
func encrypt8ARMv8(blocks *[8][BlockSize]byte, keys *RoundKeys, rounds int)

// cbcEncryptARMv8 takes at least one block and leaves the last one in *iv.
//
//go:noescape
func cbcEncryptARMv8(dst, src *byte, blocks int, keys *RoundKeys, rounds int, iv *[BlockSize]byte)

// cbcEncrypt8ARMv8 takes eight messages of size bytes, at least one block.
//
//go:noescape
func cbcEncrypt8ARMv8(dst, src *byte, size int, keys *RoundKeys, rounds int, ivs *[8][BlockSize]byte)

//go:noescape
func cbcDecryptARMv8(dst, src *byte, blocks int, keys *RoundKeys, rounds int, iv *[BlockSize]byte)

// xctrARMv8 takes n bytes, at least one.
//
//go:noescape
func xctrARMv8(dst, src *byte, n int, keys *RoundKeys, rounds int, start *[BlockSize]byte)

func expandKeyKernel(keys *RoundKeys, key *byte, rounds int) { expandKeyARMv8(keys, key, rounds) }

func invertKeysKernel(dec, enc *RoundKeys, rounds int) { invertKeysARMv8(dec, enc, rounds) }

func encryptBlockKernel(dst, src *byte, keys *RoundKeys, rounds int) {
	encryptBlockARMv8(dst, src, keys, rounds)
}

func decryptBlockKernel(dst, src *byte, keys *RoundKeys, rounds int) {
	decryptBlockARMv8(dst, src, keys, rounds)
}

func encrypt8Kernel(blocks *[8][BlockSize]byte, keys *RoundKeys, rounds int) {
	encrypt8ARMv8(blocks, keys, rounds)
}

func cbcEncryptKernel(dst, src *byte, blocks int, keys *RoundKeys, rounds int, iv *[BlockSize]byte) {
	cbcEncryptARMv8(dst, src, blocks, keys, rounds, iv)
}

func cbcEncrypt8Kernel(dst, src *byte, size int, keys *RoundKeys, rounds int, ivs *[8][BlockSize]byte) {
	cbcEncrypt8ARMv8(dst, src, size, keys, rounds, ivs)
}

func cbcDecryptKernel(dst, src *byte, blocks int, keys *RoundKeys, rounds int, iv *[BlockSize]byte) {
	cbcDecryptARMv8(dst, src, blocks, keys, rounds, iv)
}

func xctrKernel(dst, src *byte, n int, keys *RoundKeys, rounds int, start *[BlockSize]byte) {
	xctrARMv8(dst, src, n, keys, rounds, start)
}
