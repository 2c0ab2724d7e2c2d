package aesblk

import (
	"crypto/subtle"
	"encoding/binary"
)

func cbcEncryptGeneric(s *Schedule, dst, src []byte, iv *[BlockSize]byte) {
	for len(src) > 0 {
		subtle.XORBytes(iv[:], iv[:], src[:BlockSize])
		encryptBlockGeneric(s, iv, iv)
		copy(dst, iv[:])
		dst, src = dst[BlockSize:], src[BlockSize:]
	}
}

func cbcEncrypt8Generic(s *Schedule, dst, src []byte, ivs *[8][BlockSize]byte) {
	size := len(src) / 8
	for i := range ivs {
		chain := ivs[i]
		cbcEncryptGeneric(s, dst[i*size:][:size], src[i*size:][:size], &chain)
	}
}

// cbcDecryptGeneric goes from the last block to the first, so that in place
// the ciphertext before a block is still there when the block needs it.
func cbcDecryptGeneric(s *Schedule, dst, src []byte, iv *[BlockSize]byte) {
	var plain [BlockSize]byte
	for i := len(src) - BlockSize; i >= 0; i -= BlockSize {
		before := iv[:]
		if i > 0 {
			before = src[i-BlockSize : i]
		}
		decryptBlockGeneric(s, &plain, (*[BlockSize]byte)(src[i:]))
		subtle.XORBytes(dst[i:], plain[:], before)
	}
}

func xctrGeneric(s *Schedule, dst, src []byte, start *[BlockSize]byte) {
	low := binary.LittleEndian.Uint64(start[:])
	for j := uint64(1); len(src) > 0; j++ {
		stream := *start
		binary.LittleEndian.PutUint64(stream[:], low^j)
		encryptBlockGeneric(s, &stream, &stream)
		n := subtle.XORBytes(dst, src, stream[:])
		dst, src = dst[n:], src[n:]
	}
}

func encrypt8Generic(s *Schedule, blocks *[8][BlockSize]byte) {
	for i := range blocks {
		encryptBlockGeneric(s, &blocks[i], &blocks[i])
	}
}
