package crypt

import (
	"fmt"
	"math/bits"
	"sync"

	"fsenc/internal/crypt/kdf"
	"fsenc/internal/crypt/policy"
)

// Volume is what of a filesystem enters the derivation of keys and IVs.
type Volume struct {
	UUID      [16]byte // as in the superblock
	BlockSize int      // bytes
}

// use is what a key is for.
type use uint8

const (
	forContents  use = iota // of a regular file
	forNames                // in a directory, or a symlink's target
	forInline               // contents kept inside metadata
	forExtent               // contents of one extent
	forOldExtent            // the same, see policy.ExtentContext
)

// keySpec says which derived key is wanted. Equal specs give equal keys, so it
// is also what prepared ciphers are found by.
type keySpec struct {
	key     *MasterKey
	purpose kdf.Purpose // 0: v1, or the inline key of a hardware-wrapped key
	mode    policy.Mode
	names   bool         // for names, not contents: the mode may serve both
	direct  bool         // v1: the master key itself
	nonce   policy.Nonce // where the derivation takes it
	uuid    [16]byte     // where the derivation takes it
}

// spec checks that k may serve the context for such a use, and says with
// which derived key. The error wraps policy.ErrInvalid, ErrWrongKey or
// ErrKeySize.
func (k *MasterKey) spec(c *policy.Context, u use, v *Volume) (keySpec, error) {
	if err := c.Validate(leastCaps(v)); err != nil {
		return keySpec{}, err
	}
	s := keySpec{key: k, mode: c.Contents, names: u == forNames}
	if s.names {
		s.mode = c.Filenames
	}
	if err := k.checkUse(c, s.mode); err != nil {
		return keySpec{}, err
	}
	method := c.Method()
	switch {
	case c.Version == 1:
		s.direct = method == policy.DirectKey
		if !s.direct {
			s.nonce = c.Nonce
		}
	case k.Hardware() && u == forContents:
	case u == forExtent:
		s.purpose, s.nonce = kdf.PerExtentKey, c.Nonce
	case u == forOldExtent:
		s.purpose, s.nonce = kdf.OldExtentKey, c.Nonce
	case method == policy.DirectKey:
		s.purpose = kdf.DirectKey
	case method == policy.IVInoLblk64:
		s.purpose, s.uuid = kdf.IVInoLblk64Key, v.UUID
	case method == policy.IVInoLblk32:
		s.purpose, s.uuid = kdf.IVInoLblk32Key, v.UUID
	default:
		s.purpose, s.nonce = kdf.PerFileKey, c.Nonce
	}
	return s, nil
}

// leastCaps leaves out the rules that need to know more of the filesystem: the
// ciphers work for every policy that some filesystem takes.
func leastCaps(v *Volume) policy.Caps {
	return policy.Caps{BlockBits: bits.Len(uint(v.BlockSize)) - 1, SubBlockUnits: true, StableInodes: true, Ino32: true}
}

func (k *MasterKey) checkUse(c *policy.Context, m policy.Mode) error {
	if k.mem == nil {
		panic("crypt: master key was wiped")
	}
	if c.Version == 2 && c.Identifier != k.identifier {
		return fmt.Errorf("%w: key %v, policy names %v", ErrWrongKey, k.identifier, c.Identifier)
	}
	if k.Hardware() {
		if lblk := c.Method() == policy.IVInoLblk64 || c.Method() == policy.IVInoLblk32; c.Version == 1 || !lblk {
			return fmt.Errorf("%w: hardware-wrapped keys need v2 and IV_INO_LBLK_64 or IV_INO_LBLK_32", policy.ErrInvalid)
		}
		return nil
	}
	if least := c.MinKeySize(m); len(k.raw) < least {
		return fmt.Errorf("%w: master key of %d bytes, v%d with %v needs %d", ErrKeySize, len(k.raw), c.Version, m, least)
	}
	return nil
}

// derive fills dst with the key; its length is the mode's key size.
func (s *keySpec) derive(dst []byte) {
	switch {
	case s.purpose != 0:
		var info [kdf.MaxInfo]byte
		s.key.hkdf.Expand(dst, s.purpose, s.info(&info))
	case s.key.Hardware():
		copy(dst, s.key.inline)
	case s.direct:
		copy(dst, s.key.raw)
	default:
		kdf.V1(dst, s.key.raw, (*[16]byte)(&s.nonce))
	}
}

func (s *keySpec) info(buf *[kdf.MaxInfo]byte) []byte {
	switch s.purpose {
	case kdf.DirectKey:
		return append(buf[:0], byte(s.mode))
	case kdf.IVInoLblk64Key, kdf.IVInoLblk32Key:
		return append(append(buf[:0], byte(s.mode)), s.uuid[:]...)
	default:
		return append(buf[:0], s.nonce[:]...)
	}
}

// derived is room for a derived key; on the stack it would escape into the
// modes' methods.
type derived [policy.MaxKeySize]byte

var deriveds = sync.Pool{New: func() any { return new(derived) }}

// prepare derives the key and gives it to the cipher, whatever that held.
func (s *keySpec) prepare(c keyed) (err error) {
	d := deriveds.Get().(*derived)
	key := d[:s.mode.KeySize()]
	secretly(func() {
		s.derive(key)
		err = c.init(key)
	})
	clear(d[:])
	deriveds.Put(d)
	return err
}
