// Package adiantum is Adiantum over data units and names.
//
// It is Adiantum of Crowley and Biggers (2018) with XChaCha12 and AES-256: keys
// and tweaks have 32 bytes, inputs 16 or more, and each bit of the output
// depends on each bit of the input. It does not authenticate, and equal inputs
// under equal tweaks have equal outputs. The cipher is lukechampine.com's. The
// tests use its vectors' source, github.com/google/adiantum; those of xfstests'
// fscrypt-crypt-util run through package crypt.
package adiantum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"lukechampine.com/adiantum"
	"lukechampine.com/adiantum/hbsh"

	"fsenc/internal/crypt/modes/erase"
)

// Sizes in bytes.
const (
	KeySize   = 32
	TweakSize = 32
	MinSize   = 16
)

// ErrKeySize says that a key has not 32 bytes.
var ErrKeySize = errors.New("adiantum key must be 32 bytes")

// Cipher encrypts and decrypts under one key. Several goroutines may use one
// at once.
type Cipher struct {
	key    [KeySize]byte // the library keeps a reference to it
	shared *hbsh.HBSH
	own    sync.Pool // *call, for one goroutine each
}

// call is what one call works in: a copy of the library's cipher, which holds a
// buffer for hashes, and the tweak.
type call struct {
	hbsh  hbsh.HBSH
	tweak [TweakSize]byte
}

// New makes a cipher of a key, which it does not keep. The error wraps
// ErrKeySize.
func New(key []byte) (*Cipher, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("%w, not %d", ErrKeySize, len(key))
	}
	c := &Cipher{key: [KeySize]byte(key)}
	c.shared = adiantum.New(c.key[:])
	c.own.New = func() any { return &call{hbsh: *c.shared} }
	return c, nil
}

// Wipe erases the key and all that was derived from it. Using c afterwards
// panics.
func (c *Cipher) Wipe() {
	if c.shared == nil {
		return
	}
	erase.Object(c.shared)
	clear(c.key[:])
	c.shared = nil
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
	c.units(dst, src, unitSize, tweak, (*hbsh.HBSH).Encrypt)
}

// DecryptUnits undoes EncryptUnits, under the same conditions.
func (c *Cipher) DecryptUnits(dst, src []byte, unitSize int, tweak *[TweakSize]byte) {
	c.units(dst, src, unitSize, tweak, (*hbsh.HBSH).Decrypt)
}

func (c *Cipher) units(dst, src []byte, unitSize int, tweak *[TweakSize]byte, f func(h *hbsh.HBSH, block, tweak []byte) []byte) {
	switch {
	case c.shared == nil:
		panic("adiantum: cipher was wiped")
	case unitSize < MinSize || len(src)%unitSize != 0 || len(dst) < len(src):
		panic("adiantum: wrong length")
	}
	own := c.own.Get().(*call)
	defer c.own.Put(own)
	own.tweak = *tweak
	for off := 0; off < len(src); off += unitSize {
		unit := dst[off : off+unitSize : off+unitSize]
		copy(unit, src[off:])
		f(&own.hbsh, unit, own.tweak[:])
		binary.LittleEndian.PutUint64(own.tweak[:8], binary.LittleEndian.Uint64(own.tweak[:8])+1)
	}
}
