package names

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	hashesSize = 8   // le32 hash, le32 minor hash
	inlineSize = 149 // of the ciphertext in a no-key name
	fullSize   = hashesSize + inlineSize + sha256.Size
	shownLimit = 252 // characters of fullSize bytes
)

// ErrNoKeyName is wrapped by errors about text that is no no-key name. The
// kernel answers ENOENT.
var ErrNoKeyName = errors.New("not a no-key name")

// The alphabet is base64url; bits of the last character that are not used must
// be zero.
var alphabet = base64.RawURLEncoding.Strict()

// NoKeyName is how an entry shows without the key: its two hashes, as the
// filesystem keeps or computes them, and its ciphertext, of which more than 149
// bytes are abbreviated by their SHA-256. The targets of symlinks have hashes 0.
func NoKeyName(hash, minor uint32, ct []byte) string {
	s := binary.LittleEndian.AppendUint32(make([]byte, 0, fullSize), hash)
	s = binary.LittleEndian.AppendUint32(s, minor)
	s = append(s, ct[:min(len(ct), inlineSize)]...)
	if len(ct) > inlineSize {
		rest := sha256.Sum256(ct[inlineSize:])
		s = append(s, rest[:]...)
	}
	return alphabet.EncodeToString(s)
}

// NoKey is a no-key name taken apart.
type NoKey struct {
	Hash, Minor uint32
	// Ciphertext is the whole ciphertext, or its first 149 bytes if Abbreviated.
	Ciphertext  []byte
	Abbreviated bool
	rest        [sha256.Size]byte
}

// ParseNoKeyName takes a no-key name apart. The error wraps ErrNoKeyName.
func ParseNoKeyName(name string) (NoKey, error) {
	if len(name) > shownLimit {
		return NoKey{}, fmt.Errorf("%w: %d characters", ErrNoKeyName, len(name))
	}
	// The decoder drops line ends, which a name may well hold.
	if bytes.ContainsAny([]byte(name), "\r\n") {
		return NoKey{}, fmt.Errorf("%w: holds a line end", ErrNoKeyName)
	}
	s, err := alphabet.DecodeString(name)
	if err != nil {
		return NoKey{}, fmt.Errorf("%w: %w", ErrNoKeyName, err)
	}
	if len(s) <= hashesSize || len(s) > hashesSize+inlineSize && len(s) != fullSize {
		return NoKey{}, fmt.Errorf("%w: stands for %d bytes", ErrNoKeyName, len(s))
	}
	n := NoKey{Hash: binary.LittleEndian.Uint32(s), Minor: binary.LittleEndian.Uint32(s[4:])}
	n.Ciphertext = s[hashesSize:min(len(s), hashesSize+inlineSize)]
	if len(s) == fullSize {
		n.Abbreviated = true
		copy(n.rest[:], s[hashesSize+inlineSize:])
	}
	return n, nil
}

// Matches reports whether the name stands for the ciphertext of an entry.
func (n NoKey) Matches(ct []byte) bool {
	if !n.Abbreviated {
		return bytes.Equal(n.Ciphertext, ct)
	}
	return len(ct) > inlineSize && bytes.Equal(n.Ciphertext, ct[:inlineSize]) &&
		n.rest == sha256.Sum256(ct[inlineSize:])
}

// String is the name again.
func (n NoKey) String() string {
	s := binary.LittleEndian.AppendUint32(make([]byte, 0, fullSize), n.Hash)
	s = binary.LittleEndian.AppendUint32(s, n.Minor)
	s = append(s, n.Ciphertext...)
	if n.Abbreviated {
		s = append(s, n.rest[:]...)
	}
	return alphabet.EncodeToString(s)
}
