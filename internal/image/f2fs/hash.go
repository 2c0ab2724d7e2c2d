package f2fs

import (
	"fsenc/internal/casefold"
)

// nameHash is the hash of a stored name: sixteen rounds of TEA over pieces of
// 16 bytes, starting from the constants of MD4. That of the dots is 0.
func nameHash(name []byte) uint32 {
	if len(name) <= 2 && (string(name) == "." || string(name) == "..") {
		return 0
	}
	state := [2]uint32{0x67452301, 0xefcdab89}
	for {
		var in [4]uint32
		packName(&in, name)
		teaRounds(&state, &in)
		if len(name) <= 16 {
			return state[0]
		}
		name = name[16:]
	}
}

// packName spreads up to 16 bytes over four words, big-endian. What is left free
// has the length of all that was to be packed in each byte.
func packName(in *[4]uint32, name []byte) {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	for i := range in {
		v := pad
		for _, c := range name[min(4*i, len(name)):min(4*i+4, len(name))] {
			v = v<<8 + uint32(c)
		}
		in[i] = v
	}
}

func teaRounds(state *[2]uint32, in *[4]uint32) {
	var sum uint32
	b0, b1 := state[0], state[1]
	for range 16 {
		sum += 0x9e3779b9
		b0 += (b1<<4 + in[0]) ^ (b1 + sum) ^ (b1>>5 + in[1])
		b1 += (b0<<4 + in[2]) ^ (b0 + sum) ^ (b0>>5 + in[3])
	}
	state[0] += b0
	state[1] += b1
}

// foldedHash is the hash of a name in a casefolded directory that is not
// encrypted: of its folded form. What cannot be folded, or has no room for the
// kernel's terminator when it is, is hashed as it is.
func foldedHash(name []byte) uint32 {
	if folded, ok := casefold.Fold(nil, name); ok && len(folded) < maxNameLen {
		return nameHash(folded)
	}
	return nameHash(name)
}
