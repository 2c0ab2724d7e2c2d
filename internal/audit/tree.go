package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/tree"
)

// TreeResult counts what Tree looked at.
type TreeResult struct {
	Result
	Inodes      uint64 // names met, to be exact
	Encrypted   uint64
	Unencrypted uint64 // files, directories and symlinks without
}

// Tree reports what is unencrypted below top although a policy should rule,
// and what there is to say of the policies in use. In an encrypted directory
// a policy always rules; with must it does everywhere. The error is ctx's or
// report's, or one that ends the walk; damage is a finding.
func Tree(ctx context.Context, t *tree.Tree, top tree.Node, must bool, report func(Finding) error) (TreeResult, error) {
	w := &treeWalk{ctx: ctx, t: t, must: must, report: report, policies: map[policy.Policy]*inUse{}}
	err := t.Walk(top, w.node)
	if err == nil {
		err = w.weak()
	}
	return w.res, err
}

type treeWalk struct {
	ctx    context.Context
	t      *tree.Tree
	must   bool
	report func(Finding) error

	dir          image.Ino // the directory that entries came from last
	dirEncrypted bool
	policies     map[policy.Policy]*inUse
	res          TreeResult
}

// inUse is what is known of a policy.
type inUse struct {
	policy policy.Policy
	count  uint64
	first  tree.Node
}

func (w *treeWalk) node(n tree.Node) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if n.Unread {
		return w.damage(n, n.Err)
	}
	w.res.Inodes++
	a, err := w.t.Attr(n)
	if err != nil {
		return w.damage(n, err)
	}
	if !a.Type.Encrypts() {
		return nil
	}
	if !a.Encrypted {
		w.res.Unencrypted++
		return w.unencrypted(n, a)
	}
	w.res.Encrypted++
	return w.encrypted(n, a)
}

func (w *treeWalk) damage(n tree.Node, err error) error {
	return w.emit(n, "unreadable", image.Error, err.Error(), "repair the filesystem with its own checker first")
}

func (w *treeWalk) emit(n tree.Node, id string, s image.Severity, text, advice string) error {
	w.res.count(s)
	return w.report(Finding{Finding: image.Finding{ID: id, Severity: s, Ino: n.Ino, Text: text, Advice: advice}, Path: n.Path})
}

const adviceEncrypt = "encrypt it with fsenc encrypt-dir, or move it out"

func (w *treeWalk) unencrypted(n tree.Node, a image.Attr) error {
	raw, err := w.t.FS().Context(n.Ino)
	if err != nil {
		return w.damage(n, err)
	}
	if raw != nil {
		return w.emit(n, "context-without-flag", image.Error,
			"has an encryption context, but is not marked encrypted: kernels read and write it in clear", "fsenc fsck tells more")
	}
	inside, err := w.inEncrypted(n)
	switch {
	case err != nil:
		return w.damage(n, err)
	case inside:
		return w.emit(n, "plaintext-in-encrypted-dir", image.Error,
			fmt.Sprintf("an unencrypted %s in an encrypted directory", a.Type), adviceEncrypt)
	case w.must:
		return w.emit(n, "not-encrypted", image.Error, fmt.Sprintf("an unencrypted %s", a.Type), adviceEncrypt)
	}
	return nil
}

// inEncrypted tells whether the directory that a name lies in is encrypted.
// The names of one come one after another.
func (w *treeWalk) inEncrypted(n tree.Node) (bool, error) {
	if n.Parent != w.dir {
		w.dir, w.dirEncrypted = n.Parent, false
		if n.Parent != 0 {
			a, err := w.t.FS().Stat(n.Parent)
			if err != nil {
				return false, err
			}
			w.dirEncrypted = a.Encrypted
		}
	}
	return w.dirEncrypted, nil
}

// maxPolicies bounds how many policies are told apart: an image may have a
// different one in each inode.
const maxPolicies = 10000

func (w *treeWalk) encrypted(n tree.Node, a image.Attr) error {
	if a.Inline && a.Type == image.TypeRegular && w.t.FS().Super().Inline == "" {
		return w.emit(n, "inline-encrypted", image.Error,
			"marked encrypted, but its contents lie in the inode, where kernels read and write them in clear", "copy the file and remove this one")
	}
	c, err := w.t.Context(n)
	if err == nil && c == nil {
		err = errors.New("marked encrypted, but has no encryption context")
	}
	if err != nil {
		return w.damage(n, err)
	}
	u := w.policies[c.Policy]
	if u == nil {
		if len(w.policies) == maxPolicies {
			return nil
		}
		u = &inUse{policy: c.Policy, first: n}
		w.policies[c.Policy] = u
	}
	u.count++
	return nil
}

// weak reports the policies that give less than others would.
func (w *treeWalk) weak() error {
	var all []*inUse
	for _, u := range w.policies {
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b *inUse) int { return cmp.Compare(a.first.Path, b.first.Path) })
	for _, u := range all {
		for _, r := range weaknesses {
			if !r.applies(u.policy) {
				continue
			}
			text := fmt.Sprintf("policy %s of %d inodes: %s", u.policy.KeySpec(), u.count, r.text)
			if err := w.emit(u.first, r.id, image.Info, text, "fsenc rekey gives the tree another policy"); err != nil {
				return err
			}
		}
	}
	return nil
}

// weaknesses are what the documentation of fscrypt and the standards of the
// modes say against a policy. None breaks it.
var weaknesses = []struct {
	id      string
	applies func(policy.Policy) bool
	text    string
}{
	{"policy-v1", func(p policy.Policy) bool { return p.Version == 1 },
		"version 1: whoever gets the key of one file computes the master key, and a wrong master key goes unnoticed"},
	{"contents-cbc", func(p policy.Policy) bool { return p.Contents == policy.ModeAES128CBC },
		"AES-128-CBC contents: keys of 128 bits, and blocks of a file that begin alike show it"},
	{"names-128", func(p policy.Policy) bool { return p.Filenames == policy.ModeAES128CTS },
		"AES-128-CTS names: keys of 128 bits"},
	{"names-padding", func(p policy.Policy) bool { return p.Padding() < 32 },
		"names are padded to less than 32 bytes, which tells more of their lengths"},
	{"iv-32", func(p policy.Policy) bool { return p.Method() == policy.IVInoLblk32 },
		"IVs of 32 bits, which come again in a large tree"},
}
