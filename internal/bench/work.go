package bench

import (
	"bytes"
	"math/bits"
	"math/rand/v2"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
)

// ino is the inode of the files; with keys per file it enters nothing.
const ino = 12

// contentsWork encrypts or decrypts a buffer in place.
func contentsWork(r *Row, key *crypt.MasterKey) (*work, error) {
	c := contextOf(key, pairOf(r.Mode, contents))
	c.Log2DataUnitSize = uint8(bits.Len(uint(r.UnitSize)) - 1)
	f, err := key.Contents(c, ino, volume)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, bufferSize)
	w := &work{bytes: len(buf), units: len(buf) / r.UnitSize, close: f.Close}
	w.step = func() { f.EncryptBlocks(buf, buf, 0) }
	if r.Op == Decrypt {
		w.step = func() { f.DecryptBlocks(buf, buf, 0) }
	}
	return w, nil
}

// namesWork encrypts or decrypts one name.
func namesWork(r *Row, key *crypt.MasterKey) (*work, error) {
	n, err := key.Names(contextOf(key, pairOf(r.Mode, filenames)), ino, volume)
	if err != nil {
		return nil, err
	}
	name := bytes.Repeat([]byte{'n'}, r.UnitSize)
	stored, err := n.EncryptName(nil, name)
	if err != nil {
		n.Close()
		return nil, err
	}
	room := make([]byte, 0, len(stored))
	w := &work{bytes: len(name), units: 1, close: n.Close}
	// Both were possible once, and nothing they depend on changes.
	w.step = func() { n.EncryptName(room, name) }
	if r.Op == Decrypt {
		w.step = func() { n.DecryptName(room, stored) }
	}
	return w, nil
}

// keyed is what Contents and Names have in common here.
type keyed interface {
	Init(*crypt.MasterKey, policy.Context, uint64, crypt.Volume) error
	Close()
}

// cipherFor is the cipher of a mode, without key, and a context for it.
func cipherFor(m policy.Mode, key *crypt.MasterKey, cache *crypt.Cache) (keyed, policy.Context) {
	if p := pairOf(m, contents); p != nil {
		return &crypt.Contents{Cache: cache}, contextOf(key, p)
	}
	return &crypt.Names{Cache: cache}, contextOf(key, pairOf(m, filenames))
}

// keyWork sets up the key of a new nonce each time.
func keyWork(r *Row, key *crypt.MasterKey) (*work, error) {
	f, c := cipherFor(r.Mode, key, nil)
	if err := f.Init(key, c, ino, volume); err != nil {
		return nil, err
	}
	n := uint64(0)
	return &work{units: 1, close: f.Close, step: func() {
		n++
		setNonce(&c, n)
		must(f.Init(key, c, ino, volume))
	}}, nil
}

// cacheWork looks up one of some nonces, at random but alike in each run.
func cacheWork(r *Row, key *crypt.MasterKey) (*work, error) {
	cache := crypt.NewCache(r.CacheSize)
	f, c := cipherFor(r.Mode, key, cache)
	look := func(n uint64) {
		setNonce(&c, n)
		must(f.Init(key, c, ino, volume))
	}
	if err := f.Init(key, c, ino, volume); err != nil {
		return nil, err
	}
	for n := range 2 * r.CacheSize { // full, as it is after a while
		look(uint64(n % r.Nonces))
	}
	random := rand.New(rand.NewPCG(1, 2))
	hits, misses := cache.Stats()
	return &work{
		units: 1,
		step:  func() { look(random.Uint64N(uint64(r.Nonces))) },
		close: func() { f.Close(); cache.Close() },
		after: func(r *Row) {
			h, m := cache.Stats()
			r.HitRate = float64(h-hits) / float64(h-hits+m-misses)
		},
	}, nil
}

// must stops on the error of what was possible before and is no other now.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
