package xts

import (
	"crypto/subtle"
	"encoding/binary"
)

// cryptUnitsGeneric is the standard, block by block; block is the Encrypt or
// the Decrypt of the data key.
func cryptUnitsGeneric(c *Cipher, block func(dst, src []byte), dst, src []byte, unitSize int, iv *[16]byte) {
	unitIV := *iv
	for len(src) > 0 {
		cryptUnitGeneric(c, block, dst[:unitSize], src[:unitSize], unitIV)
		dst, src = dst[unitSize:], src[unitSize:]
		nextIV(&unitIV)
	}
}

func cryptUnitGeneric(c *Cipher, block func(dst, src []byte), dst, src []byte, t [blockSize]byte) {
	c.tweak.Encrypt(t[:], t[:])
	for len(src) > 0 {
		subtle.XORBytes(dst, src[:blockSize], t[:])
		block(dst, dst)
		subtle.XORBytes(dst, dst[:blockSize], t[:])
		double(&t)
		dst, src = dst[blockSize:], src[blockSize:]
	}
}

// nextIV adds one to the number in bytes 0 to 7, modulo 2⁶⁴.
func nextIV(iv *[16]byte) {
	binary.LittleEndian.PutUint64(iv[:], binary.LittleEndian.Uint64(iv[:])+1)
}

// double multiplies t by x in GF(2¹²⁸): t is a little-endian number, and x¹²⁸
// is x⁷+x²+x+1, 0x87.
func double(t *[blockSize]byte) {
	lo, hi := binary.LittleEndian.Uint64(t[:8]), binary.LittleEndian.Uint64(t[8:])
	binary.LittleEndian.PutUint64(t[:8], lo<<1^(hi>>63)*0x87)
	binary.LittleEndian.PutUint64(t[8:], hi<<1|lo>>63)
}
