package hctr2

import (
	"encoding/binary"

	"fsenc/internal/crypt/modes/aesblk"
)

// xctrGeneric is XCTR a block at a time: key stream block j, counted from 1, is
// the encryption of s + le128(j).
func xctrGeneric(aes *aesblk.Schedule, dst, src []byte, s *block) {
	var stream block
	low := binary.LittleEndian.Uint64(s[:])
	for j := uint64(1); len(src) > 0; j++ {
		stream = *s
		binary.LittleEndian.PutUint64(stream[:], low^j)
		aes.Encrypt(stream[:], stream[:])
		n := min(len(src), blockSize)
		for i := range n {
			dst[i] = src[i] ^ stream[i]
		}
		dst, src = dst[n:], src[n:]
	}
}
