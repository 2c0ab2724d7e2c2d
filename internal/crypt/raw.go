package crypt

import (
	"errors"
	"fmt"
	"io"

	"fsenc/internal/crypt/policy"
)

// RawIV is the IV of a data unit or name, of which a mode takes the first 16 or
// 32 bytes.
type RawIV [policy.MaxIVSize]byte

// IV is the IV of a data unit of the inode ino; for names the index is 0. Of the
// context the flags and the nonce count, and nothing is checked.
func (k *MasterKey) IV(c policy.Context, ino, index uint64) RawIV {
	rule := k.ivRule(&c, ino)
	return RawIV(rule.at(index))
}

// Raw is a mode under a key of its own, whatever a policy would use it for: for
// tests of the modes by themselves. It is for one goroutine.
type Raw struct {
	mode  policy.Mode
	units unitCipher // one of the two
	names nameCipher
}

// NewRaw prepares a mode with a key of the mode's key size, which it does not
// keep. The error wraps ErrKeySize, ErrWeakKey, or policy.ErrInvalid for an
// unknown mode.
func NewRaw(m policy.Mode, key []byte) (*Raw, error) {
	r := &Raw{mode: m}
	c, err := newNameCipher(m) // takes any length, where there are two
	if err != nil {
		c, err = newUnitCipher(m)
	}
	if err != nil {
		return nil, err
	}
	if len(key) != m.KeySize() {
		return nil, fmt.Errorf("%w: %d bytes, %v has %d", ErrKeySize, len(key), m, m.KeySize())
	}
	if err := c.init(key); err != nil {
		return nil, err
	}
	r.names, _ = c.(nameCipher)
	r.units, _ = c.(unitCipher)
	return r, nil
}

// ErrUnitSize says that a mode takes no data unit of such a size.
var ErrUnitSize = errors.New("data unit of wrong size")

// Check tells whether the mode takes a data unit of size bytes: all take 16 and
// more, XTS and CBC multiples of it only. The error wraps ErrUnitSize.
func (r *Raw) Check(size int) error {
	if size < unitAlign || r.names == nil && size%unitAlign != 0 {
		return fmt.Errorf("%w: %d bytes with %v", ErrUnitSize, size, r.mode)
	}
	return nil
}

// Encrypt encrypts one data unit in place. A size that Check refuses panics.
func (r *Raw) Encrypt(unit []byte, v *RawIV) {
	if r.names != nil {
		r.names.encrypt(unit, (*iv)(v))
		return
	}
	r.units.encrypt(unit, unit, len(unit), iv(*v))
}

// Decrypt undoes Encrypt.
func (r *Raw) Decrypt(unit []byte, v *RawIV) {
	if r.names != nil {
		r.names.decrypt(unit, (*iv)(v))
		return
	}
	r.units.decrypt(unit, unit, len(unit), iv(*v))
}

// Close wipes all that depends on the key.
func (r *Raw) Close() {
	if r.names != nil {
		r.names.wipe()
		return
	}
	r.units.wipe()
}

// Format keeps round keys out of whatever is printed.
func (Raw) Format(s fmt.State, _ rune) { io.WriteString(s, "[raw cipher]") }
