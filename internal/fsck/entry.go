package fsck

import (
	"bytes"
	"fmt"
	"hash/maphash"

	"fsenc/internal/casefold"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/tree"
)

// dirState is the directory whose entries come.
type dirState struct {
	ino      image.Ino
	mark     mark
	casefold bool
	context  *policy.Context // nil if it has none that can be read
	cipher   *crypt.Names    // nil without key
	stored   map[uint64]bool // hashes of names that were met
	plain    map[uint64]bool // the same in clear, folded where that counts
}

var nameSeed = maphash.MakeSeed()

// enter makes ready for the entries of a directory. Those of one directory
// come together.
func (c *checker) enter(ino image.Ino) *dirState {
	if c.dir != nil && c.dir.ino == ino {
		return c.dir
	}
	c.closeDir()
	d := &dirState{ino: ino, mark: c.marks[ino], stored: map[uint64]bool{}, plain: map[uint64]bool{}}
	c.dir = d
	if attr, err := c.fs.Stat(ino); err == nil {
		d.casefold = attr.Casefold
	}
	if !d.mark.encrypted || d.mark.policy < firstPolicy {
		return d
	}
	raw, err := c.fs.Context(ino)
	if err != nil {
		return d
	}
	ctx, err := policy.ParseContext(raw)
	if err != nil {
		return d
	}
	d.context = &ctx
	if key, err := c.t.KeyFor(ctx.Policy); err == nil {
		// An unusable key was reported with the inode.
		if cipher, err := key.Names(ctx, uint64(ino), c.vol); err == nil {
			d.cipher = cipher
		}
	}
	return d
}

func (c *checker) closeDir() {
	if c.dir != nil && c.dir.cipher != nil {
		c.dir.cipher.Close()
	}
	c.dir = nil
}

// entry checks one name, and reports what waited for the path of its inode.
func (c *checker) entry(n tree.Node) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if n.Unread {
		c.emit(Finding{damage("directory-damaged", n.Ino, n.Err), n.Path})
		return nil
	}
	c.release(n.Ino, n.Path)
	if n.Parent == 0 {
		return nil
	}
	d := c.enter(n.Parent)
	if m, ok := c.marks[n.Ino]; ok && !m.named {
		m.named = true
		c.marks[n.Ino] = m
	}
	if d.mark.encrypted {
		c.cipherName(d, n)
	} else if n.Err != nil {
		c.emit(Finding{damage("name-damaged", n.Ino, n.Err), n.Path})
	}
	c.duplicates(d, n)
	if n.Stored.Misplaced {
		c.named(n, "lookup-misses", "run the filesystem's own checker, which builds the index anew",
			"the directory lists the entry, but a lookup does not find it: its index is wrong")
	}
	c.child(d, n)
	return nil
}

// named reports an error about a name.
func (c *checker) named(n tree.Node, id, advice, format string, a ...any) {
	c.emit(Finding{image.Finding{ID: id, Severity: image.Error, Ino: n.Ino, Text: fmt.Sprintf(format, a...), Advice: advice}, n.Path})
}

const rename = "rename the file, or restore the directory"

// cipherName checks a stored name of an encrypted directory.
func (c *checker) cipherName(d *dirState, n tree.Node) {
	stored := n.Stored.Name
	if len(stored) < minCipher {
		c.named(n, "name-short", rename, "the encrypted name has %d bytes, less than a cipher block", len(stored))
		return
	}
	if d.context != nil && len(stored)%d.context.Padding() != 0 && len(stored) != maxNameLen {
		c.named(n, "name-length", rename, "the encrypted name has %d bytes, not a multiple of the padding %d",
			len(stored), d.context.Padding())
		return
	}
	if d.cipher == nil {
		return
	}
	if n.Err != nil && !isKeyError(n.Err) {
		c.named(n, "name-undecodable", "remove the file, or restore the directory; the key may be the wrong one", "%v", n.Err)
		return
	}
	again, err := d.cipher.EncryptName(nil, n.Name)
	if err != nil || !bytes.Equal(again, stored) {
		c.named(n, "name-padding", rename, "the padding of the name is not all zeros, or not as long as the policy has it")
	}
	if !d.casefold {
		return
	}
	if hash, minor, _ := d.cipher.DirHash(folded(n.Name)); hash != n.Stored.Hash || minor != n.Stored.MinorHash {
		c.named(n, "name-hash", rename, "the entry has hash %08x and %08x, its name %08x and %08x: lookups miss it",
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
func (c *checker) duplicates(d *dirState, n tree.Node) {
	twice := func(seen map[uint64]bool, name []byte) bool {
		h := maphash.Bytes(nameSeed, name)
		old := seen[h]
		seen[h] = true
		return old
	}
	if twice(d.stored, n.Stored.Name) {
		c.named(n, "name-duplicate", rename, "the directory has a second entry of the same name")
		return
	}
	if n.Err != nil || !d.mark.encrypted && !d.casefold {
		return
	}
	name := n.Name
	if d.casefold {
		name = folded(name)
	}
	if twice(d.plain, name) {
		c.named(n, "name-duplicate", rename, "the directory has a second entry whose name reads the same")
	}
}

// child checks that the inode behind an entry is one that the directory may
// have: the kernel demands the directory's own policy.
func (c *checker) child(d *dirState, n tree.Node) {
	if !c.used.has(n.Ino) {
		c.named(n, "entry-dangling", "run the filesystem's own checker", "the entry leads to inode %d, which is not in use", n.Ino)
		return
	}
	m, marked := c.marks[n.Ino]
	if marked && n.Stored.Type != image.TypeUnknown && n.Stored.Type != m.kind {
		c.named(n, "entry-type", "run the filesystem's own checker", "the entry says %s, the inode is a %s", n.Stored.Type, m.kind)
	}
	if !d.mark.encrypted {
		c.plainParent(m, n)
		return
	}
	kind := n.Type
	if marked {
		kind = m.kind
	}
	switch {
	case !kind.Encrypts():
	case !m.encrypted:
		c.named(n, "child-unencrypted", "move it out and in again, or restore its encryption", "a %s that is not encrypted, in an encrypted directory", kind)
	case m.policy < firstPolicy || d.mark.policy < firstPolicy:
		// The missing or unknown context was reported.
	case m.policy != d.mark.policy:
		c.named(n, "child-policy", "copy it out and in again", "its policy differs from that of its directory: kernels refuse it")
	}
}

// plainParent tells of encrypted files that are seen from outside their tree.
// A directory there is just the top of one.
func (c *checker) plainParent(m mark, n tree.Node) {
	if m.encrypted && m.kind != image.TypeDirectory {
		c.emit(Finding{image.Finding{ID: "encrypted-outside", Severity: image.Info, Ino: n.Ino,
			Text: fmt.Sprintf("an encrypted %s with a name in a directory that is not encrypted", m.kind)}, n.Path})
	}
}
