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
	block cipher.Block // &aes, or an SM4
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
	return &Cipher{block: b}, nil
}

// Wipe erases the round keys. Using c afterwards panics.
func (c *Cipher) Wipe() {
	c.aes.Wipe()
	if c.block != nil && c.block != cipher.Block(&c.aes) {
		erase.Object(c.block)
	}
	c.block = nil
}

// Encrypt encrypts src, at least MinSize bytes, into dst, which is as long and
// is src or does not overlap it.
func (c *Cipher) Encrypt(dst, src []byte, iv *[blockSize]byte) {
	m := checkLen(dst, src)
	s := getScratch(iv)
	defer s.release()
	for i := range m {
		subtle.XORBytes(s.chain[:], s.chain[:], src[i*blockSize:(i+1)*blockSize])
		c.block.Encrypt(s.chain[:], s.chain[:])
		if i < m-1 || len(src) == blockSize {
			copy(dst[i*blockSize:], s.chain[:])
		}
	}
	tail := src[m*blockSize:]
	if len(tail) == 0 {
		return
	}
	// The last block padded with zeros is stolen from the one before, which
	// moves to the end and is cut.
	s.spare = s.chain
	subtle.XORBytes(s.chain[:], s.chain[:], tail)
	c.block.Encrypt(s.chain[:], s.chain[:])
	copy(dst[m*blockSize:], s.spare[:len(tail)])
	copy(dst[(m-1)*blockSize:], s.chain[:])
}

// Decrypt undoes Encrypt, under the same conditions.
func (c *Cipher) Decrypt(dst, src []byte, iv *[blockSize]byte) {
	m := checkLen(dst, src)
	s := getScratch(iv)
	defer s.release()
	plain := m - 1 // blocks before the swapped two
	if len(src) == blockSize {
		plain = 1
	}
	for i := range plain {
		copy(s.spare[:], src[i*blockSize:])
		c.decryptBlock(s, dst[i*blockSize:(i+1)*blockSize])
	}
	if len(src) == blockSize {
		return
	}
	// Decrypting the second to last gives the last plaintext and, past its
	// end, the bytes that were cut off the last ciphertext.
	tail := src[m*blockSize:]
	copy(s.spare[:], src[plain*blockSize:])
	c.block.Decrypt(s.spare[:], s.spare[:])
	for i, b := range tail {
		dst[m*blockSize+i], s.spare[i] = s.spare[i]^b, b
	}
	c.decryptBlock(s, dst[plain*blockSize:m*blockSize])
}

// decryptBlock decrypts the ciphertext block in s.spare to dst and chains it.
func (c *Cipher) decryptBlock(s *scratch, dst []byte) {
	c.block.Decrypt(s.plain[:], s.spare[:])
	subtle.XORBytes(dst, s.plain[:], s.chain[:])
	s.chain = s.spare
}

// checkLen returns how many full blocks stand before the last, full or not; for
// an input of one block it is 1.
func checkLen(dst, src []byte) int {
	if len(src) < MinSize || len(dst) != len(src) {
		panic("cts: input shorter than a block, or output of another length")
	}
	return max(1, (len(src)-1)/blockSize)
}

// scratch is what one call works in; on the stack it would escape into the
// block cipher's methods.
type scratch struct{ chain, spare, plain [blockSize]byte }

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
