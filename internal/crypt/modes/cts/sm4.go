package cts

import (
	"crypto/cipher"
	"crypto/subtle"
)

// sm4Blocks is CBC over SM4, a block at a time: names have few.
type sm4Blocks struct{ cipher.Block }

// CBCEncrypt leaves the last block of ciphertext in *iv.
func (s sm4Blocks) CBCEncrypt(dst, src []byte, iv *[blockSize]byte) {
	for ; len(src) > 0; dst, src = dst[blockSize:], src[blockSize:] {
		subtle.XORBytes(iv[:], iv[:], src[:blockSize])
		s.Encrypt(iv[:], iv[:])
		copy(dst, iv[:])
	}
}

// CBCDecrypt goes from the last block to the first, so that in place the
// ciphertext before a block is still there when the block needs it.
func (s sm4Blocks) CBCDecrypt(dst, src []byte, iv *[blockSize]byte) {
	out := getScratch(iv)
	defer out.release()
	for i := len(src) - blockSize; i >= 0; i -= blockSize {
		before := iv[:]
		if i > 0 {
			before = src[i-blockSize : i]
		}
		s.Decrypt(out.spare[:], src[i:i+blockSize])
		subtle.XORBytes(dst[i:i+blockSize], out.spare[:], before)
	}
}
