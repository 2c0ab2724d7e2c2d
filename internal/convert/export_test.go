package convert

import "fsenc/internal/image"

// SmallBatches makes a conversion commit after little: four blocks of contents
// in pieces of one block, or one page of metadata.
func (c *Conversion) SmallBatches() {
	bs := c.sb.BlockSize
	c.limits = limits{batch: 4 * int64(bs), run: bs, staged: 1}
}

// EarlyBatches makes it commit after so many blocks, of contents or of metadata
// written early. What is written so is what a few directories or inodes have
// changed.
func (c *Conversion) EarlyBatches(blocks int) {
	bs := c.sb.BlockSize
	c.limits = limits{batch: int64(blocks * bs), run: bs, staged: 16 * int64(bs), early: 5 * int64(bs)}
}

// Fill lets the filesystem say that there is no room to move more.
func (c *Conversion) Fill() { c.fs = full{c.fs, c.fs.(image.Early), c.fs.(image.Caching)} }

type full struct {
	image.FS
	image.Early
	image.Caching
}

// CheckMoves implements image.Moving.
func (full) CheckMoves(uint64, int64) error { return image.ErrNoSpace }
