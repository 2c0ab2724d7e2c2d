// Package adiantum is Adiantum over data units and names.
//
// It is Adiantum of Crowley and Biggers (2018) with XChaCha12 and AES-256: keys
// and tweaks have 32 bytes, inputs 16 or more, and each bit of the output
// depends on each bit of the input. It does not authenticate, and equal inputs
// under equal tweaks have equal outputs. XChaCha12 and NH are those of
// lukechampine.com/adiantum; the rest is here, so that nothing is allocated for
// a key or a unit and every derived key can be erased. The tests use vectors of
// github.com/google/adiantum; those of xfstests' fscrypt-crypt-util run through
// package crypt.
package adiantum

import (
	"encoding/binary"
	"errors"
	"fmt"

	"fsenc/internal/crypt/modes/aesblk"
)

// Sizes in bytes.
const (
	KeySize   = 32
	TweakSize = 32
	MinSize   = blockSize

	blockSize = aesblk.BlockSize
)

// ErrKeySize says that a key has not 32 bytes.
var ErrKeySize = errors.New("adiantum key must be 32 bytes")

// Cipher encrypts and decrypts under one key. The zero value has no key; Init
// gives it one. Several goroutines may use one at once. It must not be copied.
type Cipher struct {
	ready  bool
	stream stream
	aes    aesblk.Schedule
	hash   hash
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

// Init is New over whatever c held before; it allocates at its first call only.
func (c *Cipher) Init(key []byte) error {
	if len(key) != KeySize {
		return fmt.Errorf("%w, not %d", ErrKeySize, len(key))
	}
	c.stream.init(key)
	// The hash's keys are key stream, behind the AES key.
	sub := c.hash.keys[:]
	clear(sub)
	c.stream.xor(sub, nil)
	if err := c.aes.Init(sub[:aesKeySize]); err != nil {
		return err
	}
	c.hash.init()
	c.ready = true
	return nil
}

// Wipe erases the key and all that was derived from it. Using c afterwards
// without Init panics.
func (c *Cipher) Wipe() {
	c.ready = false
	c.stream.wipe()
	c.aes.Wipe()
	c.hash = hash{}
}

// Encrypt encrypts src, at least MinSize bytes, into dst, which is as long and
// is src or does not overlap it.
func (c *Cipher) Encrypt(dst, src []byte, tweak *[TweakSize]byte) {
	c.EncryptUnits(dst, src, len(src), tweak)
}

// Decrypt undoes Encrypt, under the same conditions.
func (c *Cipher) Decrypt(dst, src []byte, tweak *[TweakSize]byte) {
	c.DecryptUnits(dst, src, len(src), tweak)
}

// EncryptUnits encrypts the data units of unitSize bytes that src holds into
// dst, which is src or does not overlap it. *tweak is the tweak of the first
// unit and stays; from unit to unit the le64 in its bytes 0 to 7 grows by one.
// unitSize is MinSize or more and len(src) a multiple of it.
func (c *Cipher) EncryptUnits(dst, src []byte, unitSize int, tweak *[TweakSize]byte) {
	c.check(dst, src, unitSize)
	copy(dst, src)
	next := *tweak
	for off := 0; off < len(src); off += unitSize {
		c.encrypt(dst[off:off+unitSize], &next)
		step(&next)
	}
}

// DecryptUnits undoes EncryptUnits, under the same conditions.
func (c *Cipher) DecryptUnits(dst, src []byte, unitSize int, tweak *[TweakSize]byte) {
	c.check(dst, src, unitSize)
	copy(dst, src)
	next := *tweak
	for off := 0; off < len(src); off += unitSize {
		c.decrypt(dst[off:off+unitSize], &next)
		step(&next)
	}
}

// encrypt works in place: hash, block cipher, stream cipher, hash.
func (c *Cipher) encrypt(unit []byte, tweak *[TweakSize]byte) {
	left, right := unit[:len(unit)-blockSize], unit[len(unit)-blockSize:]
	t := c.hash.tweak(tweak, len(left))
	load(right).plus(t).plus(c.hash.message(left)).store(right)
	c.aes.Encrypt(right, right)
	c.stream.xor(left, right)
	load(right).minus(t).minus(c.hash.message(left)).store(right)
}

func (c *Cipher) decrypt(unit []byte, tweak *[TweakSize]byte) {
	left, right := unit[:len(unit)-blockSize], unit[len(unit)-blockSize:]
	t := c.hash.tweak(tweak, len(left))
	load(right).plus(t).plus(c.hash.message(left)).store(right)
	c.stream.xor(left, right)
	c.aes.Decrypt(right, right)
	load(right).minus(t).minus(c.hash.message(left)).store(right)
}

func (c *Cipher) check(dst, src []byte, unitSize int) {
	switch {
	case !c.ready:
		panic("adiantum: cipher without a key")
	case unitSize < MinSize || len(src)%unitSize != 0 || len(dst) < len(src):
		panic("adiantum: wrong length")
	}
}

func step(tweak *[TweakSize]byte) {
	binary.LittleEndian.PutUint64(tweak[:8], binary.LittleEndian.Uint64(tweak[:8])+1)
}
