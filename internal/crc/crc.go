// Package crc computes the checksums of on-disk structures, with the seed
// passed in and no final inversion, as the kernel's crc32c and crc16 do.
package crc

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC32C continues the reflected Castagnoli CRC (polynomial 0x82F63B78) from
// seed over p. Neither the seed nor the result is inverted:
// CRC32C(0xFFFFFFFF, "123456789") is 0x1CF96D7C.
func CRC32C(seed uint32, p []byte) uint32 {
	return ^crc32.Update(^seed, castagnoli, p)
}

// crc16Table is for the reflected polynomial 0x8005, one entry a byte.
var crc16Table = makeCRC16Table()

func makeCRC16Table() (t [256]uint16) {
	for i := range t {
		c := uint16(i)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0xA001
			} else {
				c >>= 1
			}
		}
		t[i] = c
	}
	return t
}

// CRC16 continues the reflected CRC of polynomial 0x8005 from seed over p,
// without inversion: CRC16(0xFFFF, "123456789") is 0x4B37.
func CRC16(seed uint16, p []byte) uint16 {
	for _, b := range p {
		seed = seed>>8 ^ crc16Table[byte(seed)^b]
	}
	return seed
}
