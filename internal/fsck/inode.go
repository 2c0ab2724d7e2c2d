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

// subject is an inode under examination.
type subject struct {
	attr    image.Attr
	context *policy.Context  // nil if there is none that can be read
	key     *crypt.MasterKey // nil if it is not at hand
}

// inode checks what one inode says on its own.
func (x *examiner) inode(a image.Attr, err error) error {
	if e := x.ctx.Err(); e != nil {
		return e
	}
	x.out.res.Inodes++
	m := mark{kind: a.Type, used: true}
	if err != nil {
		x.out.marks = append(x.out.marks, markOf{a.Ino, m})
		x.found(damage("inode-damaged", a.Ino, err))
		return nil
	}
	s := subject{attr: a}
	m.encrypted = a.Encrypted
	m.policy, err = x.context(&s)
	if a.Encrypted {
		x.out.res.Encrypted++
	}
	x.out.marks = append(x.out.marks, markOf{a.Ino, m})
	if err == nil {
		_, err = x.fs.Xattrs(a.Ino)
	}
	if err != nil {
		x.found(damage("xattr-damaged", a.Ino, err))
	}
	if x.layout != nil {
		x.layout.CheckInode(a.Ino, x.found)
	}
	x.place(&s)
	x.flags(&s)
	return x.body(&s)
}

// report notes an error about the inode.
func (x *examiner) report(s *subject, id, advice, format string, a ...any) {
	x.found(image.Finding{ID: id, Severity: image.Error, Ino: s.attr.Ino, Text: fmt.Sprintf(format, a...), Advice: advice})
}

const restore = "restore the inode from a backup, or remove it"

// context reads the context, checks it against the flag and returns the
// number of its policy. The error is one of reading.
func (x *examiner) context(s *subject) (uint32, error) {
	raw, err := x.fs.Context(s.attr.Ino)
	switch {
	case err != nil:
		return badContext, err
	case raw == nil && s.attr.Encrypted:
		x.report(s, "context-missing", restore, "marked encrypted, but has no encryption context")
		return noContext, nil
	case raw == nil:
		return noContext, nil
	case !s.attr.Encrypted:
		x.report(s, "context-without-flag", "set the inode's encrypt flag if its contents are ciphertext",
			"has an encryption context, but is not marked encrypted")
	}
	ctx, err := policy.ParseContext(raw)
	if err != nil {
		x.report(s, "context-invalid", restore, "%v", err)
		return badContext, nil
	}
	s.context = &ctx
	x.nonce(s)
	return x.policy(s), nil
}

// verdict is what there is to say about a policy, whoever has it.
type verdict struct {
	number uint32
	broken [2]error         // the rule that it breaks, on other inodes and on directories that fold
	key    *crypt.MasterKey // of a v2 policy, nil if it is not at hand
}

// maxVerdicts bounds what a worker remembers of an image in which every inode
// has a policy of its own.
const maxVerdicts = 4096

// verdictOn examines a policy once.
func (x *examiner) verdictOn(p policy.Policy) *verdict {
	v := x.verdicts[p]
	if v == nil {
		if len(x.verdicts) == maxVerdicts {
			clear(x.verdicts)
		}
		v = &verdict{number: x.numbers.of(p)}
		caps := x.caps
		for i, fold := range []bool{false, true} {
			caps.Casefold = fold
			v.broken[i] = p.Validate(caps)
		}
		if p.Version != 1 {
			v.key, _ = x.t.KeyFor(p) // without key it stays closed, which is no finding
		}
		x.verdicts[p] = v
	}
	return v
}

