package crypt

import (
	"errors"
	"fmt"
	"io"

	"fsenc/internal/crypt/kdf"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/secret"
)

// Sizes of raw master keys in bytes.
const (
	MinKeySize = 16
	MaxKeySize = 64
)

var (
	// ErrNoKey says that no key at hand is that of a policy.
	ErrNoKey = errors.New("no key for this policy")
	// ErrWrongKey says that a key is not the one which a policy names.
	ErrWrongKey = errors.New("wrong key for this policy")
	// ErrKeySize says that a key is too short, for any use or for a mode, or
	// too long.
	ErrKeySize = errors.New("key of wrong size")
	// ErrWeakKey says that an XTS key has two equal halves, as a v1 policy gives
	// it for a master key that repeats itself. The kernel refuses it.
	ErrWeakKey = errors.New("weak key")
)

// MasterKey is a raw master key of 16 to 64 bytes, with what can be derived
// from it once and for all, in locked memory. Hold it by pointer: fmt prints a
// key held by value inside another struct without asking Format. Several
// goroutines may use one key at once, but none while Wipe runs or afterwards.
type MasterKey struct {
	mem        *secret.Buffer
	raw        []byte // as the user gave it
	inline     []byte // hardware-wrapped keys: the key of all contents
	hkdf       *kdf.Expander
	inodeHash  kdf.SipKey // for IV_INO_LBLK_32
	identifier policy.Identifier
	descriptor policy.Descriptor
}

// Layout of a key's locked memory.
const (
	offRaw      = 0
	offSoftware = offRaw + MaxKeySize
	offInline   = offSoftware + kdf.SoftwareSecretSize
	offExpander = offInline + kdf.InlineKeySize
	keyMemory   = offExpander + kdf.ExpanderSize
)

// NewMasterKey takes over a raw key: it copies raw to locked memory and clears
// raw, also when it returns an error. The error wraps ErrKeySize unless memory
// is short.
func NewMasterKey(raw []byte) (*MasterKey, error) {
	defer clear(raw)
	if len(raw) < MinKeySize || len(raw) > MaxKeySize {
		return nil, fmt.Errorf("%w: master key of %d bytes, want %d to %d", ErrKeySize, len(raw), MinKeySize, MaxKeySize)
	}
	k, err := allocKey(raw)
	if err != nil {
		return nil, err
	}
	secretly(func() { k.prepare(k.raw, kdf.KeyIdentifier) })
	return k, nil
}

// NewHardwareKey is NewMasterKey for a hardware-wrapped key in its raw form of
// 32 bytes, before wrapping. Such a key serves v2 policies with one of the
// IV_INO_LBLK flags only.
func NewHardwareKey(raw []byte) (*MasterKey, error) {
	defer clear(raw)
	if len(raw) != kdf.HardwareKeySize {
		return nil, fmt.Errorf("%w: hardware-wrapped key of %d bytes, want its %d raw ones", ErrKeySize, len(raw), kdf.HardwareKeySize)
	}
	k, err := allocKey(raw)
	if err != nil {
		return nil, err
	}
	mem := k.mem.Bytes()
	software := mem[offSoftware:offInline]
	k.inline = mem[offInline:offExpander]
	secretly(func() {
		key := (*[kdf.HardwareKeySize]byte)(k.raw)
		kdf.SoftwareSecret((*[kdf.SoftwareSecretSize]byte)(software), key)
		kdf.InlineKey((*[kdf.InlineKeySize]byte)(k.inline), key)
		k.prepare(software, kdf.HardwareKeyIdentifier)
	})
	return k, nil
}

func allocKey(raw []byte) (*MasterKey, error) {
	mem, err := secret.Alloc(keyMemory)
	if err != nil {
		return nil, fmt.Errorf("memory for a master key: %w", err)
	}
	k := &MasterKey{mem: mem, raw: mem.Bytes()[offRaw : offRaw+len(raw) : offRaw+MaxKeySize]}
	copy(k.raw, raw)
	return k, nil
}

func (k *MasterKey) prepare(input []byte, identifier kdf.Purpose) {
	k.hkdf = kdf.NewExpander(k.mem.Bytes()[offExpander:], input)
	k.hkdf.Expand(k.identifier[:], identifier, nil)
	k.descriptor = kdf.V1Descriptor(k.raw)
	var sip [16]byte
	k.hkdf.Expand(sip[:], kdf.InodeHashKey, nil)
	k.inodeHash = kdf.NewSipKey(&sip)
	clear(sip[:])
}

// Identifier names the key in v2 policies.
func (k *MasterKey) Identifier() policy.Identifier { return k.identifier }

// Descriptor names the key in v1 policies by the custom of google/fscrypt and
// e4crypt. Others choose other descriptors, so it proves nothing.
func (k *MasterKey) Descriptor() policy.Descriptor { return k.descriptor }

// Hardware reports whether k came from NewHardwareKey.
func (k *MasterKey) Hardware() bool { return k.inline != nil }

// Matches reports whether the policy names this key: for v2 that is proof, for
// v1 a custom.
func (k *MasterKey) Matches(p policy.Policy) bool {
	if p.Version == 1 {
		return !k.Hardware() && p.Descriptor == k.descriptor
	}
	return p.Identifier == k.identifier
}

// Raw is a view of the key's bytes in locked memory, to wrap or export them.
func (k *MasterKey) Raw() []byte { return k.raw }

// Wipe erases the key and what was derived from it, and gives its memory back.
// Ciphers made of it go on working until they are closed.
func (k *MasterKey) Wipe() {
	if k == nil || k.mem == nil {
		return
	}
	k.mem.Wipe()
	*k = MasterKey{identifier: k.identifier, descriptor: k.descriptor}
}

// Format keeps the key out of whatever is printed.
func (MasterKey) Format(s fmt.State, _ rune) { io.WriteString(s, "[master key]") }
