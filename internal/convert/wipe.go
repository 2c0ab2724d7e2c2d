package convert

import (
	"context"
	"fmt"

	"fsenc/internal/image"
)

// wipe zeroes what may hold remains of the plaintext: unwritten blocks of the
// converted files, which read as zeros anyway, and all that the filesystem
// does not use. Everything is committed by now, so this goes straight to the
// image; a crash in the middle leaves the mark, and wiping starts anew.
func (c *Conversion) wipe(ctx context.Context) error {
	if err := c.tx.Checkpoint(); err != nil {
		return err
	}
	bs := int64(c.sb.BlockSize)
	for _, it := range c.plan.items {
		if it.kind != image.TypeRegular {
			continue
		}
		all, err := c.fs.Extents(it.ino)
		if err != nil {
			return fmt.Errorf("inode %d: %w", it.ino, err)
		}
		for _, x := range all {
			if !x.Unwritten {
				continue
			}
			if err := c.tx.Home().Zero(int64(x.Pblk)*bs, int64(x.Len)*bs); err != nil {
				return fmt.Errorf("wipe block %d: %w", x.Pblk, err)
			}
		}
	}
	c.report(Progress{Phase: "wipe", Items: uint64(len(c.plan.items)), TotalItems: uint64(len(c.plan.items)),
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
	return c.tx.Home().Sync()
}
