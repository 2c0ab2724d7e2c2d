package crypt

import (
	"sync"

	"fsenc/internal/crypt/policy"
)

// DefaultCacheSize is how many prepared ciphers a Cache keeps unless told
// otherwise: about 128 KiB of round keys.
const DefaultCacheSize = 128

// Cache keeps the ciphers that were used last ready, found by master key, nonce
// and mode, so that an inode or extent that comes again costs no key set-up. It
// holds a fixed number of them, however many keys go through, and wipes one
// when another takes its place. Set the Cache field of a Contents or Names to
// use it; several goroutines may share one. A master key is forgotten before
// it is wiped.
type Cache struct {
	mu    sync.Mutex
	limit int
	ready map[keySpec]*prepared
	used  prepared // head of a ring, the entry used last first

	hits, misses uint64
}

// keyed is what the ciphers of contents and names have in common. init replaces
// the key; all but those of SM4 do so without allocating.
type keyed interface {
	init(key []byte) error
	wipe()
}

// newKeyed makes a cipher of a mode, without a key.
type newKeyed func(policy.Mode) (keyed, error)

// prepared is a cipher that may be in use by several at once.
type prepared struct {
	spec       keySpec
	cipher     keyed
	prev, next *prepared
	refs       int  // guarded by the cache's mutex, as is the rest above
	stray      bool // not in the cache (any more): wiped by the last release

	setUp sync.Mutex // held while the cipher gets its key
	err   error      // guarded by setUp
}

// NewCache makes a cache of at most limit ciphers, of DefaultCacheSize if limit
// is not positive.
func NewCache(limit int) *Cache {
	if limit <= 0 {
		limit = DefaultCacheSize
	}
	c := &Cache{limit: limit, ready: make(map[keySpec]*prepared, limit)}
	c.used.prev, c.used.next = &c.used, &c.used
	return c
}

// get returns the cipher for s, made by create and given its key if it is not
// there. Each is given back by put.
func (c *Cache) get(s *keySpec, create newKeyed) (*prepared, error) {
	c.mu.Lock()
	p := c.ready[*s]
	if p != nil {
		c.hits++
		p.refs++
		c.unlink(p)
		c.link(p)
		c.mu.Unlock()
		p.setUp.Lock() // someone else may be at it
		err := p.err
		p.setUp.Unlock()
		if err != nil {
			c.put(p)
			return nil, err
		}
		return p, nil
	}
	c.misses++
	p, err := c.slot(s, create)
	if err != nil {
		c.mu.Unlock()
		return nil, err
	}
	p.setUp.Lock()
	c.mu.Unlock()

	p.err = s.prepare(p.cipher)
	p.setUp.Unlock()
	if err := p.err; err != nil {
		c.mu.Lock()
		c.drop(p)
		c.mu.Unlock()
		c.put(p)
		return nil, err
	}
	return p, nil
}

// slot makes room and returns an entry for s with one reference.
func (c *Cache) slot(s *keySpec, create newKeyed) (*prepared, error) {
	p := c.evict()
	if p == nil {
		p = new(prepared)
		// Where all are in use this one goes with its user.
		p.stray = len(c.ready) >= c.limit
	}
	if p.cipher == nil || p.spec.mode != s.mode || p.spec.names != s.names {
		cipher, err := create(s.mode)
		if err != nil {
			return nil, err
		}
		p.cipher = cipher
	}
	p.spec, p.refs, p.err = *s, 1, nil
	if !p.stray {
		c.ready[*s] = p
		c.link(p)
	}
	return p, nil
}

// evict takes out, wiped, the entry that nobody has used for longest, if the
// cache is full and there is one.
func (c *Cache) evict() *prepared {
	if len(c.ready) < c.limit {
		return nil
	}
	for p := c.used.prev; p != &c.used; p = p.prev {
		if p.refs == 0 {
			delete(c.ready, p.spec)
			c.unlink(p)
			p.cipher.wipe()
			return p
		}
	}
	return nil
}

// put gives a cipher back.
func (c *Cache) put(p *prepared) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.refs--; p.refs == 0 && p.stray {
		p.cipher.wipe()
	}
}

// drop takes an entry out; who still uses it wipes it in the end.
func (c *Cache) drop(p *prepared) {
	if p.stray {
		return
	}
	p.stray = true
	delete(c.ready, p.spec)
	c.unlink(p)
	if p.refs == 0 {
		p.cipher.wipe()
	}
}

// Forget wipes what the cache holds of a master key. Ciphers in use go on
// working until they are closed.
func (c *Cache) Forget(k *MasterKey) { c.dropAll(func(p *prepared) bool { return p.spec.key == k }) }

// Close wipes all that the cache holds. Ciphers in use go on working until they
// are closed.
func (c *Cache) Close() { c.dropAll(func(*prepared) bool { return true }) }

func (c *Cache) dropAll(match func(*prepared) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := c.used.next; p != &c.used; {
		next := p.next
		if match(p) {
			c.drop(p)
		}
		p = next
	}
}

// Len is how many ciphers the cache holds.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ready)
}

// Stats is how often a cipher was asked for that was there, and was not.
func (c *Cache) Stats() (hits, misses uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hits, c.misses
}

func (c *Cache) link(p *prepared) {
	p.prev, p.next = &c.used, c.used.next
	p.prev.next, p.next.prev = p, p
}

func (c *Cache) unlink(p *prepared) {
	p.prev.next, p.next.prev = p.next, p.prev
	p.prev, p.next = nil, nil
}
