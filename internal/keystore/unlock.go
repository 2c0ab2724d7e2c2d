package keystore

import (
	"encoding/hex"
	"fmt"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/kdf"
	"fsenc/internal/image"
	"fsenc/internal/secret"
)

// Unlocked is a protector with its key. Wipe it after use.
type Unlocked struct {
	*Protector
	key *secret.Buffer
}

// Wipe erases the key.
func (u *Unlocked) Wipe() {
	if u != nil {
		u.key.Wipe()
	}
}

// NewPolicyKey makes a random master key of the size that metadata can keep.
func NewPolicyKey() (*crypt.MasterKey, error) {
	raw, err := secret.Random(policyKeySize)
	if err != nil {
		return nil, err
	}
	defer raw.Wipe()
	return crypt.NewMasterKey(raw.Bytes())
}

// UnlockProtector opens a protector with its passphrase, bytes as typed, or
// its raw key. The error wraps ErrWrongSecret if that is not it, and ErrCosts
// if the hashing would take more than s.Limits allows.
func (s *Store) UnlockProtector(p *Protector, passphraseOrKey []byte) (*Unlocked, error) {
	wrapping, err := s.wrappingKey(p, passphraseOrKey)
	if err != nil {
		return nil, fmt.Errorf("protector %v: %w", p, err)
	}
	defer wrapping.Wipe()
	key, err := p.wrapped.unwrap(wrapping.Bytes())
	if err != nil {
		return nil, fmt.Errorf("protector %v: %w", p, err)
	}
	return &Unlocked{p, key}, nil
}

// wrappingKey makes the key that a protector's own key is wrapped by.
func (s *Store) wrappingKey(p *Protector, passphraseOrKey []byte) (*secret.Buffer, error) {
	if p.Source.Passphrase() {
		if err := s.Limits.allow(p.Costs); err != nil {
			return nil, err
		}
		return p.Costs.hash(passphraseOrKey, p.salt)
	}
	if len(passphraseOrKey) != RawKeySize {
		return nil, fmt.Errorf("%w: a raw key has %d bytes, not %d", ErrWrongSecret, RawKeySize, len(passphraseOrKey))
	}
	b, err := secret.Alloc(RawKeySize)
	if err != nil {
		return nil, err
	}
	copy(b.Bytes(), passphraseOrKey)
	return b, nil
}

// UnlockPolicy returns the master key of a policy. The error wraps ErrNotFound
// if the protector is not one of the policy, and image.ErrCorrupt if the
// policy was not wrapped by it or holds the key of another.
func (s *Store) UnlockPolicy(p *Policy, by *Unlocked) (*crypt.MasterKey, error) {
	i := p.find(by.ID)
	if i < 0 {
		return nil, fmt.Errorf("policy %s: protector %v: %w", p.ID, by.Protector, ErrNotFound)
	}
	raw, err := p.keys[i].wrapped.unwrap(by.key.Bytes())
	if err != nil {
		return nil, p.corrupt("its key is not wrapped by protector %v: %v", by.Protector, err)
	}
	defer raw.Wipe()
	key, err := crypt.NewMasterKey(raw.Bytes())
	if err != nil {
		return nil, err
	}
	if id := p.Options.id(key); id != p.ID {
		key.Wipe()
		return nil, p.corrupt("it holds the key of policy %s", id)
	}
	return key, nil
}

func (p *Policy) corrupt(format string, args ...any) error {
	return fmt.Errorf("policy %s: %w", p.ID, &image.CorruptError{What: "policy file", Ino: p.ino, Why: fmt.Sprintf(format, args...)})
}

// protectorID is the descriptor of a protector's key.
func protectorID(key []byte) string {
	d := kdf.V1Descriptor(key)
	return hex.EncodeToString(d[:])
}
