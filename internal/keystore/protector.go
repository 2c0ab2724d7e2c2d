package keystore

import (
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"fsenc/internal/image"
)

// Source is where the secret of a protector comes from.
type Source uint8

// The sources, numbered as in the files.
const (
	SourceLogin      Source = 1 // the login passphrase of a user, by PAM
	SourcePassphrase Source = 2
	SourceRawKey     Source = 3 // 32 bytes, from a file
)

// String returns the name that fscrypt's command line uses.
func (s Source) String() string {
	switch s {
	case SourceLogin:
		return "pam_passphrase"
	case SourcePassphrase:
		return "custom_passphrase"
	case SourceRawKey:
		return "raw_key"
	}
	return fmt.Sprintf("source %d", uint8(s))
}

// Passphrase reports whether the secret is hashed.
func (s Source) Passphrase() bool { return s == SourceLogin || s == SourcePassphrase }

// RawKeySize is the size of a raw key in bytes.
const RawKeySize = wrappingKeySize

// Fields of ProtectorData.
const (
	numProtectorID   protowire.Number = 1
	numSource        protowire.Number = 2
	numName          protowire.Number = 3
	numCosts         protowire.Number = 4
	numSalt          protowire.Number = 5
	numUID           protowire.Number = 6
	numProtectorWrap protowire.Number = 7
)

// Protector is what the metadata says about one protector. It is locked:
// Store.UnlockProtector gives its key.
type Protector struct {
	ID     string // 16 lower-case hex digits
	Source Source
	Name   string // empty for login protectors
	UID    int64  // of the user, login protectors only
	Costs  Costs  // of hashing, passphrases only

	ino     image.Ino
	salt    []byte
	wrapped wrapped
	msg     message
}

// String names the protector for messages.
func (p *Protector) String() string {
	switch {
	case p.Source == SourceLogin:
		return fmt.Sprintf("%s (login of uid %d)", p.ID, p.UID)
	case p.Name != "":
		return fmt.Sprintf("%s (%q)", p.ID, p.Name)
	}
	return p.ID
}

// parseProtector reads ProtectorData and checks it as fscrypt does. The result
// refers to b.
func parseProtector(b []byte) (*Protector, error) {
	m, err := parseMessage(b)
	if err != nil {
		return nil, err
	}
	p := &Protector{
		ID:   string(m.data(numProtectorID)),
		Name: string(m.data(numName)),
		UID:  int64(m.varint(numUID)),
		salt: m.data(numSalt),
		msg:  m,
	}
	if source := m.varint(numSource); source < 1 || source > 3 {
		return nil, fmt.Errorf("source %d, want 1 to 3", source)
	}
	p.Source = Source(m.varint(numSource))
	if !isHex(p.ID, protectorIDLen) {
		return nil, fmt.Errorf("descriptor %q, want %d lower-case hex digits", p.ID, protectorIDLen)
	}
	if !utf8.ValidString(p.Name) {
		return nil, fmt.Errorf("name %q is not UTF-8", p.Name)
	}
	if p.Source.Passphrase() {
		if err := p.parseHashing(); err != nil {
			return nil, err
		}
	}
	if p.Source == SourceLogin && (p.UID < 0 || p.UID > math.MaxUint32) {
		return nil, fmt.Errorf("uid %d", p.UID)
	}
	w, err := m.sub(numProtectorWrap)
	if err != nil {
		return nil, err
	}
	p.wrapped, err = parseWrapped(w, protectorKeySize)
	return p, err
}

func (p *Protector) parseHashing() error {
	m, err := p.msg.sub(numCosts)
	if err != nil {
		return err
	}
	p.Costs = parseCosts(m)
	if err := p.Costs.check(); err != nil {
		return err
	}
	if len(p.salt) != saltSize {
		return fmt.Errorf("salt of %d bytes, want %d", len(p.salt), saltSize)
	}
	return nil
}

// encode writes all fields over the message that p was read from, and returns
// the contents of its file.
func (p *Protector) encode() ([]byte, error) {
	p.msg.setData(numProtectorID, []byte(p.ID))
	p.msg.setVarint(numSource, uint64(p.Source))
	p.msg.setData(numName, []byte(p.Name))
	if p.Source.Passphrase() {
		costs, err := p.msg.sub(numCosts)
		if err != nil {
			return nil, err
		}
		p.msg.setData(numCosts, p.Costs.into(costs))
		p.msg.setData(numSalt, p.salt)
	}
	p.msg.setVarint(numUID, uint64(p.UID))
	w, err := p.msg.sub(numProtectorWrap)
	if err != nil {
		return nil, err
	}
	p.msg.setData(numProtectorWrap, p.wrapped.into(w))
	return p.msg.bytes(), nil
}

// protectorIDLen is the length of a protector's descriptor in hex digits.
const protectorIDLen = 16

// isHex reports whether s is n lower-case hex digits.
func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
