package convert

import (
	"fmt"
	"path"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/names"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// maxPolicies is what the index in a plan's items has room for.
const maxPolicies = 16

// encryptedTop plans a tree that is encrypted: to be decrypted, or to get the
// policy s.target.
func (s *scanner) encryptedTop(t Top) error {
	a, err := s.fs.Stat(t.Ino)
	if err != nil {
		return err
	}
	if a.Type != image.TypeDirectory {
		return image.ErrNotDir
	}
	if !a.Encrypted {
		s.plan.Totals.Skipped++
		return nil
	}
	top := &place{name: t.Path}
	if s.target != nil && a.Ino == s.fs.Root() && !s.sb.RootPolicy {
		s.refuse(top, t.Ino, "", "the root directory cannot have a policy")
		return nil
	}
	c, err := s.context(a, top)
	if err != nil {
		return err
	}
	index, err := s.policyIndex(c.Policy)
	if err != nil {
		return err
	}
	return s.encryptedDir(a, c, top, index)
}

// RefuseInside is for a top whose parent is encrypted too: it alone would
// break the rule that a tree has one policy throughout.
func RefuseInside(t Top) error {
	r := Refusal{Path: t.Path, Ino: t.Ino,
		Why: fmt.Sprintf("it lies inside of an encrypted directory: only a whole tree can change, start at %s or above", path.Dir(t.Path))}
	return &RefusedError{Refusals: []Refusal{r}, Total: 1}
}

func (s *scanner) policyIndex(p policy.Policy) (uint8, error) {
	for i, have := range s.plan.Policies {
		if have == p {
			return uint8(i), nil
		}
	}
	if _, err := s.opt.Keys.For(p); err != nil {
		return 0, err
	}
	if len(s.plan.Policies) == maxPolicies {
		return 0, fmt.Errorf("%w: more than %d policies in one conversion", ErrRefused, maxPolicies)
	}
	s.plan.Policies = append(s.plan.Policies, p)
	return uint8(len(s.plan.Policies) - 1), nil
}

func (s *scanner) context(a image.Attr, p *place) (policy.Context, error) {
	raw, err := s.fs.Context(a.Ino)
	if err != nil {
		return policy.Context{}, fmt.Errorf("%s: %w", p, err)
	}
	c, err := policy.ParseContext(raw)
	if err != nil {
		return c, fmt.Errorf("%s: inode %d: %w", p, a.Ino, err)
	}
	return c, nil
}

// encryptedDir plans an encrypted directory and everything below it.
func (s *scanner) encryptedDir(a image.Attr, c policy.Context, p *place, index uint8) error {
	if err := s.enterDir(p, a.Ino); err != nil {
		return err
	}
	subs, lens, err := s.encryptedEntries(a, c, p, index)
	if err != nil {
		return err
	}
	for _, d := range subs {
		cc, err := s.childContext(d.attr, c.Policy, d.path)
		if err == nil && cc != nil {
			err = s.encryptedDir(d.attr, *cc, d.path, index)
		}
		if err != nil {
			return err
		}
	}
	n, err := s.fs.CostDir(a.Ino, lens, s.target != nil)
	if err := s.cost(p, a.Ino, n, err); err != nil {
		return err
	}
	if s.target != nil && s.target.Version == 1 && a.Casefold {
		s.refuse(p, a.Ino, "", "a casefolded directory needs a v2 policy")
	}
	if err := s.recontextCost(a, c.Policy, p); err != nil {
		return err
	}
	s.plan.Totals.Dirs++
	s.plan.Totals.Names += uint64(len(lens))
	s.folded = append(s.folded, item{ino: a.Ino, kind: image.TypeDirectory, policy: index})
	return s.claim(a.Ino, p)
}

// encryptedEntries plans the files and symlinks of an encrypted directory, and
// returns the directories in it and the lengths of all names. That every name
// decodes and encodes back proves the key, for v1 too.
func (s *scanner) encryptedEntries(a image.Attr, c policy.Context, p *place, index uint8) (subs []subdir, lens []int, err error) {
	key, err := s.opt.Keys.For(c.Policy)
	if err != nil {
		return nil, nil, err
	}
	dec, err := key.Names(c, uint64(a.Ino), s.vol)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", p, err)
	}
	defer dec.Close()
	s.within = a.Ino
	err = s.fs.ReadDir(a.Ino, func(e image.Dirent) error {
		plain, err := dec.CheckName(nil, e.Name)
		if err != nil {
			return fmt.Errorf("%s: a name in it: %w", p, err)
		}
		lens = append(lens, s.nameLen(len(plain)))
		cp := join(p, plain)
		ca, err := s.child(e, cp)
		if err != nil || !ca.Type.Encrypts() {
			s.plan.Totals.Others++
			return err
		}
		if ca.Type == image.TypeDirectory {
			subs = append(subs, subdir{ca, cp})
			return nil
		}
		return s.encryptedLeaf(ca, c.Policy, cp, index)
	})
	return subs, lens, err
}

