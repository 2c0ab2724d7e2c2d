package kdf

import "fsenc/internal/crypt/modes/aesblk"

// cmac is CMAC of SP 800-38B over msg under an AES key of 16 or 32 bytes.
func cmac(s *aesblk.Schedule, msg []byte) (mac [16]byte) {
	var sub, last [16]byte
	defer clear(sub[:])
	s.Encrypt(sub[:], sub[:])
	double(&sub)
	for ; len(msg) > 16; msg = msg[16:] {
		xor(mac[:], msg[:16])
		s.Encrypt(mac[:], mac[:])
	}
	// A last block that is not full takes a 1 bit and the second subkey.
	if n := copy(last[:], msg); n < 16 {
		last[n] = 0x80
		double(&sub)
	}
	xor(mac[:], last[:])
	xor(mac[:], sub[:])
	s.Encrypt(mac[:], mac[:])
	return mac
}

// double multiplies by x in GF(2¹²⁸), bytes in big-endian order.
func double(b *[16]byte) {
	carry := b[0] >> 7
	for i := range 15 {
		b[i] = b[i]<<1 | b[i+1]>>7
	}
	b[15] = b[15]<<1 ^ carry*0x87
}

func xor(dst, src []byte) {
	for i := range src {
		dst[i] ^= src[i]
	}
}
