package keystore

import (
	"fmt"
	"slices"
	"strings"
)

// Policy finds a policy by its ID or a prefix that only it has; case does not
// matter. The error wraps ErrNotFound or ErrAmbiguous.
func (s *Store) Policy(id string) (*Policy, error) {
	var found []*Policy
	for _, p := range s.Policies {
		if hasPrefix(p.ID, id) {
			found = append(found, p)
		}
	}
	return only(found, "policy", id)
}

// Protector finds a protector by its name, its ID or a prefix of the ID that
// only it has. A name goes before a prefix. For a protector on another
// filesystem the error wraps ErrElsewhere and says on which; otherwise
// ErrNotFound or ErrAmbiguous.
func (s *Store) Protector(idOrName string) (*Protector, error) {
	var named, found []*Protector
	for _, p := range s.Protectors {
		switch {
		case p.ID == idOrName:
			return p, nil
		case p.Name == idOrName && idOrName != "":
			named = append(named, p)
		case hasPrefix(p.ID, idOrName):
			found = append(found, p)
		}
	}
	if len(named) > 0 {
		found = named
	}
	if len(found) == 0 {
		for _, l := range s.Links {
			if hasPrefix(l.ID, idOrName) {
				return nil, l.Err()
			}
		}
	}
	return only(found, "protector", idOrName)
}

// ProtectorsOf are the protectors in this image that can unlock the policy, in
// stored order, and for each of the others the reason why it cannot be used.
func (s *Store) ProtectorsOf(p *Policy) (usable []*Protector, missing []error) {
	for _, id := range p.Protectors() {
		if i := s.protectorIndex(id); i >= 0 {
			usable = append(usable, s.Protectors[i])
			continue
		}
		missing = append(missing, s.whyMissing(id))
	}
	return usable, missing
}

func (s *Store) protectorIndex(id string) int {
	return slices.IndexFunc(s.Protectors, func(p *Protector) bool { return p.ID == id })
}

func (s *Store) whyMissing(id string) error {
	for _, l := range s.Links {
		if l.ID == id {
			return l.Err()
		}
	}
	for _, d := range s.Damaged {
		if d.Path == s.protectors.path+"/"+id || d.Path == s.protectors.path+"/"+id+linkSuffix {
			return d
		}
	}
	return fmt.Errorf("protector %s: %w", id, ErrNotFound)
}

// PoliciesOf are the policies that the protector with the ID can unlock.
func (s *Store) PoliciesOf(protector string) []*Policy {
	var out []*Policy
	for _, p := range s.Policies {
		if p.ProtectedBy(protector) {
			out = append(out, p)
		}
	}
	return out
}

func hasPrefix(id, prefix string) bool {
	return prefix != "" && strings.HasPrefix(id, strings.ToLower(prefix))
}

// only returns the one element, or says why there is not just one.
func only[T fmt.Stringer](found []T, what, asked string) (T, error) {
	if len(found) == 1 {
		return found[0], nil
	}
	var none T
	if len(found) == 0 {
		return none, fmt.Errorf("%s %q: %w", what, asked, ErrNotFound)
	}
	var names []string
	for _, f := range found[:min(len(found), 4)] {
		names = append(names, f.String())
	}
	if len(found) > len(names) {
		names = append(names, "and others")
	}
	return none, fmt.Errorf("%s %q: %w: %s", what, asked, ErrAmbiguous, strings.Join(names, ", "))
}
