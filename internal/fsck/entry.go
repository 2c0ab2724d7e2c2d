package fsck

import (
	"bytes"
	"fmt"
	"hash/maphash"

	"fsenc/internal/casefold"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/feature"
	"fsenc/internal/image"
	"fsenc/internal/tree"
)

// lister is a worker on directories. It is at one directory at a time, and at
// one entry of that.
type lister struct {
	*checker
	t       *tree.Tree
	awaited map[image.Ino]bool // inodes for whose path findings wait

	mark     mark // of the directory
	casefold bool
	context  *policy.Context // nil if it has none that can be read
	cipher   *crypt.Names    // nil without key
	stored   nameSet         // names that were met
	plain    nameSet         // the same in clear, folded where that counts

	entry *tree.Entry
	node  tree.Node // of entry, if it was made; see at
	out   []event
}

// event is a finding in a directory. Where awaited is set it is none, but the
// path of an inode that a finding waits for.
type event struct {
	Finding
	awaited image.Ino
}

// names lists all directories, in the order of a walk.
func (c *checker) names() error {
	awaited := make(map[image.Ino]bool)
	for ino := range c.pending {
		awaited[ino] = true
	}
	var workers []*lister
	for _, t := range c.trees {
		workers = append(workers, &lister{checker: c, t: t, awaited: awaited})
	}
	root := c.trees[0].Root()
	c.release(root.Ino, root.Path)
	read := func(w int, dir tree.Node) ([]event, []tree.Node) { return workers[w].list(dir) }
	return tree.WalkDirs(len(workers), root, read, c.tell, func(n tree.Node) error {
		c.telling.Lock()
		defer c.telling.Unlock()
		c.emit(Finding{damage("directory-damaged", n.Ino, n.Err), n.Path})
		return nil
	})
}

// tell reports what was found in the next directory.
func (c *checker) tell(found []event) error {
	c.held.Add(-int64(len(found)))
	c.telling.Lock()
	defer c.telling.Unlock()
	for _, e := range found {
		if e.awaited != 0 {
			c.release(e.awaited, e.Path)
		} else {
			c.emit(e.Finding)
		}
	}
	return c.ctx.Err()
}

// add keeps an event until the turn of its directory comes. Where too many wait
// already it is told at once, out of turn.
func (l *lister) add(e event) {
	if l.held.Add(1) <= maxPending {
		l.out = append(l.out, e)
		return
	}
	// A context that ends is seen with the next entry.
	_ = l.tell([]event{e})
}

// list checks the entries of a directory and returns the directories in it.
func (l *lister) list(dir tree.Node) ([]event, []tree.Node) {
	l.out = nil
	var dirs []tree.Node
	l.enter(dir.Ino)
	defer l.leave()
	err := l.t.Entries(dir, func(e *tree.Entry) error {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		l.entry, l.node = e, tree.Node{}
		l.check()
		if e.Type == image.TypeDirectory || e.Type == image.TypeUnknown && l.at().Type == image.TypeDirectory {
			dirs = append(dirs, *l.at())
		}
		return nil
	})
	if err != nil && l.ctx.Err() == nil {
		l.add(event{Finding: Finding{damage("directory-damaged", dir.Ino, err), dir.Path}})
	}
	return l.out, dirs
}

// at is the node of the entry.
func (l *lister) at() *tree.Node {
	if l.node.Ino == 0 {
		l.node = l.entry.Node()
	}
	return &l.node
}

// enter makes ready for the entries of a directory.
func (l *lister) enter(ino image.Ino) {
	l.mark, l.casefold, l.context, l.cipher = l.marks.get(ino), false, nil, nil
	l.stored.reset()
	l.plain.reset()
	if attr, err := l.fs.Stat(ino); err == nil {
		l.casefold = attr.Casefold
	}
	if !l.mark.encrypted || l.mark.policy < firstPolicy {
		return
	}
	raw, err := l.fs.Context(ino)
	if err != nil {
		return
	}
	ctx, err := policy.ParseContext(raw)
	if err != nil {
		return
	}
	l.context = &ctx
	if key, err := l.t.KeyFor(ctx.Policy); err == nil {
		// An unusable key was reported with the inode.
		if cipher, err := key.Names(ctx, uint64(ino), l.vol); err == nil {
			l.cipher = cipher
		}
	}
}

func (l *lister) leave() {
	if l.cipher != nil {
		l.cipher.Close()
	}
}

// check checks the entry. Where the directory is locked there is no node to be
// made unless something is to be told.
func (l *lister) check() {
	ino := l.entry.Ino
	if l.awaited[ino] {
		l.add(event{Finding{Path: l.at().Path}, ino})
	}
	l.marks.met(ino)
	if l.mark.encrypted {
		l.cipherName()
	} else if err := l.at().Err; err != nil {
		l.add(event{Finding: Finding{damage("name-damaged", ino, err), l.at().Path}})
	}
	l.duplicates()
	if l.entry.Misplaced {
		l.named("lookup-misses", "run the filesystem's own checker, which builds the index anew",
			"the directory lists the entry, but a lookup does not find it: its index is wrong")
	}
	l.child()
}

