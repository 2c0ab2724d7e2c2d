// Package xts is AES-128-XTS and AES-256-XTS over data units.
//
// It follows IEEE 1619-2018 for units that are a multiple of 16 bytes, so
// there is no ciphertext stealing. The 16-byte IV of a unit is given as such,
// little-endian when it is a number. XTS hides the contents of a block from
// who sees it once; it does not authenticate: who can write the image can turn
// any 16-byte block into noise, or put back what that block held before.
//
// The tests use the vectors of IEEE 1619, those of xfstests'
// fscrypt-crypt-util, and golang.org/x/crypto/xts as the oracle for the rest.
package xts

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"unsafe"

	"fsenc/internal/crypt/modes/aesblk"
)

const blockSize = aesblk.BlockSize

// ErrKeySize says that a key has neither 32 nor 64 bytes.
var ErrKeySize = errors.New("xts key must be 32 or 64 bytes")

// ErrWeakKey says that the halves of a key are equal. IEEE 1619 and the
// kernel refuse such keys: ciphertexts chosen well would reveal the tweak.
var ErrWeakKey = errors.New("the halves of the xts key are equal")

// Cipher encrypts and decrypts data units under one key. The zero value has
// no key; Init gives it one. A cipher that has its key may be used by several
// goroutines at once.
type Cipher struct {
	data  aesblk.Schedule
	tweak aesblk.Schedule // encrypts IVs, never decrypts
}

// New makes a cipher of a key of 32 bytes (AES-128) or 64 bytes (AES-256). It
// does not keep key. The error wraps ErrKeySize or ErrWeakKey.
func New(key []byte) (*Cipher, error) {
	c := new(Cipher)
	if err := c.Init(key); err != nil {
		return nil, err
	}
	return c, nil
}

// Init is New on memory of the caller: it replaces the key that c had, if
// any, and does not allocate. After an error c is unchanged.
func (c *Cipher) Init(key []byte) error {
	if len(key) != 32 && len(key) != 64 {
		return fmt.Errorf("%w, not %d", ErrKeySize, len(key))
	}
	half := len(key) / 2
	if subtle.ConstantTimeCompare(key[:half], key[half:]) == 1 {
		return ErrWeakKey
	}
	if err := c.data.Init(key[:half]); err != nil {
		return err
	}
	return c.tweak.InitEncrypt(key[half:])
}

// Wipe erases all round keys. Using c afterwards without Init panics.
func (c *Cipher) Wipe() {
	c.data.Wipe()
	c.tweak.Wipe()
}

// EncryptUnits encrypts the data units of unitSize bytes that src holds into
// dst, which is src or does not overlap it. The IV of the first unit is *iv,
// which stays as it is; from unit to unit the little-endian number in bytes 0
// to 7 grows by one, and wraps without touching the other eight.
//
// unitSize is a multiple of 16, len(src) one of unitSize, and dst is at least
// as long as src; anything else is a caller's mistake and panics.
func (c *Cipher) EncryptUnits(dst, src []byte, unitSize int, iv *[16]byte) {
	c.check(dst, src, unitSize)
	if len(src) > 0 {
		encryptUnits(c, dst[:len(src)], src, unitSize, iv)
	}
}

// DecryptUnits undoes EncryptUnits, under the same conditions.
func (c *Cipher) DecryptUnits(dst, src []byte, unitSize int, iv *[16]byte) {
	c.check(dst, src, unitSize)
	if len(src) > 0 {
		decryptUnits(c, dst[:len(src)], src, unitSize, iv)
	}
}

func (c *Cipher) check(dst, src []byte, unitSize int) {
	switch {
	case c.data.Rounds() == 0:
		panic("xts: cipher without a key")
	case unitSize <= 0 || unitSize%blockSize != 0:
		panic("xts: data unit size is not a multiple of 16")
	case len(src)%unitSize != 0:
		panic("xts: input is not a whole number of data units")
	case len(dst) < len(src):
		panic("xts: destination is shorter than the input")
	case overlapInexactly(dst[:len(src)], src):
		panic("xts: destination overlaps the input, but is not the same")
	}
}

func overlapInexactly(dst, src []byte) bool {
	if len(src) == 0 {
		return false
	}
	d, s := uintptr(unsafe.Pointer(&dst[0])), uintptr(unsafe.Pointer(&src[0]))
	n := uintptr(len(src))
	return d != s && d < s+n && s < d+n
}
