package tree

import (
	"fmt"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/names"
	"fsenc/internal/image"
)

// Readlink returns the target of a symlink. Without the key the error wraps
// crypt.ErrNoKey, and the target is the no-key form that the kernel shows.
func (t *Tree) Readlink(n Node) ([]byte, error) {
	attr, err := t.fs.Stat(n.Ino)
	if err != nil {
		return nil, n.wrap(err)
	}
	if attr.Type != image.TypeSymlink {
		return nil, n.wrap(fmt.Errorf("%w: not a symlink", image.ErrNotExist))
	}
	stored, err := t.fs.ReadLink(n.Ino)
	if err != nil || !attr.Encrypted {
		return stored, n.wrap(err)
	}
	cipher, err := t.names(n.Ino)
	if err != nil {
		ct, bad := crypt.LinkCiphertext(stored)
		if bad != nil {
			return nil, n.wrap(bad)
		}
		return []byte(names.NoKeyName(0, 0, ct)), n.wrap(err)
	}
	defer cipher.Close()
	target, err := cipher.DecryptLink(stored)
	return target, n.wrap(err)
}
