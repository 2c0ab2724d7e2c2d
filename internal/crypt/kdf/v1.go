package kdf

import (
	"crypto/sha512"

	"fsenc/internal/crypt/modes/aesblk"
)

// V1 fills dst, a multiple of 16 bytes, with the file key of a v1 policy:
// AES-128-ECB of the master key's first len(dst) bytes under the nonce. The
// nonce is the AES key. A master key shorter than dst panics.
func V1(dst, key []byte, nonce *[16]byte) {
	key = key[:len(dst)]
	var s aesblk.Schedule
	if err := s.InitEncrypt(nonce[:]); err != nil {
		panic(err) // 16 bytes are a key size
	}
	defer s.Wipe()
	for i := 0; i < len(dst); i += aesblk.BlockSize {
		s.Encrypt(dst[i:], key[i:])
	}
}

// V1Descriptor is what google/fscrypt and e4crypt call a master key in v1
// policies: the first 8 bytes of SHA-512 of its SHA-512. Nothing enforces it.
func V1Descriptor(key []byte) (d [8]byte) {
	once := sha512.Sum512(key)
	twice := sha512.Sum512(once[:])
	clear(once[:])
	copy(d[:], twice[:])
	return d
}
