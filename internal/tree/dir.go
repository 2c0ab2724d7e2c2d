package tree

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"fsenc/internal/casefold"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/names"
	"fsenc/internal/image"
)

// dirNames turns the names of one directory into shown ones and back.
type dirNames struct {
	encrypted bool
	casefold  bool
	cipher    *crypt.Names // nil if names stay in no-key form
	err       error        // why

	users   int  // calls that read the directory
	evicted bool // from the cache while in use
}

func (d *dirNames) close() {
	if d.cipher != nil {
		d.cipher.Close()
	}
}

// release undoes use.
func (d *dirNames) release() {
	d.users--
	if d.users == 0 && d.evicted {
		d.close()
	}
}

// use returns how the names of a directory read, for a call that may come to
// other directories before it is done, and so outlive the cache.
func (t *Tree) use(n Node) (*dirNames, error) {
	d, err := t.dirNames(n)
	if err == nil {
		d.users++
	}
	return d, err
}

// dirNames returns how the names of a directory read. Like the kernel it
// answers for a directory whose context is damaged as if the key was missing.
func (t *Tree) dirNames(n Node) (*dirNames, error) {
	if d := t.dirs[n.Ino]; d != nil {
		return d, nil
	}
	attr, err := t.fs.Stat(n.Ino)
	if err != nil {
		return nil, n.wrap(err)
	}
	if attr.Type != image.TypeDirectory {
		return nil, n.wrap(image.ErrNotDir)
	}
	d := &dirNames{encrypted: attr.Encrypted, casefold: attr.Casefold}
	if attr.Encrypted {
		d.cipher, d.err = t.dirCipher(n.Ino)
		d.err = n.wrap(d.err)
	}
	if d.encrypted && d.cipher == nil {
		return d, nil // not kept: its key may come
	}
	if len(t.oldest) == maxCachedDirs {
		t.evict(t.oldest[0])
		t.oldest = t.oldest[1:]
	}
	t.dirs[n.Ino], t.oldest = d, append(t.oldest, n.Ino)
	return d, nil
}

func (t *Tree) evict(dir image.Ino) {
	d := t.dirs[dir]
	delete(t.dirs, dir)
	if d.evicted = true; d.users == 0 {
		d.close()
	}
}

