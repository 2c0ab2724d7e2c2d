package convert

import (
	"bytes"
	"fmt"
	"slices"

	"fsenc/internal/crypt/names"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// encryptTop plans one tree.
func (s *scanner) encryptTop(t Top) error {
	a, err := s.fs.Stat(t.Ino)
	if err != nil {
		return err
	}
	lostFound, err := s.fs.LostFound()
	if err != nil {
		return err
	}
	top := &place{name: t.Path}
	switch {
	case a.Type != image.TypeDirectory:
		return image.ErrNotDir
	case t.Ino == s.fs.Root() && !s.sb.RootPolicy:
		s.refuse(top, t.Ino, "", "the root directory cannot be encrypted")
		return nil
	case t.Ino == lostFound:
		s.refuse(top, t.Ino, "", "the checker could not put files into an encrypted lost+found")
		return nil
	}
	if done, err := s.alreadyEncrypted(a, top); done || err != nil {
		return err
	}
	return s.encryptDir(a, top)
}

// alreadyEncrypted deals with an inode that has a context: the same policy
// needs nothing, another one stands in the way.
func (s *scanner) alreadyEncrypted(a image.Attr, p *place) (bool, error) {
	raw, err := s.fs.Context(a.Ino)
	if err != nil {
		return false, fmt.Errorf("%s: %w", p, err)
	}
	if raw == nil && !a.Encrypted {
		return false, nil
	}
	c, err := policy.ParseContext(raw)
	switch {
	case raw == nil || !a.Encrypted:
		s.refuse(p, a.Ino, "", "flag and context do not agree: run fsenc fsck")
	case err != nil:
		s.refuse(p, a.Ino, "", "already encrypted, with a context that is not understood: %v", err)
	case c.Policy != s.plan.Policies[0]:
		s.refuse(p, a.Ino, "", "already encrypted with another policy (key %s)", c.KeySpec())
	default:
		s.plan.Totals.Skipped++
	}
	return true, nil
}

// encryptDir plans a directory and everything below it.
func (s *scanner) encryptDir(a image.Attr, p *place) error {
	if err := s.enterDir(p, a.Ino); err != nil {
		return err
	}
	if slices.Contains(s.opt.Metadata, a.Ino) {
		s.refuse(p, a.Ino, "", "it holds the metadata that opens the encrypted trees")
		return nil
	}
	if a.Casefold && s.plan.Policies[0].Version == 1 {
		s.refuse(p, a.Ino, "", "a casefolded directory needs a v2 policy")
	}
	var subs []subdir
	var lens []int
	pad := s.plan.Policies[0].Padding()
	s.within = a.Ino
	err := s.fs.ReadDir(a.Ino, func(e image.Dirent) error {
		cp := join(p, e.Name)
		if len(e.Name) == 0 || bytes.ContainsAny(e.Name, "/\x00") {
			return fmt.Errorf("%s: %w", p, &image.CorruptError{What: "directory entry", Ino: a.Ino, Why: fmt.Sprintf("name %q", e.Name)})
		}
		lens = append(lens, names.PaddedLen(len(e.Name), pad, names.MaxName))
		ca, err := s.child(e, cp)
		if err != nil || !ca.Type.Encrypts() {
			s.plan.Totals.Others++
			return err
		}
		if ca.Type == image.TypeDirectory {
			subs = append(subs, subdir{ca, cp})
			return nil
		}
		return s.encryptLeaf(ca, cp)
	})
	if err != nil {
		return err
	}
	for _, d := range subs {
		done, err := s.alreadyEncrypted(d.attr, d.path)
		if err == nil && !done {
			err = s.encryptDir(d.attr, d.path)
		}
		if err != nil {
			return err
		}
	}
	return s.encryptOwn(a, p, lens)
}

// encryptOwn plans what a directory itself needs, after its children.
func (s *scanner) encryptOwn(a image.Attr, p *place, lens []int) error {
	n, err := s.fs.CostDir(a.Ino, lens, true)
	if err := s.cost(p, a.Ino, n, err); err != nil {
		return err
	}
	s.plan.Totals.Dirs++
	s.plan.Totals.Names += uint64(len(lens))
	s.folded = append(s.folded, item{ino: a.Ino, kind: image.TypeDirectory})
	if err := s.claim(a.Ino, p); err != nil {
		return err
	}
	return s.contextCost(a, p)
}

func (s *scanner) contextCost(a image.Attr, p *place) error {
	n, err := s.fs.CostContext(a.Ino, contextSize(s.plan.Policies[0]))
	return s.cost(p, a.Ino, n, err)
}

// encryptLeaf plans a regular file or a symlink.
func (s *scanner) encryptLeaf(a image.Attr, p *place) error {
	// One that is encrypted already may have its other names anywhere.
	if !a.Encrypted && !s.firstName(a, p) {
		return nil
	}
	if done, err := s.alreadyEncrypted(a, p); done || err != nil {
		return err
	}
	if err := s.contextCost(a, p); err != nil {
		return err
	}
	if a.Type == image.TypeSymlink {
		return s.encryptLink(a, p)
	}
	if a.Inline {
		if err := s.inlined(a, p, s.plan.Policies[0]); err != nil {
			return err
		}
	}
	return s.mapped(a, p, 0)
}

func (s *scanner) encryptLink(a image.Attr, p *place) error {
	target, err := s.fs.ReadLink(a.Ino)
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	room := s.sb.MaxLinkRoom
	if len(target) > room-3 {
		s.refuse(p, a.Ino, "", "the link's target has %d bytes, at most %d can be encrypted on this filesystem", len(target), room-3)
		return nil
	}
	stored := 2 + names.PaddedLen(len(target), s.plan.Policies[0].Padding(), room-3)
	n, err := s.fs.CostLink(a.Ino, stored, true)
	if err := s.cost(p, a.Ino, n, err); err != nil {
		return err
	}
	s.plan.Totals.Links++
	s.links = append(s.links, s.placed(a, 0))
	return s.claim(a.Ino, p)
}

// contextSize is the length of a policy's contexts on disk.
func contextSize(p policy.Policy) int { return len(policy.Context{Policy: p}.Bytes()) }
