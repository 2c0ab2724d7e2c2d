package keystore

import (
	"fmt"
	"slices"
)

// RemovePolicy removes a policy: its key is gone unless someone has a copy.
func (s *Store) RemovePolicy(p *Policy) error {
	if err := s.remove(s.policies, p.ID, p.ino); err != nil {
		return err
	}
	s.Policies = slices.DeleteFunc(s.Policies, func(q *Policy) bool { return q == p })
	return nil
}

// RemoveProtector removes a protector, and the keys that it wraps from all
// policies. Where nothing else could unlock a policy it returns an error that
// wraps ErrLastProtector, and nothing is changed; unless orphan is set, and a
// policy that has no key left is removed too.
func (s *Store) RemoveProtector(p *Protector, orphan bool) error {
	policies := s.PoliciesOf(p.ID)
	if !orphan {
		for _, pol := range policies {
			if err := s.checkOther(pol, p.ID); err != nil {
				return err
			}
		}
	}
	for _, pol := range policies {
		if err := s.detach(pol, p.ID); err != nil {
			return err
		}
	}
	if err := s.remove(s.protectors, p.ID, p.ino); err != nil {
		return err
	}
	s.Protectors = slices.DeleteFunc(s.Protectors, func(q *Protector) bool { return q == p })
	return nil
}

// DetachProtector removes the key that a protector, here or elsewhere, wraps
// from one policy, by the same rule as RemoveProtector.
func (s *Store) DetachProtector(p *Policy, protector string, orphan bool) error {
	if !p.ProtectedBy(protector) {
		return fmt.Errorf("policy %s: protector %s: %w", p.ID, protector, ErrNotFound)
	}
	if !orphan {
		if err := s.checkOther(p, protector); err != nil {
			return err
		}
	}
	return s.detach(p, protector)
}

// checkOther makes sure that another protector can unlock the policy. One that
// is known to be elsewhere counts.
func (s *Store) checkOther(p *Policy, protector string) error {
	for _, id := range p.Protectors() {
		linked := slices.ContainsFunc(s.Links, func(l Link) bool { return l.ID == id })
		if id != protector && (linked || s.protectorIndex(id) >= 0) {
			return nil
		}
	}
	return fmt.Errorf("protector %s is the %w of policy %s", protector, ErrLastProtector, p.ID)
}

func (s *Store) detach(p *Policy, protector string) error {
	for i := p.find(protector); i >= 0; i = p.find(protector) {
		p.removeKey(i)
	}
	if len(p.keys) == 0 {
		return s.RemovePolicy(p)
	}
	return s.replace(s.policies, p.ID, p.ino, p.msg.bytes())
}
