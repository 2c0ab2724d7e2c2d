package tree

import (
	"fmt"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// extentKeys makes the ciphers of extents that have keys of their own, with
// the last ones kept ready. Several goroutines may use it.
type extentKeys struct {
	key   *crypt.MasterKey
	ctx   policy.Context // of the inode
	vol   crypt.Volume
	cache *crypt.Cache
}

func (t *Tree) extentKeys(key *crypt.MasterKey, c policy.Context) *extentKeys {
	if t.ready == nil {
		t.ready = crypt.NewCache(0)
	}
	return &extentKeys{key: key, ctx: c, vol: t.vol, cache: t.ready}
}

// KeysAtHand is how often the key of an extent was needed that was ready, and
// was not.
func (t *Tree) KeysAtHand() (hits, misses uint64) {
	if t.ready == nil {
		return 0, 0
	}
	return t.ready.Stats()
}

// ExtentContext reads the context of an extent. The error wraps policy.ErrContext.
func ExtentContext(x image.Extent) (policy.ExtentContext, error) {
	e, err := policy.ParseExtentContext([]byte(x.Context))
	e.Old = x.OldKey
	return e, err
}

// decrypt turns whole blocks of an extent into plaintext, unit being the number of
// the first.
func (k *extentKeys) decrypt(p []byte, x image.Extent, unit uint64) error {
	e, err := ExtentContext(x)
	if err != nil {
		return fmt.Errorf("extent without a context that could be used: %w", err)
	}
	cipher := crypt.Contents{Cache: k.cache}
	if err := cipher.InitExtent(k.key, k.ctx, e, k.vol); err != nil {
		return err
	}
	cipher.DecryptBlocks(p, p, unit)
	cipher.Close()
	return nil
}

// hasOwnKeys reports whether the file's contents are encrypted extent by extent.
func (f *File) hasOwnKeys() bool {
	for _, e := range f.extents {
		for _, x := range e.Stored() {
			if x.Context != "" {
				return true
			}
		}
	}
	_, ok := f.fs.(image.ByExtent)
	return ok
}