// childContext returns the context of a child, nil after refusing one that
// breaks the rule of one policy throughout.
func (s *scanner) childContext(a image.Attr, want policy.Policy, p *place) (*policy.Context, error) {
	if !a.Encrypted {
		s.refuse(p, a.Ino, "", "not encrypted, in an encrypted directory: run fsenc fsck")
		return nil, nil
	}
	c, err := s.context(a, p)
	if err != nil {
		return nil, err
	}
	if c.Policy != want {
		s.refuse(p, a.Ino, "", "another policy than its directory (key %s): run fsenc fsck", c.KeySpec())
		return nil, nil
	}
	return &c, nil
}

// encryptedLeaf plans a regular file or a symlink.
func (s *scanner) encryptedLeaf(a image.Attr, want policy.Policy, p *place, index uint8) error {
	if !s.firstName(a, p) {
		return nil
	}
	c, err := s.childContext(a, want, p)
	if c == nil || err != nil {
		return err
	}
	if err := s.recontextCost(a, want, p); err != nil {
		return err
	}
	if a.Type == image.TypeRegular {
		if a.Inline && s.sb.Inline == "" {
			s.refuse(p, a.Ino, "", "an encrypted file with inline data: run fsenc fsck")
			return nil
		}
		if err := s.reinlined(a, p); err != nil {
			return err
		}
		return s.mapped(a, p, index)
	}
	target, err := s.linkTarget(*c, a.Ino)
	if err != nil {
		return fmt.Errorf("%s: inode %d: %w", p, a.Ino, err)
	}
	n, err := s.fs.CostLink(a.Ino, s.linkLen(len(target)), s.target != nil)
	if err := s.cost(p, a.Ino, n, err); err != nil {
		return err
	}
	s.plan.Totals.Links++
	s.links = append(s.links, s.placed(a, index))
	return s.claim(a.Ino, p)
}

// nameLen is the stored length of a name of n bytes in the form that the tree
// is to have.
func (s *scanner) nameLen(n int) int {
	if s.target == nil {
		return n
	}
	return names.PaddedLen(n, s.target.Padding(), names.MaxName)
}

// linkLen is the stored length of a symlink's target of n bytes.
func (s *scanner) linkLen(n int) int {
	if s.target == nil {
		return n
	}
	return 2 + names.PaddedLen(n, s.target.Padding(), s.sb.MaxLinkRoom-3)
}

// recontextCost adds what a longer context needs; one of the same length takes
// the place of the old one.
func (s *scanner) recontextCost(a image.Attr, old policy.Policy, p *place) error {
	if s.target == nil || contextSize(*s.target) <= contextSize(old) {
		return nil
	}
	n, err := s.fs.CostContext(a.Ino, contextSize(*s.target))
	return s.cost(p, a.Ino, n, err)
}

func (s *scanner) linkTarget(c policy.Context, ino image.Ino) ([]byte, error) {
	stored, err := s.fs.ReadLink(ino)
	if err != nil {
		return nil, err
	}
	return decryptLink(s.opt.Keys, c, ino, s.vol, stored)
}

func decryptLink(keys *crypt.Keyring, c policy.Context, ino image.Ino, vol crypt.Volume, stored []byte) ([]byte, error) {
	key, err := keys.For(c.Policy)
	if err != nil {
		return nil, err
	}
	dec, err := key.Names(c, uint64(ino), vol)
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return dec.DecryptLink(stored)
}