func (t *Tree) dirCipher(dir image.Ino) (*crypt.Names, error) {
	c, key, err := t.key(dir)
	if errors.Is(err, crypt.ErrNoKey) {
		if key = t.confirm(dir, c); key != nil {
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	return key.Names(c, uint64(dir), t.vol)
}

// names returns the cipher of a symlink's target.
func (t *Tree) names(ino image.Ino) (*crypt.Names, error) {
	c, key, err := t.key(ino)
	if err != nil {
		return nil, err
	}
	return key.Names(c, uint64(ino), t.vol)
}

// Locked returns why the names in a directory are shown in no-key form: the
// error wraps crypt.ErrNoKey, or the context is damaged. It is nil if they
// are in clear.
func (t *Tree) Locked(dir Node) error {
	d, err := t.dirNames(dir)
	if err != nil {
		return err
	}
	return d.err
}

// child makes the node of a directory entry. The entry's name is copied.
func (d *dirNames) child(dir Node, e image.Dirent) Node {
	e.Name = bytes.Clone(e.Name)
	n := Node{Ino: e.Ino, Type: e.Type, Stored: e, Parent: dir.Ino, Err: d.err}
	switch {
	case !d.encrypted:
		n.Name = e.Name
		if why := badName(n.Name); why != "" {
			n.Err = &image.CorruptError{What: "directory entry", Ino: dir.Ino, Why: fmt.Sprintf("name %q %s", n.Name, why)}
		}
	case d.cipher != nil:
		n.Name, n.Err = d.cipher.DecryptName(nil, e.Name)
		if why := badName(n.Name); n.Err == nil && why != "" {
			n.Err = &image.CorruptError{What: "directory entry", Ino: dir.Ino, Why: "decrypted name " + why}
		}
	}
	if d.encrypted && n.Err != nil {
		n.Name = []byte(names.NoKeyName(e.Hash, e.MinorHash, e.Name))
	}
	n.Path = join(dir.Path, n.Name)
	if n.Err != nil {
		n.Err = n.wrap(n.Err)
	}
	return n
}

// badName says what a name has that no name may have, "" if nothing.
func badName(name []byte) string {
	switch {
	case len(name) == 0:
		return "is empty"
	case bytes.IndexByte(name, '/') >= 0:
		return "holds a slash"
	case bytes.IndexByte(name, 0) >= 0:
		return "holds a NUL"
	case string(name) == "." || string(name) == "..":
		return "is that of a directory itself"
	}
	return ""
}

func join(dir string, name []byte) string {
	if strings.HasSuffix(dir, "/") {
		return dir + string(name)
	}
	return dir + "/" + string(name)
}

// ReadDir calls f for each entry of a directory in stored order and stops at
// its first error. An entry that cannot be shown in clear has its Err set.
func (t *Tree) ReadDir(dir Node, f func(Node) error) error {
	d, err := t.use(dir)
	if err != nil {
		return err
	}
	defer d.release()
	var stop error
	err = t.fs.ReadDir(dir.Ino, func(e image.Dirent) error {
		stop = f(t.typed(d.child(dir, e)))
		return stop
	})
	if stop != nil {
		return stop
	}
	return dir.wrap(err)
}

// typed asks the inode for its type where directory entries do not say.
func (t *Tree) typed(n Node) Node {
	if n.Type != image.TypeUnknown {
		return n
	}
	if a, err := t.fs.Stat(n.Ino); err == nil {
		n.Type = a.Type
	}
	return n
}

// Lookup finds the node at an absolute path. Components are names in clear or
// in no-key form; symlinks are not followed, and ".." goes up by the path.
func (t *Tree) Lookup(path string) (Node, error) {
	at := []Node{t.Root()}
	for part := range strings.SplitSeq(path, "/") {
		switch part {
		case "", ".":
			continue
		case "..":
			at = at[:max(1, len(at)-1)]
			continue
		}
		child, err := t.Child(at[len(at)-1], []byte(part))
		if err != nil {
			return Node{}, err
		}
		at = append(at, child)
	}
	return at[len(at)-1], nil
}

// Child finds one name in a directory: as it is shown, in no-key form or,
// where the directory folds, in another case.
func (t *Tree) Child(dir Node, name []byte) (Node, error) {
	if dir.Type == image.TypeSymlink {
		return Node{}, dir.wrap(fmt.Errorf("%w: a symlink, which is not followed", image.ErrNotDir))
	}
	d, err := t.dirNames(dir)
	if err != nil {
		return Node{}, err
	}
	e, err := t.find(d, dir.Ino, name)
	if err != nil {
		missing := Node{Path: join(dir.Path, name)}
		if errors.Is(err, image.ErrNotExist) && d.err != nil {
			err = fmt.Errorf("%w by this name (names read in no-key form: %w)", err, d.err)
		}
		return Node{}, missing.wrap(err)
	}
	return t.typed(d.child(dir, e)), nil
}

// find tries the ways to name an entry, cheapest first.
func (t *Tree) find(d *dirNames, dir image.Ino, name []byte) (image.Dirent, error) {
	stored, ok := d.stored(name)
	if ok {
		e, err := t.fs.Lookup(dir, stored)
		if !errors.Is(err, image.ErrNotExist) {
			return e, err
		}
	}
	match := d.matcher(name)
	if match == nil {
		return image.Dirent{}, image.ErrNotExist
	}
	var found image.Dirent
	err := t.fs.ReadDir(dir, func(e image.Dirent) error {
		if !match(e.Name) {
			return nil
		}
		found = e
		found.Name = bytes.Clone(e.Name)
		return errFound
	})
	switch {
	case errors.Is(err, errFound):
		return found, nil
	case err != nil:
		return image.Dirent{}, err
	}
	return image.Dirent{}, image.ErrNotExist
}

// errFound ends a scan of a directory.
var errFound = errors.New("found")

// stored returns the bytes under which a name in clear would be stored.
func (d *dirNames) stored(name []byte) ([]byte, bool) {
	if !d.encrypted {
		return name, true
	}
	if d.cipher == nil {
		return nil, false
	}
	ct, err := d.cipher.EncryptName(nil, name)
	return ct, err == nil
}

// matcher returns a test of stored names that finds what an exact lookup does
// not: names that fold alike, and no-key names. It is nil if there is none.
func (d *dirNames) matcher(name []byte) func(stored []byte) bool {
	var fold, nokey func([]byte) bool
	if d.casefold {
		fold = d.foldMatcher(name)
	}
	if d.encrypted {
		if k, err := names.ParseNoKeyName(string(name)); err == nil {
			nokey = k.Matches
		}
	}
	switch {
	case fold == nil:
		return nokey
	case nokey == nil:
		return fold
	}
	return func(stored []byte) bool { return fold(stored) || nokey(stored) }
}

func (d *dirNames) foldMatcher(name []byte) func([]byte) bool {
	want, ok := casefold.Fold(nil, name)
	if !ok || d.encrypted && d.cipher == nil {
		return nil
	}
	var plain, got []byte
	return func(stored []byte) bool {
		if d.encrypted {
			var err error
			if plain, err = d.cipher.DecryptName(plain[:0], stored); err != nil {
				return false
			}
			stored = plain
		}
		var ok bool
		got, ok = casefold.Fold(got[:0], stored)
		return ok && bytes.Equal(got, want)
	}
}
