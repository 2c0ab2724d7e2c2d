package convert

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/store"
	"fsenc/internal/txn"
)

// moveOutBatch is how many files one step of MoveOut takes.
const moveOutBatch = 1024

// InlineFiles are the files with encrypted contents inside of their inodes.
type InlineFiles struct {
	Inodes   []image.Ino
	Policies []policy.Policy // that they have

	// NeedBytes is an upper bound of what MoveOut allocates.
	NeedBytes int64
}

// FindInline looks for files with encrypted contents inside of their inodes,
// and makes sure that they can be moved out. The error wraps image.ErrNoSpace
// if there is no room for their blocks.
func FindInline(ctx context.Context, fs image.FS) (*InlineFiles, error) {
	var l InlineFiles
	sb := fs.Super()
	if sb.Inline == "" {
		return &l, nil
	}
	err := fs.Inodes(func(a image.Attr, err error) error {
		if err != nil || a.Type != image.TypeRegular || !a.Inline || !a.Encrypted {
			return err
		}
		if err := l.add(fs, a); err != nil {
			return fmt.Errorf("inode %d: %w", a.Ino, err)
		}
		return ctx.Err()
	})
	if err == nil && l.NeedBytes > sb.FreeBytes {
		err = fmt.Errorf("%w: contents that move out of inodes may take %d bytes, %d are free", image.ErrNoSpace, l.NeedBytes, sb.FreeBytes)
	}
	return &l, err
}

// add notes one file.
func (l *InlineFiles) add(fs image.FS, a image.Attr) error {
	raw, err := fs.Context(a.Ino)
	if err != nil {
		return err
	}
	c, err := policy.ParseContext(raw)
	if err != nil {
		return err
	}
	if _, err := image.InlineCipher(fs, a); err != nil {
		return err
	}
	n, err := fs.CostUninline(a.Ino)
	if err != nil {
		return err
	}
	l.NeedBytes += n
	l.Inodes = append(l.Inodes, a.Ino)
	if !slices.Contains(l.Policies, c.Policy) {
		l.Policies = append(l.Policies, c.Policy)
	}
	return nil
}

// MoveOut moves encrypted contents from inodes to blocks, which kernels without
// the feature read, in steps that are each whole: after a crash Open ends the one
// under way, and MoveOut does the rest. newLog makes the log of a step, which is
// given to done.
func MoveOut(ctx context.Context, home store.Store, files []image.Ino, keys *crypt.Keyring,
	newLog func() (store.Store, error), done func(log store.Store, err error) error) error {
	for len(files) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		some := files[:min(moveOutBatch, len(files))]
		files = files[len(some):]
		log, err := newLog()
		if err != nil {
			return err
		}
		if err := done(log, editWith(home, log, txn.Header{Kind: kindEdit}, moveOut(some, keys))); err != nil {
			return err
		}
	}
	return nil
}

// moveOut is the change of one step.
func moveOut(files []image.Ino, keys *crypt.Keyring) func(image.FS) error {
	return func(fs image.FS) error {
		sb := fs.Super()
		c := &Conversion{fs: fs, sb: sb, keys: keys, vol: crypt.Volume{UUID: sb.UUID, BlockSize: sb.BlockSize}, plan: &Plan{}}
		c.extents, _ = fs.(image.ByExtent)
		var seed [32]byte
		if _, err := rand.Read(seed[:]); err != nil {
			return err
		}
		c.nonces = newNonces(seed)
		for _, ino := range files {
			if err := c.moveOut(ino); err != nil {
				return fmt.Errorf("inode %d: %w", ino, err)
			}
		}
		return nil
	}
}

// moveOut keeps key and nonce: the first block is encrypted as the contents were
// inside of the inode, with zeros behind them.
func (c *Conversion) moveOut(ino image.Ino) error {
	a, err := c.fs.Stat(ino)
	if err != nil {
		return err
	}
	f, err := c.storedForm(ino)
	if err != nil {
		return err
	}
	plain, err := c.inlinePlain(a, f)
	if err != nil {
		return err
	}
	defer clear(plain)
	if err := c.setInline(ino, plain, nil); err != nil {
		return err
	}
	if err := c.fs.Uninline(ino); err != nil {
		return err
	}
	if c.extents != nil {
		return c.encryptExtents(ino, nil, f, false)
	}
	return c.encryptBlocks(a, f)
}
