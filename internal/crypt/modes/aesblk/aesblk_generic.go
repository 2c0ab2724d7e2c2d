package aesblk

import (
	"encoding/binary"
	"math/bits"
)

// A state is four words, one a column, row 0 in the lowest byte, so that the
// bytes of a block are the words in little-endian order.

var (
	sbox, invSbox = makeSboxes()
	encTable      = makeEncTable()
	decTable      = makeDecTable()
)

// mul multiplies in GF(2⁸) modulo x⁸+x⁴+x³+x+1.
func mul(a, b byte) byte {
	var p byte
	for ; b != 0; b >>= 1 {
		if b&1 != 0 {
			p ^= a
		}
		carry := a >> 7
		a = a<<1 ^ carry*0x1b
	}
	return p
}

// makeSboxes walks the field's non-zero elements as powers of 3, with the
// powers of its inverse 0xf6 beside them.
func makeSboxes() (fwd, inv [256]byte) {
	set := func(x, inverse byte) {
		s := inverse
		for n := 1; n <= 4; n++ {
			s ^= bits.RotateLeft8(inverse, n)
		}
		s ^= 0x63
		fwd[x], inv[s] = s, x
	}
	set(0, 0)
	x, inverse := byte(1), byte(1)
	for range 255 {
		set(x, inverse)
		x, inverse = mul(x, 3), mul(inverse, 0xf6)
	}
	return fwd, inv
}

// makeEncTable gives for a byte of row 0 what SubBytes and MixColumns make of
// it; the table of another row is this one, rotated by the row.
func makeEncTable() (t [256]uint32) {
	for x := range t {
		s := sbox[x]
		t[x] = uint32(mul(s, 2)) | uint32(s)<<8 | uint32(s)<<16 | uint32(mul(s, 3))<<24
	}
	return t
}

// makeDecTable is makeEncTable of the inverse cipher.
func makeDecTable() (t [256]uint32) {
	for x := range t {
		t[x] = invMixByte(invSbox[x])
	}
	return t
}

func invMixByte(s byte) uint32 {
	return uint32(mul(s, 14)) | uint32(mul(s, 9))<<8 | uint32(mul(s, 13))<<16 | uint32(mul(s, 11))<<24
}

func subWord(w uint32) uint32 {
	return uint32(sbox[byte(w)]) | uint32(sbox[byte(w>>8)])<<8 |
		uint32(sbox[byte(w>>16)])<<16 | uint32(sbox[w>>24])<<24
}

// expandKeyGeneric is KeyExpansion of FIPS 197.
func expandKeyGeneric(s *Schedule, key []byte) {
	nk := len(key) / 4
	for i := range nk {
		s.enc[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	rcon := byte(1)
	for i := nk; i < 4*(s.rounds+1); i++ {
		t := s.enc[i-1]
		switch {
		case i%nk == 0:
			// The first byte of a word is the lowest: RotWord turns right.
			t = subWord(bits.RotateLeft32(t, -8)) ^ uint32(rcon)
			rcon = mul(rcon, 2)
		case nk > 6 && i%nk == 4:
			t = subWord(t)
		}
		s.enc[i] = s.enc[i-nk] ^ t
	}
}

// invertKeysGeneric turns the order round and puts InvMixColumns into all but
// the outer round keys.
func invertKeysGeneric(s *Schedule) {
	n := 4 * (s.rounds + 1)
	for i := 0; i < n; i += 4 {
		for j := range 4 {
			w := s.enc[n-4-i+j]
			if i > 0 && i < n-4 {
				// decTable of S(b) is InvMixColumns of b.
				w = decTable[sbox[byte(w)]] ^
					bits.RotateLeft32(decTable[sbox[byte(w>>8)]], 8) ^
					bits.RotateLeft32(decTable[sbox[byte(w>>16)]], 16) ^
					bits.RotateLeft32(decTable[sbox[w>>24]], 24)
			}
			s.dec[i+j] = w
		}
	}
}

func encryptBlockGeneric(s *Schedule, dst, src *[BlockSize]byte) {
	k := s.enc[:4*(s.rounds+1)]
	a := binary.LittleEndian.Uint32(src[0:]) ^ k[0]
	b := binary.LittleEndian.Uint32(src[4:]) ^ k[1]
	c := binary.LittleEndian.Uint32(src[8:]) ^ k[2]
	d := binary.LittleEndian.Uint32(src[12:]) ^ k[3]
	k = k[4:]
	for ; len(k) >= 8; k = k[4:] {
		a, b, c, d = encColumn(a, b, c, d)^k[0], encColumn(b, c, d, a)^k[1],
			encColumn(c, d, a, b)^k[2], encColumn(d, a, b, c)^k[3]
	}
	binary.LittleEndian.PutUint32(dst[0:], lastColumn(&sbox, a, b, c, d)^k[0])
	binary.LittleEndian.PutUint32(dst[4:], lastColumn(&sbox, b, c, d, a)^k[1])
	binary.LittleEndian.PutUint32(dst[8:], lastColumn(&sbox, c, d, a, b)^k[2])
	binary.LittleEndian.PutUint32(dst[12:], lastColumn(&sbox, d, a, b, c)^k[3])
}

func decryptBlockGeneric(s *Schedule, dst, src *[BlockSize]byte) {
	k := s.dec[:4*(s.rounds+1)]
	a := binary.LittleEndian.Uint32(src[0:]) ^ k[0]
	b := binary.LittleEndian.Uint32(src[4:]) ^ k[1]
	c := binary.LittleEndian.Uint32(src[8:]) ^ k[2]
	d := binary.LittleEndian.Uint32(src[12:]) ^ k[3]
	k = k[4:]
	for ; len(k) >= 8; k = k[4:] {
		// InvShiftRows turns the rows the other way: columns go backwards.
		a, b, c, d = decColumn(a, d, c, b)^k[0], decColumn(b, a, d, c)^k[1],
			decColumn(c, b, a, d)^k[2], decColumn(d, c, b, a)^k[3]
	}
	binary.LittleEndian.PutUint32(dst[0:], lastColumn(&invSbox, a, d, c, b)^k[0])
	binary.LittleEndian.PutUint32(dst[4:], lastColumn(&invSbox, b, a, d, c)^k[1])
	binary.LittleEndian.PutUint32(dst[8:], lastColumn(&invSbox, c, b, a, d)^k[2])
	binary.LittleEndian.PutUint32(dst[12:], lastColumn(&invSbox, d, c, b, a)^k[3])
}

// encColumn makes a column of the next state from row 0 of r0 to row 3 of r3.
func encColumn(r0, r1, r2, r3 uint32) uint32 {
	return encTable[byte(r0)] ^ bits.RotateLeft32(encTable[byte(r1>>8)], 8) ^
		bits.RotateLeft32(encTable[byte(r2>>16)], 16) ^ bits.RotateLeft32(encTable[r3>>24], 24)
}

func decColumn(r0, r1, r2, r3 uint32) uint32 {
	return decTable[byte(r0)] ^ bits.RotateLeft32(decTable[byte(r1>>8)], 8) ^
		bits.RotateLeft32(decTable[byte(r2>>16)], 16) ^ bits.RotateLeft32(decTable[r3>>24], 24)
}

// lastColumn is the last round, which has no MixColumns.
func lastColumn(box *[256]byte, r0, r1, r2, r3 uint32) uint32 {
	return uint32(box[byte(r0)]) | uint32(box[byte(r1>>8)])<<8 |
		uint32(box[byte(r2>>16)])<<16 | uint32(box[r3>>24])<<24
}
