package f2fs

// Entries of a directory that is not inline lie in levels of buckets: level l
// has 2^(l+d) of them, d being i_dir_level, and a hash may be in one bucket of
// each level.
const (
	maxDepth     = 63
	maxBuckets   = 1 << 30
	bucketBlocks = 2 // in the levels that directories reach; 4 from level 31 on
)

// dirShape is where the buckets of a directory with an i_dir_level lie.
type dirShape uint8

func (d dirShape) buckets(level int) uint64 {
	if n := level + int(d); n < 30 {
		return 1 << n
	}
	return maxBuckets
}

func blocksInBucket(level int) uint64 {
	if level >= 31 {
		return 2 * bucketBlocks
	}
	return bucketBlocks
}

// first is the first block of a level.
func (d dirShape) first(level int) (n uint64) {
	for l := range level {
		n += d.buckets(l) * blocksInBucket(l)
	}
	return n
}

// bucket returns the blocks that an entry with a hash may lie in.
func (d dirShape) bucket(level int, hash uint32) (first, blocks uint64) {
	n := blocksInBucket(level)
	return d.first(level) + uint64(hash)%d.buckets(level)*n, n
}

// levelOf tells which level a block belongs to, maxDepth if none.
func (d dirShape) levelOf(block uint64) int {
	for l := range maxDepth {
		n := d.buckets(l) * blocksInBucket(l)
		if block < n {
			return l
		}
		block -= n
	}
	return maxDepth
}

// holds reports whether an entry with the hash may be in the block.
func (d dirShape) holds(block uint64, hash uint32) bool {
	l := d.levelOf(block)
	if l == maxDepth {
		return false
	}
	first, n := d.bucket(l, hash)
	return block >= first && block < first+n
}
