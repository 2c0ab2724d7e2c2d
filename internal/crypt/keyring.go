package crypt

import (
	"fmt"
	"slices"

	"fsenc/internal/crypt/policy"
)

// Keyring is the set of master keys at hand. The zero value is empty. Several
// goroutines may look keys up at once, but none while keys are added.
type Keyring struct {
	keys  []*MasterKey
	bound map[policy.Descriptor]*MasterKey
}

// Add puts keys in; one with an identifier that is there already, which is the
// same key, is left out.
func (r *Keyring) Add(keys ...*MasterKey) {
	for _, k := range keys {
		if !slices.ContainsFunc(r.keys, func(o *MasterKey) bool { return o.identifier == k.identifier }) {
			r.keys = append(r.keys, k)
		}
	}
}

// Bind says that k is the key of v1 policies with that descriptor, once a
// decoded name has shown it.
func (r *Keyring) Bind(d policy.Descriptor, k *MasterKey) {
	if r.bound == nil {
		r.bound = make(map[policy.Descriptor]*MasterKey)
	}
	r.bound[d] = k
}

// For returns the key of a policy: the one with its identifier (v2), the one
// bound to its descriptor or having it by custom (v1). The error wraps ErrNoKey
// and names the key.
func (r *Keyring) For(p policy.Policy) (*MasterKey, error) {
	if r != nil && p.Version == 1 && r.bound[p.Descriptor] != nil {
		return r.bound[p.Descriptor], nil
	}
	for _, k := range r.Keys() {
		if k.Matches(p) {
			return k, nil
		}
	}
	return nil, fmt.Errorf("%w: v%d key %s", ErrNoKey, p.Version, p.KeySpec())
}

// Candidates returns the keys that may be the one of a policy, the likeliest
// first. For v2 that is at most one; for v1, whose descriptors are free text,
// it is every key long enough, unless one was bound.
func (r *Keyring) Candidates(p policy.Policy) []*MasterKey {
	first, err := r.For(p)
	if p.Version != 1 || r != nil && r.bound[p.Descriptor] != nil {
		if err != nil {
			return nil
		}
		return []*MasterKey{first}
	}
	var out []*MasterKey
	if err == nil {
		out = append(out, first)
	}
	for _, k := range r.Keys() {
		if k != first && !k.Hardware() && len(k.raw) >= p.MinKeySize(p.Filenames) {
			out = append(out, k)
		}
	}
	return out
}

// Keys returns the keys in the order in which they were added.
func (r *Keyring) Keys() []*MasterKey {
	if r == nil {
		return nil
	}
	return r.keys
}

// Wipe wipes all keys and empties the ring.
func (r *Keyring) Wipe() {
	for _, k := range r.keys {
		k.Wipe()
	}
	*r = Keyring{}
}
