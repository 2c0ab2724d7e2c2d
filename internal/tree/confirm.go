package tree

import (
	"errors"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

const (
	// confirmNames is how many names of a directory a candidate must decode.
	confirmNames = 64
	// confirmZeros is how many bytes of padding must be seen to be zero: a
	// wrong key gives that many by chance once in 2^48.
	confirmZeros = 6
)

// KeyFor returns the key of a policy. A v1 policy whose descriptor is not the
// customary one has a key once a directory with that policy was listed or
// looked into, and its names showed which of the keys it is.
func (t *Tree) KeyFor(p policy.Policy) (*crypt.MasterKey, error) {
	if k := t.bound[p.Descriptor]; k != nil && p.Version == 1 {
		return k, nil
	}
	if t.keys == nil {
		return (&crypt.Keyring{}).For(p)
	}
	return t.keys.For(p)
}

// confirm finds the key of a v1 directory among those that no custom names,
// by decoding what is in it. It returns nil if none does.
func (t *Tree) confirm(dir image.Ino, c policy.Context) *crypt.MasterKey {
	if t.keys == nil || c.Version != 1 {
		return nil
	}
	for _, k := range t.keys.Candidates(c.Policy) {
		cipher, err := k.Names(c, uint64(dir), t.vol)
		if err != nil {
			continue
		}
		ok := t.decodes(dir, cipher)
		cipher.Close()
		if ok {
			t.bound[c.Descriptor] = k
			return k
		}
	}
	return nil
}

var errEnough = errors.New("enough")

// decodes reports whether the names of a directory make sense under a cipher.
func (t *Tree) decodes(dir image.Ino, cipher *crypt.Names) bool {
	count, zeros := 0, 0
	var plain []byte
	err := t.fs.ReadDir(dir, func(e image.Dirent) error {
		var err error
		if plain, err = cipher.CheckName(plain[:0], e.Name); err != nil {
			return err
		}
		zeros += len(e.Name) - len(plain)
		if count++; count >= confirmNames && zeros >= confirmZeros {
			return errEnough
		}
		return nil
	})
	return zeros >= confirmZeros && (err == nil || errors.Is(err, errEnough))
}
