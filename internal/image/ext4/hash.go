package ext4

import "math/bits"

// Versions of the directory hash, as dx_root stores them. The root never
// holds the unsigned variants: the superblock's flags choose them.
const (
	hashLegacy           = 0 // DX_HASH_LEGACY
	hashHalfMD4          = 1 // DX_HASH_HALF_MD4
	hashTea              = 2 // DX_HASH_TEA
	hashLegacyUnsigned   = 3
	hashHalfMD4Unsigned  = 4
	hashTeaUnsigned      = 5
	hashSip              = 6 // DX_HASH_SIPHASH: encrypted and casefolded directories
	hashUnsignedDistance = 3
)

// hashEOF is what a hash must not be after its low bit is cleared: readdir(3)
// uses that position for the end of the directory.
const hashEOF = 0xfffffffe

// dirHash computes the hash by which an htree directory orders its names.
type dirHash struct {
	version uint8 // hashLegacy to hashTeaUnsigned
	seed    [4]uint32
}

// sum returns hash and minor hash of a stored name. The low bit of the hash is
// clear, since index slots keep the continuation bit there. The minor hash is
// 0 for the legacy versions, which have none.
func (h dirHash) sum(name []byte) (hash, minor uint32) {
	buf := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	if h.seed != [4]uint32{} {
		buf = h.seed
	}
	unsigned := h.version >= hashLegacyUnsigned
	switch h.version {
	case hashHalfMD4, hashHalfMD4Unsigned:
		for rest := name; len(rest) > 0; rest = rest[min(32, len(rest)):] {
			var in [8]uint32
			packName(in[:], rest, unsigned)
			halfMD4(&buf, &in)
		}
		hash, minor = buf[1], buf[2]
	case hashTea, hashTeaUnsigned:
		for rest := name; len(rest) > 0; rest = rest[min(16, len(rest)):] {
			var in [4]uint32
			packName(in[:], rest, unsigned)
			tea(&buf, &in)
		}
		hash, minor = buf[0], buf[1]
	default:
		hash = legacyHash(name, unsigned)
	}
	return clampHash(hash), minor
}

// clampHash clears the low bit and keeps clear of the end position.
func clampHash(hash uint32) uint32 {
	hash &^= 1
	if hash == hashEOF {
		hash -= 2
	}
	return hash
}

// charValue is a byte of a name as the C type char has it: machines differ in
// its sign, and so do the hashes they made.
func charValue(c byte, unsigned bool) uint32 {
	if unsigned {
		return uint32(c)
	}
	return uint32(int32(int8(c)))
}

// packName spreads the name over the words of dst, big-endian, the length in
// each byte of what it leaves free. What exceeds dst is left for the next call,
// but counts in the length.
func packName(dst []uint32, name []byte, unsigned bool) {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	for i := range dst {
		val := pad
		for _, c := range name[min(4*i, len(name)):min(4*i+4, len(name))] {
			val = val<<8 + charValue(c, unsigned)
		}
		dst[i] = val
	}
}

func legacyHash(name []byte, unsigned bool) uint32 {
	h0, h1 := uint32(0x12a3fe2d), uint32(0x37abe8f9)
	for _, c := range name {
		h := h1 + (h0 ^ charValue(c, unsigned)*7152373)
		if h&0x80000000 != 0 {
			h -= 0x7fffffff
		}
		h0, h1 = h, h0
	}
	return h0 << 1
}

// tea is sixteen rounds of the Tiny Encryption Algorithm with the name as key.
func tea(buf *[4]uint32, in *[4]uint32) {
	var sum uint32
	b0, b1 := buf[0], buf[1]
	for range 16 {
		sum += 0x9e3779b9
		b0 += (b1<<4 + in[0]) ^ (b1 + sum) ^ (b1>>5 + in[1])
		b1 += (b0<<4 + in[2]) ^ (b0 + sum) ^ (b0>>5 + in[3])
	}
	buf[0] += b0
	buf[1] += b1
}

// halfMD4Rounds: of each of the three rounds of MD4, half the steps.
var halfMD4Rounds = [3]struct {
	add   uint32
	words [8]uint8
	shift [4]int
}{
	{0, [8]uint8{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19}},
	{0x5a827999, [8]uint8{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13}},
	{0x6ed9eba1, [8]uint8{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15}},
}

func halfMD4(buf *[4]uint32, in *[8]uint32) {
	a, b, c, d := buf[0], buf[1], buf[2], buf[3]
	for round, r := range &halfMD4Rounds {
		for i, w := range r.words {
			var f uint32
			switch round {
			case 0:
				f = d ^ b&(c^d)
			case 1:
				f = b&c + (b^c)&d
			default:
				f = b ^ c ^ d
			}
			a = bits.RotateLeft32(a+f+in[w]+r.add, r.shift[i%4])
			a, b, c, d = d, a, b, c
		}
	}
	buf[0] += a
	buf[1] += b
	buf[2] += c
	buf[3] += d
}
