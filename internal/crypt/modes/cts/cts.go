// Package cts is CBC with ciphertext stealing over names and symlink targets.
//
// It is the variant CS3 of the addendum to SP 800-38A, with AES-256, AES-128
// or SM4: the last two blocks are swapped always, also where the length is a
// multiple of 16. An input of one block is plain CBC. Lengths are kept. Names
// that begin with the same 16-byte blocks have ciphertexts that do, and nothing
// is authenticated.
//
// The vectors of the tests come from RFC 3962; those of xfstests and OpenSSL run
// through package crypt.
package cts

import (
	"crypto/cipher"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"

	"github.com/emmansun/gmsm/sm4"

	"fsenc/internal/crypt/modes/aesblk"
	"fsenc/internal/crypt/modes/erase"
)

const blockSize = 16

// MinSize is the shortest input in bytes.
const MinSize = blockSize

// ErrKeySize says that a key has the wrong length for its block cipher.
var ErrKeySize = errors.New("cts key of wrong size")

// Cipher encrypts and decrypts under one key. Several goroutines may use one
// at once.
type Cipher struct {
	aes   aesblk.Schedule
	block blocks // &aes, or an SM4
}

// blocks is a block cipher with CBC over whole blocks, as aesblk has it.
type blocks interface {
	cipher.Block
	CBCEncrypt(dst, src []byte, iv *[blockSize]byte)
	CBCDecrypt(dst, src []byte, iv *[blockSize]byte)
}

// New makes an AES cipher of a key of 16 or 32 bytes, which it does not keep.
// The error wraps ErrKeySize.
func New(key []byte) (*Cipher, error) {
	c := new(Cipher)
	if err := c.Init(key); err != nil {
		return nil, err
	}
	return c, nil
}

// Init is New over whatever c held before, without allocating.
func (c *Cipher) Init(key []byte) error {
	if err := c.aes.Init(key); err != nil {
		return fmt.Errorf("%w: aes: %d bytes", ErrKeySize, len(key))
	}
	c.block = &c.aes
	return nil
}

// NewSM4 makes an SM4 cipher of a key of 16 bytes, which it does not keep. The
// error wraps ErrKeySize.
func NewSM4(key []byte) (*Cipher, error) {
	b, err := sm4.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("%w: sm4: %d bytes", ErrKeySize, len(key))
	}
	return &Cipher{block: sm4Blocks{b}}, nil
}

// Wipe erases the round keys. Using c afterwards panics.
func (c *Cipher) Wipe() {
	c.aes.Wipe()
	if s, ok := c.block.(sm4Blocks); ok {
		erase.Object(s.Block)
	}
	c.block = nil
}

// Encrypt encrypts src, at least MinSize bytes, into dst, which is as long and
// is src or does not overlap it.
func (c *Cipher) Encrypt(dst, src []byte, iv *[blockSize]byte) {
	checkLen(dst, src)
	last := lastBlock(len(src))
	if last == 0 {
		last = len(src)
	}
	s := getScratch(iv)
	defer s.release()
	c.block.CBCEncrypt(dst[:last], src[:last], &s.chain)
	tail := src[last:]
	if len(tail) == 0 {
		return
	}
	// The last block padded with zeros is stolen from the one before, which
	// moves to the end and is cut.
	s.spare = s.chain
	subtle.XORBytes(s.chain[:], s.chain[:], tail)
	c.block.Encrypt(s.chain[:], s.chain[:])
	copy(dst[last:], s.spare[:len(tail)])
	copy(dst[last-blockSize:], s.chain[:])
}

// Decrypt undoes Encrypt, under the same conditions.
func (c *Cipher) Decrypt(dst, src []byte, iv *[blockSize]byte) {
	checkLen(dst, src)
	last := lastBlock(len(src))
	if last == 0 {
		c.block.CBCDecrypt(dst, src, iv)
		return
	}
	s := getScratch(iv)
	defer s.release()
	before := last - blockSize // of the block that was swapped with the last
	if before > 0 {
		copy(s.chain[:], src[before-blockSize:])
	}
	// Decrypting the second to last gives the last plaintext and, past its
	// end, the bytes that were cut off the last ciphertext.
	copy(s.spare[:], src[before:])
	c.block.Decrypt(s.spare[:], s.spare[:])
	for i, b := range src[last:] {
		dst[last+i], s.spare[i] = s.spare[i]^b, b
	}
	c.block.Decrypt(s.spare[:], s.spare[:])
	subtle.XORBytes(dst[before:last], s.spare[:], s.chain[:])
	c.block.CBCDecrypt(dst[:before], src[:before], iv)
}

func checkLen(dst, src []byte) {
	if len(src) < MinSize || len(dst) != len(src) {
		panic("cts: input shorter than a block, or output of another length")
	}
}

// lastBlock is where the last block of n bytes starts, full or not.
func lastBlock(n int) int { return (n - 1) / blockSize * blockSize }

// scratch is what one call works in; on the stack it would escape into the
// block cipher's methods.
type scratch struct{ chain, spare [blockSize]byte }

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func getScratch(iv *[blockSize]byte) *scratch {
	s := scratches.Get().(*scratch)
	s.chain = *iv
	return s
}

func (s *scratch) release() {
	*s = scratch{}
	scratches.Put(s)
}
