//go:build (amd64 || arm64) && !purego

package aesblk

import "fsenc/internal/crypt/modes/isa"

// Where there is assembly at all, every set but Generic has the kernels named
// here. They keep what they held last in the registers, as with every AES in
// assembly; nothing of a key stays on the stack.

func expandKey(s *Schedule, key []byte) {
	if isa.Current() == isa.Generic {
		expandKeyGeneric(s, key)
		return
	}
	expandKeyKernel(&s.enc, &key[0], s.rounds)
}

func invertKeys(s *Schedule) {
	if isa.Current() == isa.Generic {
		invertKeysGeneric(s)
		return
	}
	invertKeysKernel(&s.dec, &s.enc, s.rounds)
}

func encryptBlock(s *Schedule, dst, src *[BlockSize]byte) {
	if isa.Current() == isa.Generic {
		encryptBlockGeneric(s, dst, src)
		return
	}
	encryptBlockKernel(&dst[0], &src[0], &s.enc, s.rounds)
}

func decryptBlock(s *Schedule, dst, src *[BlockSize]byte) {
	if isa.Current() == isa.Generic {
		decryptBlockGeneric(s, dst, src)
		return
	}
	decryptBlockKernel(&dst[0], &src[0], &s.dec, s.rounds)
}

func encrypt8(s *Schedule, blocks *[8][BlockSize]byte) {
	if isa.Current() == isa.Generic {
		encrypt8Generic(s, blocks)
		return
	}
	encrypt8Kernel(blocks, &s.enc, s.rounds)
}

func cbcEncrypt(s *Schedule, dst, src []byte, iv *[BlockSize]byte) {
	if isa.Current() == isa.Generic {
		cbcEncryptGeneric(s, dst, src, iv)
		return
	}
	cbcEncryptKernel(&dst[0], &src[0], len(src)/BlockSize, &s.enc, s.rounds, iv)
}

func cbcEncrypt8(s *Schedule, dst, src []byte, ivs *[8][BlockSize]byte) {
	if isa.Current() == isa.Generic {
		cbcEncrypt8Generic(s, dst, src, ivs)
		return
	}
	cbcEncrypt8Kernel(&dst[0], &src[0], len(src)/8, &s.enc, s.rounds, ivs)
}

func cbcDecrypt(s *Schedule, dst, src []byte, iv *[BlockSize]byte) {
	if isa.Current() == isa.Generic {
		cbcDecryptGeneric(s, dst, src, iv)
		return
	}
	cbcDecryptKernel(&dst[0], &src[0], len(src)/BlockSize, &s.dec, s.rounds, iv)
}

func xctr(s *Schedule, dst, src []byte, start *[BlockSize]byte) {
	if isa.Current() == isa.Generic {
		xctrGeneric(s, dst, src, start)
		return
	}
	xctrKernel(&dst[0], &src[0], len(src), &s.enc, s.rounds, start)
}