// named reports an error about a name.
func (l *lister) named(id, advice, format string, a ...any) {
	l.add(event{Finding: Finding{
		image.Finding{ID: id, Severity: image.Error, Ino: l.entry.Ino, Text: fmt.Sprintf(format, a...), Advice: advice}, l.at().Path}})
}

const rename = "rename the file, or restore the directory"

// cipherName checks a stored name of an encrypted directory.
func (l *lister) cipherName() {
	stored := l.entry.Name
	if len(stored) < minCipher {
		l.named("name-short", rename, "the encrypted name has %d bytes, less than a cipher block", len(stored))
		return
	}
	if l.context != nil && len(stored)%l.context.Padding() != 0 && len(stored) != maxNameLen {
		l.named("name-length", rename, "the encrypted name has %d bytes, not a multiple of the padding %d",
			len(stored), l.context.Padding())
		return
	}
	if l.cipher == nil {
		return
	}
	n := l.at()
	if n.Err != nil && !isKeyError(n.Err) {
		l.named("name-undecodable", "remove the file, or restore the directory; the key may be the wrong one", "%v", n.Err)
		return
	}
	again, err := l.cipher.EncryptName(nil, n.Name)
	if err != nil || !bytes.Equal(again, stored) {
		l.named("name-padding", rename, "the padding of the name is not all zeros, or not as long as the policy has it")
	}
	if !l.casefold {
		return
	}
	hash, minor, raw := l.cipher.DirHash(folded(n.Name))
	if hash, minor = feature.StoredHash(l.super, hash, minor, raw); hash != n.Stored.Hash || minor != n.Stored.MinorHash {
		l.named("name-hash", rename, "the entry has hash %08x and %08x, its name %08x and %08x: lookups miss it",
			n.Stored.Hash, n.Stored.MinorHash, hash, minor)
	}
}

// folded is what a casefolded directory hashes and compares.
func folded(name []byte) []byte {
	if f, ok := casefold.Fold(nil, name); ok {
		return f
	}
	return name
}

// duplicates finds two equal names, as stored and in clear.
func (l *lister) duplicates() {
	if l.stored.twice(l.entry.Name) {
		l.named("name-duplicate", rename, "the directory has a second entry of the same name")
		return
	}
	if l.entry.Locked() || !l.mark.encrypted && !l.casefold || l.at().Err != nil {
		return
	}
	name := l.at().Name
	if l.casefold {
		name = folded(name)
	}
	if l.plain.twice(name) {
		l.named("name-duplicate", rename, "the directory has a second entry whose name reads the same")
	}
}

// nameSet holds hashes of names.
type nameSet struct{ hashes map[uint64]struct{} }

var nameSeed = maphash.MakeSeed()

// twice reports whether the name is there, and puts it in.
func (s *nameSet) twice(name []byte) bool {
	h := maphash.Bytes(nameSeed, name)
	before := len(s.hashes)
	s.hashes[h] = struct{}{}
	return len(s.hashes) == before
}

// reset empties the set. One that was large is given up: to clear it takes as
// long as to fill it.
func (s *nameSet) reset() {
	const small = 4096
	if s.hashes == nil || len(s.hashes) > small {
		s.hashes = make(map[uint64]struct{})
		return
	}
	clear(s.hashes)
}

// child checks that the inode behind an entry is one that the directory may
// have: the kernel demands the directory's own policy.
func (l *lister) child() {
	e := l.entry
	m := l.marks.get(e.Ino)
	if !m.used {
		if _, err := l.fs.Stat(e.Ino); err == nil {
			return // made up by the filesystem: btrfs, where a subvolume was
		}
		l.named("entry-dangling", "run the filesystem's own checker", "the entry leads to inode %d, which is not in use", e.Ino)
		return
	}
	if m.special() && e.Type != image.TypeUnknown && e.Type != m.kind {
		l.named("entry-type", "run the filesystem's own checker", "the entry says %s, the inode is a %s", e.Type, m.kind)
	}
	if !l.mark.encrypted {
		l.plainParent(m)
		return
	}
	switch {
	case !m.kind.Encrypts():
	case !m.encrypted:
		l.named("child-unencrypted", "move it out and in again, or restore its encryption", "a %s that is not encrypted, in an encrypted directory", m.kind)
	case m.policy < firstPolicy || l.mark.policy < firstPolicy:
		// The missing or unknown context was reported.
	case m.policy != l.mark.policy:
		l.named("child-policy", "copy it out and in again", "its policy differs from that of its directory: kernels refuse it")
	}
}

// plainParent tells of encrypted files that are seen from outside their tree.
// A directory there is just the top of one.
func (l *lister) plainParent(m mark) {
	if m.encrypted && m.kind != image.TypeDirectory {
		l.add(event{Finding: Finding{image.Finding{ID: "encrypted-outside", Severity: image.Info, Ino: l.entry.Ino,
			Text: fmt.Sprintf("an encrypted %s with a name in a directory that is not encrypted", m.kind)}, l.at().Path}})
	}
}
