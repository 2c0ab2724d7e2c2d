package convert

import (
	"context"
	"errors"
	"fmt"

	"fsenc/internal/image"
)

// wipe zeroes what may hold remains of the plaintext: unwritten blocks of the
// converted files, which read as zeros anyway, and all that the filesystem
// does not use. Everything is committed by now, so this goes straight to the
// image; a crash in the middle leaves the mark, and wiping starts anew. First
// comes what directories and symlinks outside of the tree hold in between,
// which checksums may cover: that is committed like any other edit, and with it
// goes an older state of the filesystem that refers to what is to be wiped.
func (c *Conversion) wipe(ctx context.Context) error {
	if err := c.wipeOthers(ctx); err != nil {
		return err
	}
	if err := c.tx.Checkpoint(); err != nil {
		return err
	}
	if err := c.wipeUnwritten(ctx); err != nil {
		return err
	}
	c.report(Progress{Phase: "wipe", Items: c.plan.steps(), TotalItems: c.plan.steps(),
		Bytes: c.bytes, TotalBytes: c.plan.Totals.Bytes})
	err := c.fs.Residue(func(off, n int64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return c.tx.Home().Zero(off, n)
	})
	if err != nil {
		return fmt.Errorf("wipe free space: %w", err)
	}
	if err := c.tx.Home().Sync(); err != nil {
		return err
	}
	// A record of its own: from here on a copy of the image that was made while
	// it was wiped is an older one.
	return c.commit()
}

// wipeUnwritten zeroes the blocks that files of the tree have and never wrote.
func (c *Conversion) wipeUnwritten(ctx context.Context) error {
	if !c.sb.Preallocates {
		return nil
	}
	for _, it := range c.plan.items {
		if it.kind != image.TypeRegular || c.idle != nil && !c.idle[it.ino] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		all, err := c.fs.Extents(it.ino)
		if err != nil {
			return fmt.Errorf("inode %d: %w", it.ino, err)
		}
		for _, x := range all {
			if !x.Unwritten {
				continue
			}
			err := c.fs.Places(x.Pblk, x.Len, func(_ uint64, off, n int64) error { return c.tx.Home().Zero(off, n) })
			if err != nil {
				return fmt.Errorf("wipe block %d: %w", x.Pblk, err)
			}
		}
	}
	return nil
}

// wipeOthers wipes in the directories and symlinks that were not converted, or in
// the blocks that inodes share: a kernel takes blocks that a tree has freed without
// clearing them. What is damaged is none of the tree's, and left alone.
func (c *Conversion) wipeOthers(ctx context.Context) error {
	next := func() error {
		if err := ctx.Err(); err != nil || c.staged() < c.limits.staged {
			return err
		}
		return c.commit()
	}
	var err error
	switch fs := c.fs.(type) {
	case image.Gaps:
		err = fs.WipeGaps(c.since, next)
	case image.Slack:
		err = c.wipeSlack(fs, next)
	}
	if err != nil {
		return fmt.Errorf("wipe slack: %w", err)
	}
	older, ok := c.fs.(image.Versioned)
	if ok {
		if err := older.Settle(); err != nil {
			return err
		}
	}
	if c.staged() == 0 && !ok {
		return nil
	}
	return c.commit()
}

// wipeSlack wipes in directories and symlinks, and calls next after each.
func (c *Conversion) wipeSlack(fs image.Slack, next func() error) error {
	done := make(claims)
	for _, it := range c.plan.items {
		done.add(image.Pblk(it.ino), 1)
	}
	return inodesBut(c.fs, done, func(a image.Attr, err error) error {
		slack := a.Type == image.TypeDirectory || a.Type == image.TypeSymlink
		if err != nil || !slack || a.Reserved || done.has(image.Pblk(a.Ino), 1) {
			return nil
		}
		if err := fs.WipeSlack(a.Ino); err != nil && !errors.Is(err, image.ErrCorrupt) {
			return err
		}
		return next()
	})
}
