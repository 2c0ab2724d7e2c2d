// Package sm4xts is SM4-XTS over data units.
//
// The tweak is doubled as IEEE 1619 does, not as the Chinese standard GB/T
// 17964 would have it: that is what the kernel's xts(sm4) does. Units are
// multiples of 16 bytes, so nothing is stolen. The block cipher is gmsm's,
// which takes many blocks a call where the processor helps. What the mode does
// not give is said in package xts. The vectors, from OpenSSL's SM4 and x/crypto's
// XTS, run through package crypt.
package sm4xts

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	gmcipher "github.com/emmansun/gmsm/cipher"
	"github.com/emmansun/gmsm/sm4"

	"fsenc/internal/crypt/modes/erase"
)

const blockSize = sm4.BlockSize

// KeySize is the size of a key in bytes: two SM4 keys.
const KeySize = 32

var (
	// ErrKeySize says that a key has not 32 bytes.
	ErrKeySize = errors.New("sm4-xts key must be 32 bytes")
	// ErrWeakKey says that the halves of a key are equal; the kernel refuses it.
	ErrWeakKey = errors.New("the halves of the sm4-xts key are equal")
)

// Cipher encrypts and decrypts data units under one key. Several goroutines
// may use one at once.
type Cipher struct {
	data, tweak cipher.Block
	// ECB over data, which keeps no state: the library's way to many blocks.
	encrypter, decrypter cipher.BlockMode
}

// New makes a cipher of a key, which it does not keep. The error wraps
// ErrKeySize or ErrWeakKey.
func New(key []byte) (*Cipher, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("%w, not %d", ErrKeySize, len(key))
	}
	half := KeySize / 2
	if subtle.ConstantTimeCompare(key[:half], key[half:]) == 1 {
		return nil, ErrWeakKey
	}
	data, err := sm4.NewCipher(key[:half])
	if err != nil {
		return nil, err
	}
	tweak, err := sm4.NewCipher(key[half:])
	if err != nil {
		return nil, err
	}
	return &Cipher{data, tweak, gmcipher.NewECBEncrypter(data), gmcipher.NewECBDecrypter(data)}, nil
}

// Wipe erases all round keys. Using c afterwards panics.
func (c *Cipher) Wipe() {
	for _, o := range []any{c.data, c.tweak, c.encrypter, c.decrypter} {
		if o != nil {
			erase.Object(o)
		}
	}
	*c = Cipher{}
}

// EncryptUnits encrypts the data units of unitSize bytes that src holds into
// dst, which is src or does not overlap it. *iv is the IV of the first unit and
// stays; from unit to unit the le64 in its bytes 0 to 7 grows by one. unitSize
// is a multiple of 16 and len(src) one of unitSize.
func (c *Cipher) EncryptUnits(dst, src []byte, unitSize int, iv *[16]byte) {
	c.units(dst, src, unitSize, iv, c.encrypter)
}

// DecryptUnits undoes EncryptUnits, under the same conditions.
func (c *Cipher) DecryptUnits(dst, src []byte, unitSize int, iv *[16]byte) {
	c.units(dst, src, unitSize, iv, c.decrypter)
}

func (c *Cipher) units(dst, src []byte, unitSize int, iv *[16]byte, ecb cipher.BlockMode) {
	check(dst, src, unitSize)
	s := scratches.Get().(*scratch)
	defer s.release()
	s.iv = *iv
	for off := 0; off < len(src); off += unitSize {
		c.tweak.Encrypt(s.first[:], s.iv[:])
		unit(s, dst[off:off+unitSize], src[off:off+unitSize], ecb)
		binary.LittleEndian.PutUint64(s.iv[:8], binary.LittleEndian.Uint64(s.iv[:8])+1)
	}
}

// unit encrypts or decrypts one data unit whose first tweak is s.first.
func unit(s *scratch, dst, src []byte, ecb cipher.BlockMode) {
	lo, hi := binary.LittleEndian.Uint64(s.first[:8]), binary.LittleEndian.Uint64(s.first[8:])
	for len(src) > 0 {
		n := min(len(src), len(s.tweaks))
		for in, out, t := src[:n], dst[:n], s.tweaks[:n]; len(t) >= blockSize; {
			binary.LittleEndian.PutUint64(t, lo)
			binary.LittleEndian.PutUint64(t[8:], hi)
			binary.LittleEndian.PutUint64(out, binary.LittleEndian.Uint64(in)^lo)
			binary.LittleEndian.PutUint64(out[8:], binary.LittleEndian.Uint64(in[8:])^hi)
			lo, hi = lo<<1^uint64(int64(hi)>>63)&0x87, hi<<1|lo>>63
			in, out, t = in[blockSize:], out[blockSize:], t[blockSize:]
		}
		ecb.CryptBlocks(dst[:n], dst[:n])
		subtle.XORBytes(dst[:n], dst[:n], s.tweaks[:n])
		dst, src = dst[n:], src[n:]
	}
}

func check(dst, src []byte, unitSize int) {
	switch {
	case unitSize <= 0 || unitSize%blockSize != 0:
		panic("sm4xts: data unit size is not a multiple of 16")
	case len(src)%unitSize != 0:
		panic("sm4xts: input is not a whole number of data units")
	case len(dst) < len(src):
		panic("sm4xts: destination is shorter than the input")
	}
}

// scratch is what one call works in; on the stack it would escape into the
// block cipher's methods.
type scratch struct {
	iv, first [blockSize]byte
	tweaks    [512]byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) release() {
	*s = scratch{}
	scratches.Put(s)
}
