//go:build !(amd64 || arm64) || purego

package aesblk

func expandKey(s *Schedule, key []byte) { expandKeyGeneric(s, key) }

func invertKeys(s *Schedule) { invertKeysGeneric(s) }

func encryptBlock(s *Schedule, dst, src *[BlockSize]byte) { encryptBlockGeneric(s, dst, src) }

func decryptBlock(s *Schedule, dst, src *[BlockSize]byte) { decryptBlockGeneric(s, dst, src) }

func encrypt8(s *Schedule, blocks *[8][BlockSize]byte) { encrypt8Generic(s, blocks) }

func cbcEncrypt(s *Schedule, dst, src []byte, iv *[BlockSize]byte) {
	cbcEncryptGeneric(s, dst, src, iv)
}

func cbcEncrypt8(s *Schedule, dst, src []byte, ivs *[8][BlockSize]byte) {
	cbcEncrypt8Generic(s, dst, src, ivs)
}

func cbcDecrypt(s *Schedule, dst, src []byte, iv *[BlockSize]byte) {
	cbcDecryptGeneric(s, dst, src, iv)
}

func xctr(s *Schedule, dst, src []byte, start *[BlockSize]byte) { xctrGeneric(s, dst, src, start) }
