package convert

import (
	"fmt"

	"fsenc/internal/casefold"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/feature"
	"fsenc/internal/image"
)

// form is how an inode is stored: nil is plaintext, else its context.
type form = *policy.Context

// oldForm and newForm are what an inode has before and after the conversion,
// with nonces from the plan. Where the inode is stored in that form already,
// its own context counts: see storedForm.
func (c *Conversion) oldForm(it item) form {
	if c.plan.Op == Encrypt {
		return nil
	}
	return &policy.Context{Policy: c.plan.Policies[it.policy], Nonce: c.nonces.of(it.ino, true)}
}

func (c *Conversion) newForm(it item) form {
	switch c.plan.Op {
	case Encrypt:
		return &policy.Context{Policy: c.plan.Policies[it.policy], Nonce: c.nonces.of(it.ino, false)}
	case Rekey:
		return &policy.Context{Policy: *c.plan.Target, Nonce: c.nonces.of(it.ino, false)}
	}
	return nil
}

// storedForm is what the inode says itself.
func (c *Conversion) storedForm(ino image.Ino) (form, error) {
	raw, err := c.fs.Context(ino)
	if err != nil || raw == nil {
		return nil, err
	}
	ctx, err := policy.ParseContext(raw)
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", ino, err)
	}
	return &ctx, nil
}

// setForm gives the inode its context, or takes it away.
func (c *Conversion) setForm(ino image.Ino, f form) error {
	if f == nil {
		return c.fs.SetContext(ino, nil)
	}
	return c.fs.SetContext(ino, f.Bytes())
}

// names opens the names cipher of an inode, nil for plaintext.
func (c *Conversion) names(ino image.Ino, f form) (*crypt.Names, error) {
	if f == nil {
		return nil, nil
	}
	key, err := c.keys.For(f.Policy)
	if err != nil {
		return nil, err
	}
	return key.Names(*f, uint64(ino), c.vol)
}

// convertMeta turns a directory or a symlink from one form into another.
func (c *Conversion) convertMeta(it item, from, to form) error {
	var err error
	if it.kind == image.TypeDirectory {
		err = c.convertDir(it.ino, from, to)
	} else {
		err = c.convertLink(it.ino, from, to)
	}
	if err != nil {
		return err
	}
	return c.setForm(it.ino, to)
}

// convertDir stores all names of a directory anew.
func (c *Conversion) convertDir(ino image.Ino, from, to form) error {
	a, err := c.fs.Stat(ino)
	if err != nil {
		return err
	}
	dec, err := c.names(ino, from)
	if err != nil {
		return err
	}
	if dec != nil {
		defer dec.Close()
	}
	enc, err := c.names(ino, to)
	if err != nil {
		return err
	}
	if enc != nil {
		defer enc.Close()
	}
	var entries []image.Dirent
	err = c.fs.ReadDir(ino, func(e image.Dirent) error {
		e, err := c.recodeName(e, dec, enc, a.Casefold)
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return err
	}
	return c.fs.SetDir(ino, entries, to != nil)
}

// recodeName gives an entry its name in another form, and the hash that a
// casefolded directory stores with an encrypted name.
func (c *Conversion) recodeName(e image.Dirent, dec, enc *crypt.Names, casefolded bool) (image.Dirent, error) {
	plain := e.Name
	var err error
	if dec != nil {
		if plain, err = dec.DecryptName(nil, e.Name); err != nil {
			return e, fmt.Errorf("name of inode %d: %w", e.Ino, err)
		}
	}
	out := image.Dirent{Ino: e.Ino, Type: e.Type}
	if enc == nil {
		out.Name = append([]byte(nil), plain...)
		return out, nil
	}
	if out.Name, err = enc.EncryptName(nil, plain); err != nil {
		return e, fmt.Errorf("name of inode %d: %w", e.Ino, err)
	}
	if casefolded {
		folded, ok := casefold.Fold(nil, plain)
		if !ok {
			folded = plain
		}
		hash, minor, raw := enc.DirHash(folded)
		out.Hash, out.MinorHash = feature.StoredHash(c.sb, hash, minor, raw)
	}
	return out, nil
}

// convertLink stores a symlink's target anew.
func (c *Conversion) convertLink(ino image.Ino, from, to form) error {
	target, err := c.fs.ReadLink(ino)
	if err != nil {
		return err
	}
	if from != nil {
		if target, err = decryptLink(c.keys, *from, ino, c.vol, target); err != nil {
			return fmt.Errorf("symlink inode %d: %w", ino, err)
		}
	}
	if to == nil {
		return c.fs.SetLink(ino, target, false)
	}
	enc, err := c.names(ino, to)
	if err != nil {
		return err
	}
	defer enc.Close()
	stored, err := enc.EncryptLink(target, c.sb.MaxLinkRoom)
	if err != nil {
		return fmt.Errorf("symlink inode %d: %w", ino, err)
	}
	return c.fs.SetLink(ino, stored, true)
}
