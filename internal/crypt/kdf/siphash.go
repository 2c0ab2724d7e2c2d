package kdf

import (
	"encoding/binary"
	"math/bits"
)

// SipKey is a key of SipHash: its 16 bytes read as two le64.
type SipKey struct{ k0, k1 uint64 }

// NewSipKey reads a key.
func NewSipKey(b *[16]byte) SipKey {
	return SipKey{binary.LittleEndian.Uint64(b[:8]), binary.LittleEndian.Uint64(b[8:])}
}

// Sum is SipHash-2-4 of p with an output of 64 bits (Aumasson and Bernstein).
func (k SipKey) Sum(p []byte) uint64 {
	s := sipState{
		k.k0 ^ 0x736f6d6570736575, k.k1 ^ 0x646f72616e646f6d,
		k.k0 ^ 0x6c7967656e657261, k.k1 ^ 0x7465646279746573,
	}
	last := uint64(len(p)) << 56
	for ; len(p) >= 8; p = p[8:] {
		s.absorb(binary.LittleEndian.Uint64(p))
	}
	for i, b := range p {
		last |= uint64(b) << (8 * i)
	}
	s.absorb(last)
	s.v2 ^= 0xff
	for range 4 {
		s.round()
	}
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}

// InodeHash is the number that IV_INO_LBLK_32 adds to data unit indexes: the
// low 32 bits of the hash of the inode number.
func (k SipKey) InodeHash(ino uint64) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], ino)
	return uint32(k.Sum(b[:]))
}

type sipState struct{ v0, v1, v2, v3 uint64 }

func (s *sipState) absorb(m uint64) {
	s.v3 ^= m
	s.round()
	s.round()
	s.v0 ^= m
}

func (s *sipState) round() {
	s.v0 += s.v1
	s.v2 += s.v3
	s.v1 = bits.RotateLeft64(s.v1, 13) ^ s.v0
	s.v3 = bits.RotateLeft64(s.v3, 16) ^ s.v2
	s.v0 = bits.RotateLeft64(s.v0, 32) + s.v3
	s.v2 += s.v1
	s.v3 = bits.RotateLeft64(s.v3, 21) ^ s.v0
	s.v1 = bits.RotateLeft64(s.v1, 17) ^ s.v2
	s.v2 = bits.RotateLeft64(s.v2, 32)
}