// policy checks the rules of policies and finds the key. It returns the number
// of the policy.
func (x *examiner) policy(s *subject) uint32 {
	v := x.verdictOn(s.context.Policy)
	err := v.broken[0]
	if s.attr.Casefold && s.attr.Type == image.TypeDirectory {
		err = v.broken[1]
	}
	if err != nil {
		advice := "no kernel opens this inode; restore its context"
		var rule *policy.RuleError
		if errors.As(err, &rule) && rule.Rule == policy.RuleStableInodes {
			advice = "set the feature: fsenc setup --feature stable_inodes"
		}
		x.report(s, "policy-invalid", advice, "%v", err)
		return v.number
	}
	if s.attr.Encrypted {
		if s.key = x.keyOf(s, v); s.key != nil {
			x.out.res.Opened++
		}
	}
	return v.number
}

// keyOf returns the key of an encrypted inode, nil if it is not at hand.
func (x *examiner) keyOf(s *subject, v *verdict) *crypt.MasterKey {
	if s.context.Version != 1 {
		return v.key
	}
	if s.attr.Type == image.TypeDirectory {
		// Listing it lets the tree find out which key this descriptor means.
		if err := x.t.Locked(tree.Node{Ino: s.attr.Ino, Type: s.attr.Type}); err != nil {
			return nil
		}
	}
	if len(x.o.Keys.Keys()) == 0 {
		return nil
	}
	key, err := x.t.KeyFor(s.context.Policy)
	if err != nil {
		return nil
	}
	return key
}

// nonce checks that nonces are random, so far as one can see it.
func (x *examiner) nonce(s *subject) {
	n := s.context.Nonce
	if n == (policy.Nonce{}) {
		x.report(s, "nonce-zero", "restore the context; a file that was written so must be written anew", "the nonce is all zeros")
		return
	}
	x.out.nonces = append(x.out.nonces, newNonceOf(n, s.attr.Ino))
}

// place checks that the inode is one that may be encrypted.
func (x *examiner) place(s *subject) {
	a := s.attr
	has := s.context != nil
	if !a.Encrypted && !has {
		return
	}
	switch {
	case a.Ino == x.fs.Root() && !x.super.RootPolicy:
		x.report(s, "root-encrypted", "no kernel makes that; its names do not resolve", "the root directory is encrypted")
	case a.Ino == x.lostFound:
		x.report(s, "lost-found-encrypted", "decrypt it: the checker needs it to keep what it finds", "lost+found is encrypted")
	case a.Reserved:
		x.report(s, "reserved-inode-encrypted", "clear the flag and the context", "belongs to the filesystem itself, but is encrypted")
	case !a.Type.Encrypts() && a.Encrypted:
		x.report(s, "special-file-encrypted", "clear the flag and the context", "a %s is marked encrypted", a.Type)
	case !a.Type.Encrypts():
		x.report(s, "special-file-context", "remove the context", "a %s has an encryption context", a.Type)
	}
}

// flags checks what must not stand beside the encrypt flag.
func (x *examiner) flags(s *subject) {
	a := s.attr
	if a.Casefold && a.Type != image.TypeDirectory {
		x.report(s, "casefold-not-dir", "clear the flag", "a %s has the casefold flag", a.Type)
	} else if a.Casefold && !x.super.Casefold {
		x.report(s, "casefold-feature-missing", "set the casefold feature, or clear the flag",
			"the directory folds names, but the superblock does not have the casefold feature")
	}
	if !a.Encrypted {
		return
	}
	if a.Inline && (x.super.Inline == "" || a.Type != image.TypeRegular) {
		text := "encrypted and inline, which no kernel can read"
		if a.Type == image.TypeRegular {
			text = "marked encrypted, but its contents are in the inode, where kernels read and write them in clear"
		}
		x.report(s, "inline-encrypted", "copy the file and remove this one", "%s", text)
	}
	if a.Flags&flagDAX != 0 {
		x.report(s, "dax-encrypted", "clear the flag: chattr -x", "has the DAX flag, which encryption excludes")
	}
	if a.Flags&flagDataJournal != 0 && a.Type == image.TypeRegular {
		x.found(image.Finding{ID: "data-journal-encrypted", Severity: image.Warning, Ino: a.Ino,
			Text:   "has the flag for journalling of contents, which kernels ignore for encrypted files",
			Advice: "clear the flag: chattr -j"})
	}
}
