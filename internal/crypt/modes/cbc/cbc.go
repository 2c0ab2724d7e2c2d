// Package cbc is AES-128-CBC over data units, with the IV made by ESSIV.
//
// The IV of a unit, 16 bytes, is encrypted with AES-256 under the SHA-256 of
// the key; the result is the CBC IV (SP 800-38A) of the unit. Units are
// multiples of 16 bytes. Nothing is authenticated, and who can write the image
// can flip chosen bits of a block at the price of noise in the one before.
//
// The tests hold it against crypto/cipher; the vectors, of xfstests'
// fscrypt-crypt-util, run through package crypt.
package cbc

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"fsenc/internal/crypt/modes/aesblk"
)

const (
	blockSize = aesblk.BlockSize
	lanes     = 8 // units that are done together
)

// KeySize is the size of a key in bytes.
const KeySize = 16

// ErrKeySize says that a key has not 16 bytes.
var ErrKeySize = errors.New("cbc-essiv key must be 16 bytes")

// Cipher encrypts and decrypts data units under one key. Several goroutines
// may use one at once.
type Cipher struct {
	data  aesblk.Schedule
	essiv aesblk.Schedule // encrypts IVs, never decrypts
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
	hashed := sha256.Sum256(key)
	defer clear(hashed[:])
	if err := c.data.Init(key); err != nil {
		return err
	}
	return c.essiv.InitEncrypt(hashed[:])
}

// Wipe erases all round keys. Using c afterwards without Init panics.
func (c *Cipher) Wipe() {
	c.data.Wipe()
	c.essiv.Wipe()
}

// EncryptUnits encrypts the data units of unitSize bytes that src holds into
// dst, which is src or does not overlap it. *iv is the IV of the first unit,
// before ESSIV, and stays; from unit to unit the le64 in its bytes 0 to 7 grows
// by one. unitSize is a multiple of 16 and len(src) one of unitSize.
func (c *Cipher) EncryptUnits(dst, src []byte, unitSize int, iv *[16]byte) {
	check(dst, src, unitSize)
	var ivs [lanes][blockSize]byte
	for next := *iv; len(src) > 0; {
		n := min(len(src), lanes*unitSize)
		c.makeIVs(&ivs, &next)
		if n == lanes*unitSize {
			c.data.CBCEncrypt8(dst[:n], src[:n], &ivs)
		} else {
			for i, off := 0, 0; off < n; i, off = i+1, off+unitSize {
				c.data.CBCEncrypt(dst[off:off+unitSize], src[off:off+unitSize], &ivs[i])
			}
		}
		dst, src = dst[n:], src[n:]
	}
}

// DecryptUnits undoes EncryptUnits, under the same conditions.
func (c *Cipher) DecryptUnits(dst, src []byte, unitSize int, iv *[16]byte) {
	check(dst, src, unitSize)
	var ivs [lanes][blockSize]byte
	for next := *iv; len(src) > 0; {
		n := min(len(src), lanes*unitSize)
		c.makeIVs(&ivs, &next)
		for i, off := 0, 0; off < n; i, off = i+1, off+unitSize {
			c.data.CBCDecrypt(dst[off:off+unitSize], src[off:off+unitSize], &ivs[i])
		}
		dst, src = dst[n:], src[n:]
	}
}

// makeIVs makes the CBC IVs of the next units and steps over them.
func (c *Cipher) makeIVs(ivs *[lanes][blockSize]byte, next *[blockSize]byte) {
	index := binary.LittleEndian.Uint64(next[:8])
	for i := range ivs {
		ivs[i] = *next
		binary.LittleEndian.PutUint64(ivs[i][:8], index+uint64(i))
	}
	binary.LittleEndian.PutUint64(next[:8], index+lanes)
	c.essiv.Encrypt8(ivs)
}

func check(dst, src []byte, unitSize int) {
	switch {
	case unitSize <= 0 || unitSize%blockSize != 0:
		panic("cbc: data unit size is not a multiple of 16")
	case len(src)%unitSize != 0:
		panic("cbc: input is not a whole number of data units")
	case len(dst) < len(src):
		panic("cbc: destination is shorter than the input")
	}
}
