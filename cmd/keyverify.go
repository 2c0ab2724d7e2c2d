package cmd

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/survey"
	"fsenc/internal/tree"
)

func newKeyVerify(a *app) *cobra.Command {
	var k keyFlags
	c := &cobra.Command{
		Use:   "verify IMAGE [PATH]",
		Short: "Try whether a key or passphrase opens an image",
		Long: "Try a key or passphrase on the encrypted directory PATH, or on all encrypted trees:\n" +
			"names and the last blocks of files are decoded, and what has to be zero in them is\n" +
			"looked at. The exit code is 12 when nothing is opened.",
		Args:              operands("IMAGE", "[PATH]"),
		ValidArgsFunction: a.completePaths(&k, true),
		RunE:              func(_ *cobra.Command, args []string) error { return a.keyVerify(&k, args[0], args[1:]) },
	}
	k.register(c.Flags())
	return c
}

// verified is what came of trying keys on a policy.
type verified struct {
	policy policy.Policy
	path   string // of the first directory
	trial  survey.Trial
	err    error
}

func (a *app) keyVerify(k *keyFlags, image string, paths []string) error {
	if err := checkPaths(paths...); err != nil {
		return err
	}
	x, err := a.openReading(image, k)
	if err != nil {
		return err
	}
	defer x.Close()
	top := x.tree.Root()
	if len(paths) > 0 {
		var lock error
		if top, lock, err = x.lookup(paths[0]); err == nil {
			err = lock
		}
		if err != nil {
			return err
		}
	}
	list, err := x.tryBelow(top)
	if err != nil {
		return err
	}
	return a.verdict(list)
}

// tryBelow tries keys on the encrypted trees that begin at or below a node.
func (x *access) tryBelow(top tree.Node) ([]*verified, error) {
	var list []*verified
	found := map[policy.Policy]*verified{}
	err := x.tree.Walk(top, func(n tree.Node) error {
		if err := x.app.ctx.Err(); err != nil {
			return err
		}
		attr, err := x.tree.Attr(n)
		if err != nil || !attr.Encrypted {
			return nil // fsck looks at damage
		}
		c, err := x.tree.Context(n)
		if err != nil || c == nil {
			return tree.SkipDir
		}
		v := found[c.Policy]
		if v == nil {
			v = &verified{policy: c.Policy, path: n.Path}
			found[c.Policy] = v
			list = append(list, v)
		}
		x.tryOn(v, n, attr)
		return tree.SkipDir
	})
	return list, err
}

// tryOn tries the key of a policy on one directory. The first error stays.
func (x *access) tryOn(v *verified, n tree.Node, attr image.Attr) {
	if v.err != nil || attr.Type != image.TypeDirectory {
		return
	}
	if v.err = x.unlock(n); v.err != nil {
		return
	}
	key, err := x.ring.For(v.policy)
	if err != nil {
		v.err = err
		return
	}
	t, err := survey.Try(x.fs, key, n.Ino)
	if err == nil && t.Wrong() {
		err = atPath(n.Path, fmt.Errorf("%w: names do not decode", crypt.ErrWrongKey))
	}
	v.err = err
	v.trial.Add(t)
}

// jsonVerified is a verdict on one policy in JSON.
type jsonVerified struct {
	Key      string `json:"key"`
	Opened   bool   `json:"opened"`
	Proven   bool   `json:"proven"`
	Names    int    `json:"names"`
	BadNames int    `json:"bad_names"`
	Blocks   int    `json:"blocks"`
	BadBlock int    `json:"bad_blocks"`
	Error    string `json:"error,omitempty"`
	jsonPath
}

// verdict prints what was opened. It is an error if nothing was.
func (a *app) verdict(list []*verified) error {
	if len(list) == 0 {
		return &hinted{errors.New("nothing is encrypted here"), "fsenc info IMAGE shows what is encrypted"}
	}
	opened := 0
	out := []jsonVerified{}
	var first error
	for _, v := range list {
		j := jsonVerified{Key: v.policy.KeySpec(), Opened: v.err == nil, Proven: v.trial.Proven(), Names: v.trial.Names,
			BadNames: v.trial.BadNames, Blocks: v.trial.Tails, BadBlock: v.trial.BadTails, jsonPath: pathOf(v.path)}
		if v.err != nil {
			j.Error = v.err.Error()
			first = firstError(first, v.err)
		} else {
			opened++
		}
		out = append(out, j)
	}
	if opened == 0 {
		return first
	}
	if a.json() {
		return a.emit(struct {
			header
			Policies []jsonVerified `json:"policies"`
		}{headerOf("key verify"), out})
	}
	return a.verdictText(out)
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (a *app) verdictText(list []jsonVerified) error {
	t := newTable(a.out, "KEY", "PATH", "OPENS", "DECODED")
	for _, v := range list {
		opens, decoded := "no", "-"
		if v.Opened {
			opens, decoded = "yes", fmt.Sprintf("%s, %s", plural(v.Names, "name"), plural(v.Blocks, "block"))
			if !v.Proven {
				decoded += ": too little to be certain"
			}
		}
		if v.BadNames+v.BadBlock > 0 {
			decoded += fmt.Sprintf("; damaged: %s, %s", plural(v.BadNames, "name"), plural(v.BadBlock, "block"))
		}
		t.row(v.Key, v.Path, opens, decoded)
	}
	return t.flush()
}
