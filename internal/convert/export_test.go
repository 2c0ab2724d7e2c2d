package convert

// SmallBatches makes a conversion commit after little: 4 KiB of contents in
// pieces of one block of 1 KiB, or one page of metadata.
func (c *Conversion) SmallBatches() { c.limits = limits{batch: 4 << 10, run: 1 << 10, staged: 1} }
