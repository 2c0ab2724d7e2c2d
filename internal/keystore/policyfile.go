package keystore

import (
	"encoding/hex"
	"fmt"
	"math/bits"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// Fields of PolicyData, EncryptionOptions and WrappedPolicyKey.
const (
	numPolicyID      protowire.Number = 1
	numOptions       protowire.Number = 2
	numPolicyWrap    protowire.Number = 3 // repeated
	numPadding       protowire.Number = 1
	numContents      protowire.Number = 2
	numFilenames     protowire.Number = 3
	numPolicyVersion protowire.Number = 4
	numByProtector   protowire.Number = 1
	numPolicyKeyWrap protowire.Number = 2
)

// Options are what the metadata says of a policy besides its key. Flags other
// than padding cannot be said: fscrypt takes DIRECT_KEY where both modes are
// Adiantum, and no other flag, and it refuses a directory whose modes or
// padding differ from the metadata's.
type Options struct {
	Version   int // 1 or 2
	Contents  policy.Mode
	Filenames policy.Mode
	Padding   int // bytes: 4, 8, 16 or 32
}

// DefaultOptions are those of fscrypt: v2, AES-256-XTS and AES-256-CTS, names
// padded to 32 bytes.
func DefaultOptions() Options {
	return Options{2, policy.ModeAES256XTS, policy.ModeAES256CTS, 32}
}

func (o Options) check() error {
	switch {
	case o.Padding < 4 || o.Padding > 32 || bits.OnesCount(uint(o.Padding)) != 1:
		return fmt.Errorf("padding %d, want 4, 8, 16 or 32", o.Padding)
	case o.Version != 1 && o.Version != 2:
		return fmt.Errorf("policy version %d, want 1 or 2", o.Version)
	case o.Contents == 0 || o.Filenames == 0:
		return fmt.Errorf("contents mode %d, filenames mode %d", o.Contents, o.Filenames)
	}
	return nil
}

func parseOptions(m message) (Options, error) {
	contents, filenames := m.varint(numContents), m.varint(numFilenames)
	padding, version := m.varint(numPadding), m.varint(numPolicyVersion)
	if contents > 255 || filenames > 255 || padding > 32 || version > 2 {
		return Options{}, fmt.Errorf("options are padding %d, modes %d and %d, version %d", padding, contents, filenames, version)
	}
	// Files from before v2 policies have no version.
	o := Options{int(max(version, 1)), policy.Mode(contents), policy.Mode(filenames), int(padding)}
	return o, o.check()
}

func (o Options) bytes() []byte {
	var m message
	m.setVarint(numPadding, uint64(o.Padding))
	m.setVarint(numContents, uint64(o.Contents))
	m.setVarint(numFilenames, uint64(o.Filenames))
	m.setVarint(numPolicyVersion, uint64(o.Version))
	return m.bytes()
}

// id is how a policy with the key is called: by its v2 identifier or its v1
// descriptor.
func (o Options) id(k *crypt.MasterKey) string {
	if o.Version == 1 {
		return k.Descriptor().String()
	}
	return k.Identifier().String()
}

// Policy is what the metadata says about one policy. It is locked:
// Store.UnlockPolicy gives its key.
type Policy struct {
	ID      string // lower-case hex digits: 16 in v1, 32 in v2
	Options Options

	ino  image.Ino
	keys []wrappedPolicyKey
	msg  message
}

// wrappedPolicyKey is the policy's key under one protector.
type wrappedPolicyKey struct {
	protector string // its ID
	wrapped   wrapped
}

// String names the policy for messages.
func (p *Policy) String() string { return p.ID }

// Protectors are the IDs of those that can unlock the policy, in stored order.
func (p *Policy) Protectors() []string {
	ids := make([]string, len(p.keys))
	for i, k := range p.keys {
		ids[i] = k.protector
	}
	return ids
}

// ProtectedBy reports whether the protector with that ID can unlock the policy.
func (p *Policy) ProtectedBy(protector string) bool { return p.find(protector) >= 0 }

func (p *Policy) find(protector string) int {
	return slices.IndexFunc(p.keys, func(k wrappedPolicyKey) bool { return k.protector == protector })
}

// Policy is the policy as fscrypt would put it on a directory.
func (p *Policy) Policy() policy.Policy {
	pol := policy.Policy{
		Version:   uint8(p.Options.Version),
		Contents:  p.Options.Contents,
		Filenames: p.Options.Filenames,
		Flags:     uint8(bits.TrailingZeros(uint(p.Options.Padding)) - 2),
	}
	if pol.Contents == policy.ModeAdiantum && pol.Filenames == policy.ModeAdiantum {
		pol.Flags |= policy.FlagDirectKey
	}
	dst := pol.Identifier[:]
	if pol.Version == 1 {
		dst = pol.Descriptor[:]
	}
	if _, err := hex.Decode(dst, []byte(p.ID)); err != nil {
		panic(err) // parsePolicy and CreatePolicy let nothing but digits in
	}
	return pol
}

// parsePolicy reads PolicyData and checks it as fscrypt does. The result
// refers to b.
func parsePolicy(b []byte) (*Policy, error) {
	m, err := parseMessage(b)
	if err != nil {
		return nil, err
	}
	p := &Policy{ID: string(m.data(numPolicyID)), msg: m}
	options, err := m.sub(numOptions)
	if err != nil {
		return nil, err
	}
	if p.Options, err = parseOptions(options); err != nil {
		return nil, err
	}
	if want := p.Options.Version * 16; !isHex(p.ID, want) {
		return nil, fmt.Errorf("descriptor %q, want %d lower-case hex digits", p.ID, want)
	}
	for i, b := range m.all(numPolicyWrap) {
		k, err := parsePolicyKey(b)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		p.keys = append(p.keys, k)
	}
	return p, nil
}

func parsePolicyKey(b []byte) (wrappedPolicyKey, error) {
	m, err := parseMessage(b)
	if err != nil {
		return wrappedPolicyKey{}, err
	}
	k := wrappedPolicyKey{protector: string(m.data(numByProtector))}
	if !isHex(k.protector, protectorIDLen) {
		return k, fmt.Errorf("protector %q, want %d lower-case hex digits", k.protector, protectorIDLen)
	}
	w, err := m.sub(numPolicyKeyWrap)
	if err != nil {
		return k, err
	}
	k.wrapped, err = parseWrapped(w, policyKeySize)
	return k, err
}

// addKey appends the key wrapped by a protector.
func (p *Policy) addKey(k wrappedPolicyKey) {
	var m message
	m.setData(numByProtector, []byte(k.protector))
	m.setData(numPolicyKeyWrap, k.wrapped.into(nil))
	p.msg.add(numPolicyWrap, m.bytes())
	p.keys = append(p.keys, k)
}

// removeKey takes out the n-th wrapped key.
func (p *Policy) removeKey(n int) {
	p.msg.removeNth(numPolicyWrap, n)
	p.keys = slices.Delete(p.keys, n, n+1)
}
