package policy

import "fmt"

// Sizes of a stored extent context in bytes; what lies past 34 is ignored.
const (
	ExtentContextSize = 34
	maxExtentContext  = 40
)

// ExtentContext is what lies on disk with an encrypted extent of btrfs, as
// proposed in May 2026.
type ExtentContext struct {
	Version    uint8 // 1
	Mode       Mode  // the file's contents mode
	Identifier Identifier
	Nonce      Nonce

	// Old is not stored: the key is derived as series v5 of January 2024 did.
	Old bool
}

// ParseExtentContext reads a stored extent context of 34 to 40 bytes. The error
// wraps ErrContext.
func ParseExtentContext(b []byte) (ExtentContext, error) {
	if len(b) < ExtentContextSize || len(b) > maxExtentContext {
		return ExtentContext{}, fmt.Errorf("%w: extent context of %d bytes", ErrContext, len(b))
	}
	if b[0] != 1 {
		return ExtentContext{}, fmt.Errorf("%w: extent context of version %d", ErrContext, b[0])
	}
	return ExtentContext{Version: b[0], Mode: Mode(b[1]), Identifier: Identifier(b[2:18]), Nonce: Nonce(b[18:34])}, nil
}

// Bytes is the stored form, 34 bytes.
func (e ExtentContext) Bytes() []byte {
	b := append([]byte{e.Version, byte(e.Mode)}, e.Identifier[:]...)
	return append(b, e.Nonce[:]...)
}

// Check tells whether the extent belongs to a file with the policy. The error
// wraps ErrContext.
func (e ExtentContext) Check(p Policy) error {
	switch {
	case p.Version != 2 || e.Identifier != p.Identifier:
		return fmt.Errorf("%w: extent has key %v, its file v%d key %s", ErrContext, e.Identifier, p.Version, p.KeySpec())
	case e.Mode != p.Contents:
		return fmt.Errorf("%w: extent has mode %v, its file %v", ErrContext, e.Mode, p.Contents)
	}
	return nil
}
