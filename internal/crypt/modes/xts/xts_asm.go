//go:build (amd64 || arm64) && !purego

package xts

import "fsenc/internal/crypt/modes/isa"

func encryptUnits(c *Cipher, dst, src []byte, unitSize int, iv *[16]byte) {
	if isa.Current() == isa.Generic {
		cryptUnitsGeneric(c, c.data.Encrypt, dst, src, unitSize, iv)
		return
	}
	encryptKernel(&dst[0], &src[0], len(src)/unitSize, unitSize,
		c.data.EncryptionKeys(), c.tweak.EncryptionKeys(), c.data.Rounds(), iv)
}

func decryptUnits(c *Cipher, dst, src []byte, unitSize int, iv *[16]byte) {
	if isa.Current() == isa.Generic {
		cryptUnitsGeneric(c, c.data.Decrypt, dst, src, unitSize, iv)
		return
	}
	decryptKernel(&dst[0], &src[0], len(src)/unitSize, unitSize,
		c.data.DecryptionKeys(), c.tweak.EncryptionKeys(), c.data.Rounds(), iv)
}
