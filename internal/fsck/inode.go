package fsck

import (
	"errors"
	"fmt"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/tree"
)

// Inode flags as FS_IOC_GETFLAGS gives them.
const (
	flagDataJournal = 0x00004000 // FS_JOURNAL_DATA_FL
	flagDAX         = 0x02000000 // FS_DAX_FL
)

// progressEvery is how many inodes pass between two calls of Progress.
const progressEvery = 1024

// subject is an inode under examination.
type subject struct {
	attr    image.Attr
	context *policy.Context  // nil if there is none that can be read
	key     *crypt.MasterKey // nil if it is not at hand
}

// inode checks what one inode says on its own.
func (c *checker) inode(a image.Attr, err error) error {
	if e := c.ctx.Err(); e != nil {
		return e
	}
	c.res.Inodes++
	if c.o.Progress != nil && c.res.Inodes%progressEvery == 0 {
		c.o.Progress(c.res.Inodes)
	}
	c.used.set(a.Ino)
	if err != nil {
		c.found(damage("inode-damaged", a.Ino, err))
		return nil
	}
	s := subject{attr: a}
	m := mark{kind: a.Type, encrypted: a.Encrypted}
	m.policy, err = c.context(&s)
	if a.Encrypted {
		c.res.Encrypted++
	}
	if a.Encrypted || m.policy != noContext {
		c.marks[a.Ino] = m
	}
	if err == nil {
		_, err = c.fs.Xattrs(a.Ino)
	}
	if err != nil {
		c.found(damage("xattr-damaged", a.Ino, err))
	}
	if c.layout != nil {
		c.layout.CheckInode(a.Ino, c.found)
	}
	c.place(&s)
	c.flags(&s)
	return c.body(&s)
}

// report notes an error about the inode.
func (c *checker) report(s *subject, id, advice, format string, a ...any) {
	c.found(image.Finding{ID: id, Severity: image.Error, Ino: s.attr.Ino, Text: fmt.Sprintf(format, a...), Advice: advice})
}

const restore = "restore the inode from a backup, or remove it"

// context reads the context, checks it against the flag and returns the
// number of its policy. The error is one of reading.
func (c *checker) context(s *subject) (uint32, error) {
	raw, err := c.fs.Context(s.attr.Ino)
	switch {
	case err != nil:
		return badContext, err
	case raw == nil && s.attr.Encrypted:
		c.report(s, "context-missing", restore, "marked encrypted, but has no encryption context")
		return noContext, nil
	case raw == nil:
		return noContext, nil
	case !s.attr.Encrypted:
		c.report(s, "context-without-flag", "set the inode's encrypt flag if its contents are ciphertext",
			"has an encryption context, but is not marked encrypted")
	}
	ctx, err := policy.ParseContext(raw)
	if err != nil {
		c.report(s, "context-invalid", restore, "%v", err)
		return badContext, nil
	}
	s.context = &ctx
	c.policy(s)
	c.nonce(s)
	num, ok := c.policies[ctx.Policy]
	if !ok {
		num = firstPolicy + uint32(len(c.policies))
		c.policies[ctx.Policy] = num
	}
	return num, nil
}

// policy checks the rules of policies and finds the key.
func (c *checker) policy(s *subject) {
	caps := c.caps
	caps.Casefold = s.attr.Casefold && s.attr.Type == image.TypeDirectory
	if err := s.context.Validate(caps); err != nil {
		advice := "no kernel opens this inode; restore its context"
		var rule *policy.RuleError
		if errors.As(err, &rule) && rule.Rule == policy.RuleStableInodes {
			advice = "set the feature: fsenc setup --feature stable_inodes"
		}
		c.report(s, "policy-invalid", advice, "%v", err)
		return
	}
	if !s.attr.Encrypted {
		return
	}
	if s.context.Version == 1 && s.attr.Type == image.TypeDirectory {
		// Listing it lets the tree find out which key this descriptor means.
		if err := c.t.Locked(tree.Node{Ino: s.attr.Ino, Type: s.attr.Type}); err != nil {
			return
		}
	}
	key, err := c.t.KeyFor(s.context.Policy)
	if err != nil {
		return
	}
	s.key = key
	c.res.Opened++
}

// nonce checks that nonces are random, so far as one can see it.
func (c *checker) nonce(s *subject) {
	n := s.context.Nonce
	if n == (policy.Nonce{}) {
		c.report(s, "nonce-zero", "restore the context; a file that was written so must be written anew", "the nonce is all zeros")
		return
	}
	if other, ok := c.nonces[n]; ok {
		c.report(s, "nonce-reused", "one of the two cannot be read, or both are encrypted alike: restore the context, or write one anew",
			"has the nonce of inode %d", other)
		return
	}
	c.nonces[n] = s.attr.Ino
}

// place checks that the inode is one that may be encrypted.
func (c *checker) place(s *subject) {
	a := s.attr
	has := s.context != nil
	if !a.Encrypted && !has {
		return
	}
	switch {
	case a.Ino == c.fs.Root():
		c.report(s, "root-encrypted", "no kernel makes that; its names do not resolve", "the root directory is encrypted")
	case a.Ino == c.lostFound:
		c.report(s, "lost-found-encrypted", "decrypt it: the checker needs it to keep what it finds", "lost+found is encrypted")
	case a.Reserved:
		c.report(s, "reserved-inode-encrypted", "clear the flag and the context", "belongs to the filesystem itself, but is encrypted")
	case !a.Type.Encrypts() && a.Encrypted:
		c.report(s, "special-file-encrypted", "clear the flag and the context", "a %s is marked encrypted", a.Type)
	case !a.Type.Encrypts():
		c.report(s, "special-file-context", "remove the context", "a %s has an encryption context", a.Type)
	}
}

// flags checks what must not stand beside the encrypt flag.
func (c *checker) flags(s *subject) {
	a := s.attr
	if a.Casefold && a.Type != image.TypeDirectory {
		c.report(s, "casefold-not-dir", "clear the flag", "a %s has the casefold flag", a.Type)
	} else if a.Casefold && !c.super.Casefold {
		c.report(s, "casefold-feature-missing", "set the casefold feature, or clear the flag",
			"the directory folds names, but the superblock does not have the casefold feature")
	}
	if !a.Encrypted {
		return
	}
	if a.Inline {
		text := "encrypted and inline, which no kernel can read"
		if a.Type == image.TypeRegular {
			text = "marked encrypted, but its contents are in the inode, where kernels read and write them in clear"
		}
		c.report(s, "inline-encrypted", "copy the file and remove this one", "%s", text)
	}
	if a.Flags&flagDAX != 0 {
		c.report(s, "dax-encrypted", "clear the flag: chattr -x", "has the DAX flag, which encryption excludes")
	}
	if a.Flags&flagDataJournal != 0 && a.Type == image.TypeRegular {
		c.found(image.Finding{ID: "data-journal-encrypted", Severity: image.Warning, Ino: a.Ino,
			Text:   "has the flag for journalling of contents, which kernels ignore for encrypted files",
			Advice: "clear the flag: chattr -j"})
	}
}
