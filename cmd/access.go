package cmd

import (
	"errors"
	"fmt"
	"strings"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/keystore"
	"fsenc/internal/secret"
	"fsenc/internal/survey"
	"fsenc/internal/tree"
)

// access is an image opened for reading, with the keys that were given and
// those that are unlocked on the way.
type access struct {
	*opened
	app  *app
	k    *keyFlags
	ring *crypt.Keyring
	tree *tree.Tree

	// tried holds the policies whose key was looked for, and what came of it.
	tried map[policy.Policy]error

	silent bool // do not ask for a passphrase now

	store      *keystore.Store // once read
	unlocked   map[string]*keystore.Unlocked
	passphrase *secret.Buffer // of the flags, once read
}

// openReading opens an image and reads the raw keys.
func (a *app) openReading(path string, k *keyFlags) (*access, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	keys, err := a.masterKeys(k)
	if err != nil {
		return nil, err
	}
	img, err := a.openImage(path, probe.Options{})
	if err != nil {
		wipeKeys(keys)
		return nil, err
	}
	return a.accessTo(img, k, keys), nil
}

// accessTo joins an opened image with keys, which it wipes in the end.
func (a *app) accessTo(img *opened, k *keyFlags, keys []*crypt.MasterKey) *access {
	x := &access{opened: img, app: a, k: k, ring: &crypt.Keyring{}, tried: map[policy.Policy]error{},
		unlocked: map[string]*keystore.Unlocked{}}
	x.ring.Add(keys...)
	x.tree = tree.New(img.fs, x.ring)
	return x
}

// letGo forgets the open filesystem, and all that it keeps in memory.
func (x *access) letGo() {
	x.tree.Close()
	x.tree, x.fs = nil, nil
}

// Close wipes the keys and gives the lock back.
func (x *access) Close() {
	if x.tree != nil {
		x.letGo()
	}
	x.ring.Wipe()
	x.wipeSecrets()
	x.opened.Close()
}

// checkPaths refuses relative paths inside the image.
func checkPaths(paths ...string) error {
	for _, p := range paths {
		if !strings.HasPrefix(p, "/") {
			e := usagef("the path %q is not absolute", escapeString(p))
			e.hint = "paths inside the image begin with a slash: /" + escapeString(p)
			return e
		}
	}
	return nil
}

// lookup finds a path. On the way the key of the first encrypted directory is
// looked for; lock tells why it is not there, while the node is still found
// where the path is in no-key form.
func (x *access) lookup(path string) (n tree.Node, lock, err error) {
	at := x.tree.Root()
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			return x.lookupDotted(path)
		}
		if lock == nil {
			lock = x.unlock(at)
		}
		if at, err = x.tree.Child(at, []byte(part)); err != nil {
			return at, lock, x.explain(err, lock)
		}
	}
	if lock == nil {
		lock = x.unlock(at)
	}
	return at, lock, nil
}

// lookupDotted resolves ".." by the text of the path, then starts over.
func (x *access) lookupDotted(path string) (tree.Node, error, error) {
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		switch {
		case part == "..":
			parts = parts[:max(0, len(parts)-1)]
		case part != "" && part != ".":
			parts = append(parts, part)
		}
	}
	return x.lookup("/" + strings.Join(parts, "/"))
}

// explain prefers the reason why a directory is locked to the one why a name
// in clear was not found in it.
func (x *access) explain(err, lock error) error {
	if lock != nil && errors.Is(err, crypt.ErrNoKey) {
		return lock
	}
	return err
}

// unlock looks for the key of an encrypted inode, once for each policy. It
// returns why there is none, nil if none is needed.
func (x *access) unlock(n tree.Node) error {
	attr, err := x.tree.Attr(n)
	if err != nil || !attr.Encrypted {
		return nil // whoever reads the node meets the error again
	}
	c, err := x.tree.Context(n)
	if err != nil || c == nil {
		return nil
	}
	known, ok := x.tried[c.Policy]
	if !ok {
		known = x.findKey(n, attr, c.Policy)
		x.tried[c.Policy] = known
	}
	return known
}

// unlockSilently looks for the key of what comes up in a walk: no question is
// asked then, and without a key the names have their no-key form.
func (x *access) unlockSilently(n tree.Node) {
	was := x.silent
	x.silent = true
	_ = x.unlock(n) // who needs the key for more gets the error again
	x.silent = was
}

// findKey tries the keys at hand, then the metadata of the image.
func (x *access) findKey(n tree.Node, attr image.Attr, p policy.Policy) error {
	for _, key := range x.ring.Candidates(p) {
		if p.Version == 2 {
			return nil // the identifier is derived from the key
		}
		if opensInode(x, key, attr, p) {
			x.ring.Bind(p.Descriptor, key)
			return nil
		}
	}
	err := x.unlockPolicy(p)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNoMetadata) && len(x.ring.Keys()) > 0:
		return atPath(n.Path, fmt.Errorf("%w: none of the given keys is the one of policy %s", crypt.ErrWrongKey, p.KeySpec()))
	case errors.Is(err, errNoMetadata):
		return &hinted{
			atPath(n.Path, fmt.Errorf("%w: policy %s", crypt.ErrNoKey, p.KeySpec())),
			"give the key with --key-file; fsenc info IMAGE shows which policies there are",
		}
	}
	return atPath(n.Path, err)
}

// opensInode reports whether a key is the one of a v1 policy. The descriptor
// proves nothing: names in the directory have to come out right. With too
// little to see, the custom of how descriptors are made tips the scales.
func opensInode(x *access, key *crypt.MasterKey, attr image.Attr, p policy.Policy) bool {
	if attr.Type != image.TypeDirectory {
		return true
	}
	t, err := survey.Try(x.fs, key, attr.Ino)
	if err != nil {
		return false
	}
	return t.Proven() || t.Empty() || key.Matches(p) && !t.Wrong()
}

// errNoMetadata: .fscrypt does not know the policy, or it must not be asked.
var errNoMetadata = errors.New("no metadata of this policy")
