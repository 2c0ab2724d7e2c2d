// Package hctr2 is AES-256-HCTR2 over names.
//
// It is HCTR2 of Crowley, Huckleberry and Biggers (ePrint 2021/1441) with keys
// and tweaks of 32 bytes, for inputs of 16 bytes or more: each bit of the
// output depends on each bit of the input. It does not authenticate, and equal
// inputs under equal tweaks have equal outputs. The tests use vectors of
// github.com/google/hctr2; those of xfstests' fscrypt-crypt-util run through
// package crypt.
package hctr2

import (
	"errors"
	"fmt"

	"fsenc/internal/crypt/modes/aesblk"
	"fsenc/internal/crypt/modes/polyval"
)

// Sizes in bytes.
const (
	KeySize   = 32
	TweakSize = 32
	MinSize   = blockSize

	blockSize = aesblk.BlockSize
)

// ErrKeySize says that a key has not 32 bytes.
var ErrKeySize = errors.New("hctr2 key must be 32 bytes")

// Cipher encrypts and decrypts under one key. The zero value has no key; Init
// gives it one. Several goroutines may use one at once.
type Cipher struct {
	aes  aesblk.Schedule
	hash polyval.Key
	l    block // E(1), whitens the counter's start
}

// New makes a cipher of a key, which it does not keep. The error wraps
// ErrKeySize.
func New(key []byte) (*Cipher, error) {
	c := new(Cipher)
	if err := c.Init(key); err != nil {
		return nil, err
	}
	return c, nil
}

// Init is New over whatever c held before, without allocating.
func (c *Cipher) Init(key []byte) error {
	if len(key) != KeySize {
		return fmt.Errorf("%w, not %d", ErrKeySize, len(key))
	}
	if err := c.aes.Init(key); err != nil {
		return err
	}
	var h block
	c.aes.Encrypt(h[:], h[:])
	c.hash.Init((*[blockSize]byte)(&h))
	clear(h[:])
	c.l = block{1}
	c.aes.Encrypt(c.l[:], c.l[:])
	return nil
}

// Wipe erases all that depends on the key. Using c afterwards panics.
func (c *Cipher) Wipe() { *c = Cipher{} }

// Encrypt encrypts src, at least MinSize bytes, into dst, which is as long and
// is src or does not overlap it.
func (c *Cipher) Encrypt(dst, src []byte, tweak *[TweakSize]byte) {
	check(dst, src)
	start := c.hashTweak(tweak, len(src)-blockSize)
	mm := c.hashMessage(start, src[blockSize:])
	mm.xor((*block)(src))
	var uu block
	c.aes.Encrypt(uu[:], mm[:])
	c.xctr(dst[blockSize:], src[blockSize:], &mm, &uu)
	sum := c.hashMessage(start, dst[blockSize:])
	uu.xor(&sum)
	copy(dst, uu[:])
}

// Decrypt undoes Encrypt, under the same conditions.
func (c *Cipher) Decrypt(dst, src []byte, tweak *[TweakSize]byte) {
	check(dst, src)
	start := c.hashTweak(tweak, len(src)-blockSize)
	uu := c.hashMessage(start, src[blockSize:])
	uu.xor((*block)(src))
	var mm block
	c.aes.Decrypt(mm[:], uu[:])
	c.xctr(dst[blockSize:], src[blockSize:], &mm, &uu)
	sum := c.hashMessage(start, dst[blockSize:])
	mm.xor(&sum)
	copy(dst, mm[:])
}

// xctr starts the counter at mm + uu + E(1).
func (c *Cipher) xctr(dst, src []byte, mm, uu *block) {
	s := c.l
	s.xor(mm)
	s.xor(uu)
	c.aes.XCTR(dst, src, (*[blockSize]byte)(&s))
}

func check(dst, src []byte) {
	if len(src) < MinSize || len(dst) != len(src) {
		panic("hctr2: input shorter than a block, or output of another length")
	}
}
