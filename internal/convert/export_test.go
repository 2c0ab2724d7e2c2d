package convert

// SmallBatches makes a conversion commit after little: four blocks of contents
// in pieces of one block, or one page of metadata.
func (c *Conversion) SmallBatches() {
	bs := c.sb.BlockSize
	c.limits = limits{batch: 4 * int64(bs), run: bs, staged: 1}
}
