package crypt

import (
	"fmt"

	"fsenc/internal/crypt/policy"
)

// RawIV is the IV of data unit 0, of which a mode takes the first 16 or 32
// bytes; the le64 in bytes 0 to 7 grows by one from unit to unit.
type RawIV [policy.MaxIVSize]byte

// RawContents is a contents cipher of a cipher's own key, of the mode's key
// size, and an IV: for tests of the modes by themselves. It does not keep key.
// The error wraps ErrKeySize, or policy.ErrInvalid if m is no contents mode or
// unitSize no multiple of 16 bytes.
func RawContents(m policy.Mode, key []byte, unitSize int, v RawIV) (*Contents, error) {
	if unitSize <= 0 || unitSize%unitAlign != 0 {
		return nil, fmt.Errorf("%w: data units of %d bytes", policy.ErrInvalid, unitSize)
	}
	f := &Contents{unitSize: unitSize, blockSize: unitSize, iv: ivRule{base: iv(v), raw: true}}
	if err := f.slot.loadRaw(m, key, newUnitCipher); err != nil {
		return nil, err
	}
	f.cipher = f.slot.cipher.(unitCipher)
	return f, nil
}

// RawNames is RawContents for a filenames mode; pad is the padding in bytes, 4
// to 32. Its DirHash has a key of zeros.
func RawNames(m policy.Mode, key []byte, pad int, v RawIV) (*Names, error) {
	if pad < 4 || pad > 32 || pad&(pad-1) != 0 {
		return nil, fmt.Errorf("%w: padding of %d bytes", policy.ErrInvalid, pad)
	}
	n := &Names{pad: pad, iv: iv(v)}
	if err := n.slot.loadRaw(m, key, newNameCipher); err != nil {
		return nil, err
	}
	n.cipher = n.slot.cipher.(nameCipher)
	return n, nil
}

func (k *keySlot) loadRaw(m policy.Mode, key []byte, create newKeyed) error {
	c, err := create(m)
	if err != nil {
		return err
	}
	if len(key) != m.KeySize() {
		return fmt.Errorf("%w: %d bytes, %v has %d", ErrKeySize, len(key), m, m.KeySize())
	}
	if err := c.init(key); err != nil {
		return err
	}
	k.spec.mode, k.cipher = m, c
	return nil
}
