package cmd

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"fsenc/internal/image"
	"fsenc/internal/keystore"
	"fsenc/internal/survey"
)

func newKeyRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "remove IMAGE ID",
		Short: "Remove a protector, or the key of a policy",
		Long: "Remove a protector, or the key of a policy, from .fscrypt; what held it in the image\n" +
			"is overwritten. It is refused while an encrypted tree needs it: with --yes and\n" +
			"--force=last-key the tree is lost, unless the key was exported before.",
		Args: operands("IMAGE", "ID"),
		ValidArgsFunction: a.completeOperand(func(s *keystore.Store) []string {
			return append(policyChoices(s), protectorChoices(s)...)
		}),
		RunE: func(_ *cobra.Command, args []string) error { return a.keyRemove(args[0], args[1]) },
	}
}

// keyRemoval is what goes: a protector, with the policies that nothing else
// opens, or one policy.
type keyRemoval struct {
	protector string
	policies  []string
	what      string
}

func (a *app) keyRemove(path, id string) error {
	x, s, err := a.openKeystore(path, noKeys(), true)
	if err != nil {
		return err
	}
	defer x.Close()
	r, err := planKeyRemoval(s, id)
	if err != nil {
		return err
	}
	if err := a.checkRemoval(x, r); err != nil {
		return err
	}
	if !a.flags.dryRun {
		if err := a.confirm("Remove " + r.what + "?"); err != nil {
			return err
		}
	}
	err = a.edit(x.opened, r.apply)
	if err != nil {
		return err
	}
	j := jsonKeyDone{Protector: r.protector}
	if r.protector == "" {
		j.Key = r.policies[0]
	}
	return a.keyDone("key remove", "removed "+r.what, j)
}

// planKeyRemoval finds what an identifier or name stands for.
func planKeyRemoval(s *keystore.Store, id string) (keyRemoval, error) {
	p, perr := s.Protector(id)
	known, kerr := s.Policy(id)
	switch {
	case perr == nil && kerr == nil:
		return keyRemoval{}, fmt.Errorf("%q: %w: both a protector and a policy begin like that", id, keystore.ErrAmbiguous)
	case kerr == nil:
		return keyRemoval{policies: []string{known.ID}, what: "the key of policy " + known.ID}, nil
	case perr != nil && !errors.Is(kerr, keystore.ErrNotFound):
		return keyRemoval{}, kerr
	case perr != nil:
		return keyRemoval{}, perr
	}
	r := keyRemoval{protector: p.ID, what: protectorText(p)}
	for _, pol := range s.PoliciesOf(p.ID) {
		if !slices.ContainsFunc(pol.Protectors(), func(other string) bool { return other != p.ID && atHand(s, other) }) {
			r.policies = append(r.policies, pol.ID)
		}
	}
	if len(r.policies) > 0 {
		r.what += ", and with it the key of " + plural(len(r.policies), "policy") + " (" + strings.Join(r.policies, ", ") + ")"
	}
	return r, nil
}

// atHand reports whether a protector exists, here or on another filesystem.
func atHand(s *keystore.Store, id string) bool {
	return slices.ContainsFunc(s.Protectors, func(p *keystore.Protector) bool { return p.ID == id }) ||
		slices.ContainsFunc(s.Links, func(l keystore.Link) bool { return l.ID == id })
}

// checkRemoval refuses to take the last key of a tree that is there.
func (a *app) checkRemoval(x *access, r keyRemoval) error {
	if len(r.policies) == 0 {
		return nil
	}
	u, err := survey.Take(a.ctx, x.fs)
	if err != nil {
		return err
	}
	for _, us := range u.Policies {
		if !slices.Contains(r.policies, us.Policy.KeySpec()) {
			continue
		}
		why := fmt.Errorf("%w: this is the last key of policy %s, which %s need", errRefused, us.Policy.KeySpec(),
			plural(us.Dirs+us.Files+us.Links, "inode"))
		if !a.forced(lastKey) {
			return refuse(lastKey, why)
		}
		a.warn("%s under policy %s are lost unless the key is kept elsewhere",
			plural(us.Dirs+us.Files+us.Links, "inode"), us.Policy.KeySpec())
	}
	return nil
}

// apply stages the removal.
func (r keyRemoval) apply(fs image.FS) error {
	s, err := keystore.Load(fs)
	if err != nil {
		return err
	}
	if r.protector == "" {
		p, err := s.Policy(r.policies[0])
		if err != nil {
			return err
		}
		return s.RemovePolicy(p)
	}
	p, err := s.Protector(r.protector)
	if err != nil {
		return err
	}
	return s.RemoveProtector(p, len(r.policies) > 0)
}
