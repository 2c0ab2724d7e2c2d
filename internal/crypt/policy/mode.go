package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Mode is the number of an encryption mode as it stands in a context.
type Mode uint8

// The modes of linux/fscrypt.h. Numbers 7 and 8 once meant Speck.
const (
	ModeAES256XTS   Mode = 1
	ModeAES256CTS   Mode = 4
	ModeAES128CBC   Mode = 5
	ModeAES128CTS   Mode = 6
	ModeSM4XTS      Mode = 7
	ModeSM4CTS      Mode = 8
	ModeAdiantum    Mode = 9
	ModeAES256HCTR2 Mode = 10
)

// MaxKeySize is the key size of the mode with the longest keys, in bytes.
const MaxKeySize = 64

// MaxIVSize is the IV size of the mode with the longest IVs, in bytes.
const MaxIVSize = 32

type modeFacts struct {
	name              string
	key, strength, iv int // bytes
}

var modes = [...]modeFacts{
	ModeAES256XTS:   {"AES-256-XTS", 64, 32, 16},
	ModeAES256CTS:   {"AES-256-CTS", 32, 32, 16},
	ModeAES128CBC:   {"AES-128-CBC", 16, 16, 16},
	ModeAES128CTS:   {"AES-128-CTS", 16, 16, 16},
	ModeSM4XTS:      {"SM4-XTS", 32, 16, 16},
	ModeSM4CTS:      {"SM4-CTS", 16, 16, 16},
	ModeAdiantum:    {"Adiantum", 32, 32, 32},
	ModeAES256HCTR2: {"AES-256-HCTR2", 32, 32, 32},
}

func (m Mode) facts() modeFacts {
	if int(m) >= len(modes) {
		return modeFacts{}
	}
	return modes[m]
}

// Known reports whether m is the number of a mode.
func (m Mode) Known() bool { return m.facts().name != "" }

// KeySize is the size of the cipher's key in bytes, 0 for an unknown mode.
func (m Mode) KeySize() int { return m.facts().key }

// Strength is how many bytes of master key a v2 policy wants for the mode, 0
// for an unknown mode.
func (m Mode) Strength() int { return m.facts().strength }

// IVSize is the size of the IV in bytes, 16 or 32, 0 for an unknown mode.
func (m Mode) IVSize() int { return m.facts().iv }

// String gives the name that fscryptctl uses, or "mode 3" for an unknown one.
func (m Mode) String() string {
	if !m.Known() {
		return fmt.Sprintf("mode %d", uint8(m))
	}
	return m.facts().name
}

// ParseMode is the inverse of String for known modes; case does not matter.
func ParseMode(s string) (Mode, error) {
	for m, f := range modes {
		if f.name != "" && strings.EqualFold(f.name, s) {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("%w: unknown mode %q", ErrInvalid, s)
}

// Pair is a combination of modes that the kernel takes.
type Pair struct {
	Contents, Filenames Mode
	V2Only              bool
}

var pairs = []Pair{
	{ModeAES256XTS, ModeAES256CTS, false},
	{ModeAES128CBC, ModeAES128CTS, false},
	{ModeAdiantum, ModeAdiantum, false},
	{ModeAES256XTS, ModeAES256HCTR2, true},
	{ModeSM4XTS, ModeSM4CTS, true},
}

// Pairs lists the combinations of modes that the kernel takes.
func Pairs() []Pair { return slices.Clone(pairs) }

func validPair(version uint8, contents, filenames Mode) bool {
	return slices.ContainsFunc(pairs, func(p Pair) bool {
		return p.Contents == contents && p.Filenames == filenames && (version == 2 || !p.V2Only)
	})
}
