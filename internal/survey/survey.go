// Package survey counts what of an image is encrypted and how, and tries keys
// on it. Sizes are bytes of file contents as stat(2) gives them.
package survey

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// Usage is what one policy is used for.
type Usage struct {
	Policy policy.Policy
	Dirs   uint64
	Files  uint64
	Links  uint64 // symlinks
	Bytes  int64  // of the files
	First  image.Ino
}

// Survey is what the inodes of an image say.
type Survey struct {
	Inodes   uint64 // in use, without those of the filesystem itself
	Policies []Usage
	// Damaged counts inodes that could not be read, and those whose mark and
	// context do not fit together.
	Damaged uint64
	// FirstDamage is the first such finding, nil if there is none.
	FirstDamage error
}

// Encrypted is the number of inodes under any policy.
func (s *Survey) Encrypted() uint64 {
	var n uint64
	for _, u := range s.Policies {
		n += u.Dirs + u.Files + u.Links
	}
	return n
}

// interval is how many inodes are looked at between two looks at the context.
const interval = 1024

// Take looks at every inode. Damage is counted; an error means that the image
// could not be read at all, or that ctx is done.
func Take(ctx context.Context, fs image.FS) (*Survey, error) {
	s := &Survey{}
	found := map[policy.Policy]*Usage{}
	seen := 0
	err := fs.Inodes(func(a image.Attr, err error) error {
		if seen%interval == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		seen++
		if err == nil && a.Reserved {
			return nil
		}
		s.Inodes++
		if err == nil {
			err = count(fs, a, found)
		}
		if err != nil {
			s.damage(err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, u := range found {
		s.Policies = append(s.Policies, *u)
	}
	slices.SortFunc(s.Policies, func(a, b Usage) int { return cmp.Compare(a.First, b.First) })
	return s, nil
}

func (s *Survey) damage(err error) {
	if s.FirstDamage == nil {
		s.FirstDamage = err
	}
	s.Damaged++
}

// count adds one inode to its policy.
func count(fs image.FS, a image.Attr, found map[policy.Policy]*Usage) error {
	if !a.Encrypted {
		return nil
	}
	raw, err := fs.Context(a.Ino)
	if err != nil {
		return err
	}
	if raw == nil {
		return &image.CorruptError{What: "encryption context", Ino: a.Ino, Why: "missing, though the inode is marked encrypted"}
	}
	c, err := policy.ParseContext(raw)
	if err != nil {
		return fmt.Errorf("inode %d: %w", a.Ino, err)
	}
	u := found[c.Policy]
	if u == nil {
		u = &Usage{Policy: c.Policy, First: a.Ino}
		found[c.Policy] = u
	}
	switch a.Type {
	case image.TypeDirectory:
		u.Dirs++
	case image.TypeSymlink:
		u.Links++
	default:
		u.Files++
		u.Bytes += a.Size
	}
	return nil
}
