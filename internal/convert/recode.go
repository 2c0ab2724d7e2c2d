package convert

import (
	"encoding/binary"
	"fmt"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/txn"
)

// A tag says all that recode needs, so that recovery needs no filesystem. By
// offset: 0 u64 inode, 8 u64 lblk, 16 u32 inFile, 20 u8 and 21 u8 one more than
// the index of the old and the new policy (0: plaintext), 22 u8 1 if the nonces
// are an extent's, 24 nonce of the old and 40 nonce of the new context.
func (c *Conversion) tag(r *run) txn.Tag {
	var t txn.Tag
	binary.LittleEndian.PutUint64(t[0:], uint64(r.ino))
	binary.LittleEndian.PutUint64(t[8:], uint64(r.lblk))
	binary.LittleEndian.PutUint32(t[16:], uint32(r.inFile))
	if r.extent {
		t[22] = 1
	}
	for i, f := range []form{r.from, r.to} {
		if f == nil {
			continue
		}
		for k, p := range c.policies {
			if p == f.Policy {
				t[20+i] = byte(k + 1)
			}
		}
		copy(t[24+16*i:], f.Nonce[:])
	}
	return t
}

func (c *Conversion) runOf(t txn.Tag) (run, error) {
	r := run{
		ino:    image.Ino(binary.LittleEndian.Uint64(t[0:])),
		lblk:   image.Lblk(binary.LittleEndian.Uint64(t[8:])),
		inFile: int(binary.LittleEndian.Uint32(t[16:])),
		extent: t[22] == 1,
	}
	for i, f := range []*form{&r.from, &r.to} {
		k := int(t[20+i])
		if k > len(c.policies) {
			return r, fmt.Errorf("%w: tag of inode %d", txn.ErrLogDamaged, r.ino)
		}
		if k > 0 {
			*f = &policy.Context{Policy: c.policies[k-1], Nonce: policy.Nonce(t[24+16*i:][:16])}
		}
	}
	return r, nil
}

// recode is the transform of contents. Recovery calls it for a range of which
// a crash left some sectors old: with the modes that method allows for that,
// what comes out for an old sector does not depend on the others.
func (c *Conversion) recode(t txn.Tag, b []byte) error {
	r, err := c.runOf(t)
	if err != nil {
		return err
	}
	if r.inFile > len(b) || len(b)%c.vol.BlockSize != 0 {
		return fmt.Errorf("%w: tag of inode %d", txn.ErrLogDamaged, r.ino)
	}
	if err := c.recodeRun(&r, b); err != nil {
		return fmt.Errorf("inode %d: %w", r.ino, err)
	}
	return nil
}

// room is memory for n bytes of contents, until it is asked again.
func (c *Conversion) room(n int) []byte {
	if cap(c.piece) < n {
		c.piece = make([]byte, n)
	}
	return c.piece[:n]
}

// recodeRun turns a run from one form into the other in place.
func (c *Conversion) recodeRun(r *run, b []byte) error {
	err := c.withContents(r, r.from, func(f *crypt.Contents) { f.DecryptBlocks(b, b, uint64(r.lblk)) })
	if err != nil {
		return err
	}
	bs := c.vol.BlockSize
	clear(b[r.inFile : (r.inFile+bs-1)/bs*bs])
	return c.withContents(r, r.to, func(f *crypt.Contents) { f.EncryptBlocks(b, b, uint64(r.lblk)) })
}

// withContents calls do with the contents cipher of a run in one of its forms,
// not at all for plaintext. The memory of ciphers is used again, wiped.
func (c *Conversion) withContents(r *run, f form, do func(*crypt.Contents)) error {
	if f == nil {
		return nil
	}
	key, err := c.keys.For(f.Policy)
	if err != nil {
		return err
	}
	cipher, ok := c.ciphers.Get().(*crypt.Contents)
	if !ok {
		cipher = new(crypt.Contents)
	}
	if r.extent {
		err = cipher.InitExtent(key, policy.Context{Policy: f.Policy}, extentContext(*f), c.vol)
	} else {
		err = cipher.Init(key, *f, uint64(r.ino), c.vol)
	}
	if err != nil {
		return err
	}
	do(cipher)
	cipher.Close()
	c.ciphers.Put(cipher)
	return nil
}
