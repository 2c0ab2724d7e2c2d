package policy

import (
	"errors"
	"fmt"
)

// ErrContext is wrapped by errors about contexts that are not of a known
// version and length. The kernel answers EINVAL where a key is needed.
var ErrContext = errors.New("unrecognised context")

// Sizes of stored contexts in bytes.
const (
	ContextSizeV1 = 28
	ContextSizeV2 = 40
)

// Context is what lies on disk with an encrypted inode.
type Context struct {
	Policy
	Nonce Nonce
}

// ParseContext reads a stored context. It looks at version and length only, so
// what it returns may still be a policy that Validate refuses; Bytes gives the
// input back. The error wraps ErrContext.
func ParseContext(b []byte) (Context, error) {
	if len(b) == 0 {
		return Context{}, fmt.Errorf("%w: empty", ErrContext)
	}
	size := 0
	switch b[0] {
	case 1:
		size = ContextSizeV1
	case 2:
		size = ContextSizeV2
	default:
		return Context{}, fmt.Errorf("%w: version %d", ErrContext, b[0])
	}
	if len(b) != size {
		return Context{}, fmt.Errorf("%w: version %d with %d bytes, want %d", ErrContext, b[0], len(b), size)
	}
	c := Context{Policy: parseHead(b)}
	copy(c.Nonce[:], b[size-len(c.Nonce):])
	return c, nil
}

// Bytes is the stored form: 28 bytes for v1, 40 for v2.
func (c Context) Bytes() []byte { return append(c.head(), c.Nonce[:]...) }
