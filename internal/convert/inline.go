package convert

import (
	"errors"
	"fmt"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/feature"
	"fsenc/internal/image"
)

// ErrInlineKey: contents inside of inodes must not be encrypted with this key.
var ErrInlineKey = errors.New("hardware-wrapped keys do not go with encrypted inline data: " +
	"deriving a key of contents from the software secret bypasses what they are for")

// keepsInline reports whether an inline file stays one in a form.
func keepsInline(fs image.FS, sb image.Super, a image.Attr, to form) (bool, error) {
	if to == nil || !feature.KeepsInline(sb, to.Policy) {
		return false, nil
	}
	in, ok := fs.(image.InlineEncrypter)
	if !ok {
		return false, nil
	}
	stored := image.StoredInline(a.Size)
	if stored < 0 || stored > int64(feature.InlineLimit(sb, to.Policy)) {
		return false, nil
	}
	return in.FitsInline(a.Ino, int(stored), len(to.Bytes()))
}

// inlined plans a file whose contents are in the inode: whether they stay there
// under a policy.
func (s *scanner) inlined(a image.Attr, p *place, to policy.Policy) error {
	stays, err := keepsInline(s.fs, s.sb, a, &policy.Context{Policy: to})
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	if !stays {
		n, err := s.fs.CostUninline(a.Ino)
		s.plan.Totals.Bytes += int64(s.sb.BlockSize)
		s.plan.Totals.MovedOut++
		return s.cost(p, a.Ino, n, err)
	}
	s.plan.Totals.Inline++
	key, err := s.opt.Keys.For(to)
	if err == nil && key.Hardware() {
		err = ErrInlineKey
	}
	return err
}

// reinlined plans a file, if its encrypted contents are in the inode: they stay
// there in clear, or by the rules of the policy that they get.
func (s *scanner) reinlined(a image.Attr, p *place) error {
	if !a.Inline {
		return nil
	}
	if _, err := image.InlineCipher(s.fs, a); err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	if s.target != nil {
		return s.inlined(a, p, *s.target)
	}
	s.plan.Totals.Inline++
	return nil
}

// inlineCipher prepares the cipher of contents inside of an inode.
func (c *Conversion) inlineCipher(ino image.Ino, f form) (*crypt.Contents, error) {
	key, err := c.keys.For(f.Policy)
	if err != nil {
		return nil, err
	}
	if key.Hardware() {
		return nil, ErrInlineKey
	}
	return key.Inline(*f, uint64(ino), c.vol)
}

// convertInline gives a file whose contents are in the inode another form: where
// they are, or in a block if the form does not allow for that. They are small
// and pass through the staged metadata, where only their final form is left when
// it is logged.
func (c *Conversion) convertInline(a image.Attr, from, to form) error {
	if done, err := c.convertWithin(a, from, to); done || err != nil {
		return err
	}
	return c.encryptBlocks(a, to)
}

// convertWithin does it where the contents are and reports true, or leaves them
// in clear in a block.
func (c *Conversion) convertWithin(a image.Attr, from, to form) (bool, error) {
	stays := to == nil
	if !stays {
		var err error
		if stays, err = keepsInline(c.fs, c.sb, a, to); err != nil {
			return false, err
		}
	}
	if !stays && from == nil {
		return false, c.fs.Uninline(a.Ino)
	}
	plain, err := c.inlinePlain(a, from)
	if err != nil {
		return false, err
	}
	defer clear(plain)
	if stays {
		if to != nil && int64(len(plain)) < a.Size { // the rest is a hole: zeros
			plain = append(plain, make([]byte, a.Size-int64(len(plain)))...)
		}
		return true, c.setInline(a.Ino, plain, to)
	}
	if err := c.setInline(a.Ino, plain, nil); err != nil {
		return false, err
	}
	return false, c.fs.Uninline(a.Ino)
}

// inlinePlain reads the contents in clear.
func (c *Conversion) inlinePlain(a image.Attr, from form) ([]byte, error) {
	if from == nil {
		return c.fs.Inline(a.Ino)
	}
	b, err := image.InlineCipher(c.fs, a)
	if err != nil {
		return nil, err
	}
	cipher, err := c.inlineCipher(a.Ino, from)
	if err != nil {
		return nil, err
	}
	defer cipher.Close()
	cipher.DecryptInline(b)
	return b[:a.Size], nil
}

// setInline stores contents in a form. The context comes first: what it has no
// room beside must not take that room.
func (c *Conversion) setInline(ino image.Ino, plain []byte, to form) error {
	in, ok := c.fs.(image.InlineEncrypter)
	if !ok {
		return fmt.Errorf("%w: encrypted inline data", image.ErrUnsupported)
	}
	if err := in.SetInline(ino, nil); err != nil {
		return err
	}
	if err := c.setForm(ino, to); err != nil {
		return err
	}
	if to == nil {
		return in.SetInline(ino, plain)
	}
	cipher, err := c.inlineCipher(ino, to)
	if err != nil {
		return err
	}
	defer cipher.Close()
	return in.SetInline(ino, cipher.EncryptInline(nil, plain))
}

// encryptBlocks encrypts the few blocks of what was inline, and gives the inode
// its form.
func (c *Conversion) encryptBlocks(a image.Attr, to form) error {
	data, err := c.fs.DataExtents(a.Ino)
	if err != nil {
		return err
	}
	for _, x := range data {
		buf := c.room(int(x.Len) * c.sb.BlockSize)
		if err := c.fs.ReadBlocks(buf, x.Pblk); err != nil {
			return err
		}
		r := run{ino: a.Ino, lblk: x.Lblk, inFile: c.inFile(a.Size, x.Lblk, len(buf)), to: to}
		if err := c.recodeRun(&r, buf); err != nil {
			return err
		}
		if err := c.fs.WriteBlocks(buf, x.Pblk); err != nil {
			return err
		}
	}
	return c.setForm(a.Ino, to)
}
