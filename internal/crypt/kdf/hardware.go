package kdf

import (
	"encoding/binary"

	"fsenc/internal/crypt/modes/aesblk"
)

// Sizes in bytes of a hardware-wrapped key once unwrapped and of what the
// hardware makes of it.
const (
	HardwareKeySize    = 32
	SoftwareSecretSize = 32
	InlineKeySize      = 64
)

// Label and contexts as in the tests of the kernel's hardware-wrapped keys.
const (
	hardwareLabel  = "\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x20"
	inlineContext  = "inline encryption key" + "\x00\x00\x00\x00\x00\x00" + "\x02\x43\x00\x82\x50" + "\x00\x00\x00\x00"
	softwareSecret = "raw secret" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "\x02\x17\x00\x80\x50" + "\x00\x00\x00\x00"
)

// SoftwareSecret derives what takes the master key's place in HKDF, from the
// unwrapped key of 32 bytes.
func SoftwareSecret(dst *[SoftwareSecretSize]byte, key *[HardwareKeySize]byte) {
	sp800108(dst[:], key, softwareSecret)
}

// InlineKey derives the AES-256-XTS key of the contents of regular files, from
// the unwrapped key of 32 bytes.
func InlineKey(dst *[InlineKeySize]byte, key *[HardwareKeySize]byte) {
	sp800108(dst[:], key, inlineContext)
}

// sp800108 is the counter mode of SP 800-108 with AES-256-CMAC; len(dst) is a
// multiple of 16. Counter and length are big-endian.
func sp800108(dst []byte, key *[HardwareKeySize]byte, context string) {
	var s aesblk.Schedule
	if err := s.InitEncrypt(key[:]); err != nil {
		panic(err) // 32 bytes are a key size
	}
	defer s.Wipe()
	for i := 0; i < len(dst)/16; i++ {
		msg := binary.BigEndian.AppendUint32(nil, uint32(i+1))
		msg = append(msg, hardwareLabel...)
		msg = append(msg, 0)
		msg = append(msg, context...)
		msg = binary.BigEndian.AppendUint32(msg, uint32(len(dst)*8))
		mac := cmac(&s, msg)
		copy(dst[16*i:], mac[:])
		clear(mac[:])
	}
}
