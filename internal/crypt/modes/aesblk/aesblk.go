// Package aesblk is AES for the block modes of fscrypt: a key schedule whose
// round keys the caller owns and can erase, and kernels over many blocks.
//
// Blocks are 16 bytes. AES-128 and AES-256 follow FIPS 197, CBC SP 800-38A,
// XCTR the HCTR2 paper (ePrint 2021/1441). The test vectors are those of
// FIPS 197 and SP 800-38A, and crypto/aes with crypto/cipher is the oracle.
//
// With processor support (package isa) the code takes the same time for every
// key and block. Generic looks tables up, as crypto/aes does without
// processor support: whoever shares its cache may learn something of the key.
package aesblk

import (
	"errors"
	"fmt"
)

// BlockSize is the size of an AES block in bytes.
const BlockSize = 16

// ErrKeySize says that a key has neither 16 nor 32 bytes.
var ErrKeySize = errors.New("aes key must be 16 or 32 bytes")

// RoundKeys holds up to 15 round keys of four words; each word holds four
// bytes of the key, the first one lowest.
type RoundKeys [60]uint32

// Schedule is an expanded AES key. The zero value has no key; Init gives it
// one without allocating. A schedule that has its key may be used by several
// goroutines at once. It implements crypto/cipher.Block.
type Schedule struct {
	enc    RoundKeys
	dec    RoundKeys // of the equivalent inverse cipher, in order of use
	rounds int
}

// New expands a key of 16 or 32 bytes. It does not keep key.
func New(key []byte) (*Schedule, error) {
	s := new(Schedule)
	if err := s.Init(key); err != nil {
		return nil, err
	}
	return s, nil
}

// Init expands a key of 16 or 32 bytes for both directions, over whatever s
// held. It does not keep key. The error wraps ErrKeySize, s is then unchanged.
func (s *Schedule) Init(key []byte) error {
	if err := s.InitEncrypt(key); err != nil {
		return err
	}
	invertKeys(s)
	return nil
}

// InitEncrypt is Init for a schedule that is never asked to decrypt, in less
// time.
func (s *Schedule) InitEncrypt(key []byte) error {
	switch len(key) {
	case 16:
		s.rounds = 10
	case 32:
		s.rounds = 14
	default:
		return fmt.Errorf("%w, not %d", ErrKeySize, len(key))
	}
	expandKey(s, key)
	return nil
}

// Wipe erases the round keys. Using s afterwards without Init panics.
func (s *Schedule) Wipe() { *s = Schedule{} }

// Rounds is 10 for AES-128 and 14 for AES-256.
func (s *Schedule) Rounds() int { return s.rounds }

// EncryptionKeys returns the round keys for encryption, a view for the
// kernels of other packages.
func (s *Schedule) EncryptionKeys() *RoundKeys { return &s.enc }

// DecryptionKeys returns the round keys of the equivalent inverse cipher, a
// view for the kernels of other packages.
func (s *Schedule) DecryptionKeys() *RoundKeys { return &s.dec }

// BlockSize returns 16.
func (s *Schedule) BlockSize() int { return BlockSize }

// Encrypt encrypts the first block of src into dst, which may be src.
func (s *Schedule) Encrypt(dst, src []byte) {
	s.mustHaveKey()
	encryptBlock(s, (*[BlockSize]byte)(dst), (*[BlockSize]byte)(src))
}

// Decrypt decrypts the first block of src into dst, which may be src.
func (s *Schedule) Decrypt(dst, src []byte) {
	s.mustHaveKey()
	decryptBlock(s, (*[BlockSize]byte)(dst), (*[BlockSize]byte)(src))
}

// Encrypt8 encrypts eight blocks in place, in little more than the time of one.
func (s *Schedule) Encrypt8(blocks *[8][BlockSize]byte) {
	s.mustHaveKey()
	encrypt8(s, blocks)
}

func (s *Schedule) mustHaveKey() {
	if s.rounds == 0 {
		panic("aesblk: schedule without a key")
	}
}
