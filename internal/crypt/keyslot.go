package crypt

// keySlot is the cipher of a Contents or Names: its own, or one of a cache.
type keySlot struct {
	spec   keySpec
	cipher keyed // nil before the first key, and after a shared one was given back
	cache  *Cache
	shared *prepared
}

// load gives the slot the cipher for s, out of the cache if there is one. A
// cipher of its own for the same mode takes the new key in place. On an error
// the slot is closed.
func (k *keySlot) load(s *keySpec, cache *Cache, create newKeyed) error {
	if k.shared != nil || cache != nil || k.spec.mode != s.mode {
		k.close()
		k.cipher = nil
	}
	k.spec = *s
	if cache != nil {
		p, err := cache.get(s, create)
		if err != nil {
			return err
		}
		k.cache, k.shared, k.cipher = cache, p, p.cipher
		return nil
	}
	if k.cipher == nil {
		c, err := create(s.mode)
		if err != nil {
			return err
		}
		k.cipher = c
	}
	if err := s.prepare(k.cipher); err != nil {
		k.close()
		return err
	}
	return nil
}

// close wipes the cipher or gives it back.
func (k *keySlot) close() {
	switch {
	case k.shared != nil:
		k.cache.put(k.shared)
		k.shared, k.cipher = nil, nil
	case k.cipher != nil:
		k.cipher.wipe()
	}
}
