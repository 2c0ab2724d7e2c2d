package cmd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/keystore"
	"fsenc/internal/survey"
)

// keyListOptions are the flags of key list.
type keyListOptions struct {
	keys   keyFlags
	unused bool
}

func newKeyList(a *app) *cobra.Command {
	var o keyListOptions
	c := &cobra.Command{
		Use:   "list IMAGE",
		Short: "List policies and protectors",
		Long: "List the policies in use, those that .fscrypt keeps a key of, and the protectors.\n" +
			"With a key or passphrase it is marked which policies it opens. No key is needed.",
		Args:              operands("IMAGE"),
		ValidArgsFunction: completeImage,
		RunE:              func(_ *cobra.Command, args []string) error { return a.keyList(&o, args[0]) },
	}
	c.Flags().BoolVar(&o.unused, "unused", false, "list only policies of .fscrypt that no inode uses, and protectors that protect nothing")
	o.keys.register(c.Flags())
	return c
}

// listedPolicy is a policy that is in use, kept in the metadata, or both.
type listedPolicy struct {
	policy policy.Policy
	usage  survey.Usage
	kept   *keystore.Policy
	opened bool
}

func (a *app) keyList(o *keyListOptions, path string) error {
	x, err := a.openReading(path, &o.keys)
	if err != nil {
		return err
	}
	defer x.Close()
	u, err := survey.Take(a.ctx, x.fs)
	if err != nil {
		return err
	}
	s, err := x.metadata()
	if err != nil && !errors.Is(err, errNoMetadata) {
		a.note("warning: %v", err)
	}
	if s == nil {
		s = &keystore.Store{}
	}
	list := joinPolicies(u, s)
	x.silent = true
	for i := range list {
		if list[i].opened, err = x.opensPolicy(list[i], o.keys.given()); err != nil {
			return err
		}
	}
	if o.unused {
		list, s = unusedOnly(list, s)
	}
	if a.json() {
		return a.keyListJSON(list, s, x.fs.Super().BlockSize)
	}
	return a.keyListText(list, s, x.fs.Super().BlockSize)
}

// joinPolicies lists the policies in use, then those only kept.
func joinPolicies(u *survey.Survey, s *keystore.Store) []listedPolicy {
	var list []listedPolicy
	used := map[string]bool{}
	for _, us := range u.Policies {
		l := listedPolicy{policy: us.Policy, usage: us}
		for _, k := range s.Policies {
			if k.ID == us.Policy.KeySpec() {
				l.kept = k
			}
		}
		used[us.Policy.KeySpec()] = true
		list = append(list, l)
	}
	for _, k := range s.Policies {
		if !used[k.ID] {
			list = append(list, listedPolicy{policy: k.Policy(), kept: k})
		}
	}
	return list
}

// opensPolicy reports whether the keys at hand open a policy. A passphrase
// that is that of another protector is no error here.
func (x *access) opensPolicy(l listedPolicy, given bool) (bool, error) {
	if !given {
		return false, nil
	}
	for _, key := range x.ring.Candidates(l.policy) {
		if l.policy.Version == 2 || l.usage.First == 0 {
			return true, nil
		}
		if attr, err := x.fs.Stat(l.usage.First); err == nil && opensInode(x, key, attr, l.policy) {
			return true, nil
		}
	}
	if !x.k.passphraseGiven() && len(x.ring.Keys()) == 0 || l.kept == nil {
		return false, nil
	}
	err := x.unlockPolicy(l.policy)
	if errors.Is(err, errNoMetadata) || errors.Is(err, crypt.ErrNoKey) || errors.Is(err, crypt.ErrWrongKey) {
		return false, nil
	}
	return err == nil, err
}

// unusedOnly leaves what nothing depends on.
func unusedOnly(list []listedPolicy, s *keystore.Store) ([]listedPolicy, *keystore.Store) {
	var out []listedPolicy
	for _, l := range list {
		if l.usage.First == 0 {
			out = append(out, l)
		}
	}
	idle := &keystore.Store{}
	for _, p := range s.Protectors {
		if len(s.PoliciesOf(p.ID)) == 0 {
			idle.Protectors = append(idle.Protectors, p)
		}
	}
	return out, idle
}

// jsonListed is a policy of key list in JSON.
type jsonListed struct {
	jsonUsage
	InUse      bool     `json:"in_use"`
	Kept       bool     `json:"kept"`
	Opened     bool     `json:"opened"`
	Protectors []string `json:"protectors"`
}

// jsonLink is a protector that is kept elsewhere, in JSON.
type jsonLink struct {
	Protector string `json:"protector"`
	UUID      string `json:"uuid,omitempty"`
	jsonPath
}

func (a *app) keyListJSON(list []listedPolicy, s *keystore.Store, block int) error {
	policies := []jsonListed{}
	for _, l := range list {
		j := jsonListed{InUse: l.usage.First != 0, Kept: l.kept != nil, Opened: l.opened, Protectors: []string{}}
		j.jsonUsage = jsonUsage{policyJSON(l.policy, block), l.usage.Dirs, l.usage.Files, l.usage.Links, l.usage.Bytes}
		if l.kept != nil {
			j.Protectors = append(j.Protectors, l.kept.Protectors()...)
		}
		policies = append(policies, j)
	}
	protectors := []jsonProtector{}
	for _, p := range s.Protectors {
		protectors = append(protectors, protectorJSON(s, p))
	}
	links := []jsonLink{}
	for _, l := range s.Links {
		links = append(links, jsonLink{l.ID, l.UUID, pathOf(l.Path)})
	}
	return a.emit(struct {
		header
		Policies   []jsonListed    `json:"policies"`
		Protectors []jsonProtector `json:"protectors"`
		Elsewhere  []jsonLink      `json:"protectors_elsewhere"`
	}{headerOf("key list"), policies, protectors, links})
}

func (a *app) keyListText(list []listedPolicy, s *keystore.Store, block int) error {
	t := newTable(a.out, "KEY", "VERSION", "MODES", "FLAGS", "DIRS", "FILES", "SIZE", "OPENS", "PROTECTORS")
	for _, l := range list {
		opens, protectors := "-", "-"
		if l.opened {
			opens = "yes"
		}
		if l.kept != nil {
			protectors = strings.Join(l.kept.Protectors(), " ")
		}
		p := l.policy
		t.row(p.KeySpec(), fmt.Sprintf("v%d", p.Version), policyModes(p), policyFlags(p, block), fmt.Sprint(l.usage.Dirs),
			fmt.Sprint(l.usage.Files), iec(l.usage.Bytes), opens, protectors)
	}
	if err := t.flush(); err != nil || len(s.Protectors)+len(s.Links) == 0 {
		return err
	}
	if _, err := fmt.Fprintln(a.out); err != nil {
		return err
	}
	t = newTable(a.out, "PROTECTOR", "SOURCE", "NAME", "POLICIES")
	for _, p := range s.Protectors {
		j := protectorJSON(s, p)
		name := p.Name
		if j.UID != nil {
			name = fmt.Sprintf("uid %d", p.UID)
		}
		t.row(p.ID, j.Source, or(name, "-"), or(strings.Join(j.Policies, " "), "-"))
	}
	for _, l := range s.Links {
		t.row(l.ID, "elsewhere", or(l.UUID, "-"), or(l.Path, "-"))
	}
	return t.flush()
}
