package aesblk

import "unsafe"

// CBCEncrypt encrypts whole blocks in CBC mode from src into dst, which is src
// or does not overlap it and is at least as long. *iv is the IV and becomes the
// last block of ciphertext, so that another call goes on with the message.
func (s *Schedule) CBCEncrypt(dst, src []byte, iv *[BlockSize]byte) {
	s.check(dst, src, BlockSize)
	if len(src) > 0 {
		cbcEncrypt(s, dst[:len(src)], src, iv)
	}
}

// CBCEncrypt8 encrypts eight messages of the same size, a multiple of 16, that
// follow each other in src, the i-th with the IV ivs[i]. They run side by side:
// a single one would leave the processor waiting for each block before the next.
func (s *Schedule) CBCEncrypt8(dst, src []byte, ivs *[8][BlockSize]byte) {
	s.check(dst, src, 8*BlockSize)
	if len(src) > 0 {
		cbcEncrypt8(s, dst[:len(src)], src, ivs)
	}
}

// CBCDecrypt undoes CBCEncrypt, but leaves *iv as it is.
func (s *Schedule) CBCDecrypt(dst, src []byte, iv *[BlockSize]byte) {
	s.check(dst, src, BlockSize)
	if len(src) > 0 {
		cbcDecrypt(s, dst[:len(src)], src, iv)
	}
}

// XCTR xors src, of any length, with the key stream of XCTR into dst, which is
// src or does not overlap it and is at least as long. Key stream block j,
// counted from 1, is the encryption of start ^ le128(j).
func (s *Schedule) XCTR(dst, src []byte, start *[BlockSize]byte) {
	s.check(dst, src, 1)
	if len(src) > 0 {
		xctr(s, dst[:len(src)], src, start)
	}
}

func (s *Schedule) check(dst, src []byte, multiple int) {
	s.mustHaveKey()
	switch {
	case len(src)%multiple != 0:
		panic("aesblk: input is not a whole number of blocks")
	case len(dst) < len(src):
		panic("aesblk: destination is shorter than the input")
	case overlapInexactly(dst[:len(src)], src):
		panic("aesblk: destination overlaps the input, but is not the same")
	}
}

func overlapInexactly(dst, src []byte) bool {
	if len(src) == 0 {
		return false
	}
	d, s := uintptr(unsafe.Pointer(&dst[0])), uintptr(unsafe.Pointer(&src[0]))
	n := uintptr(len(src))
	return d != s && d < s+n && s < d+n
}
