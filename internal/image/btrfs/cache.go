package btrfs

import "sync"

// cacheBytes bounds each of two generations of the cache of tree blocks.
const cacheBytes = 4 << 20

// blockCache keeps verified blocks that were used recently. A block that is read
// moves to the young generation; when that is full it becomes the old one.
type blockCache struct {
	mu         sync.Mutex
	limit      int
	young, old map[uint64]*block
}

func newBlockCache(nodeSize int) *blockCache {
	return &blockCache{limit: cacheBytes / nodeSize, young: make(map[uint64]*block)}
}

func (c *blockCache) get(addr uint64) *block {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.young[addr]; b != nil {
		return b
	}
	b := c.old[addr]
	if b != nil {
		c.keep(b)
	}
	return b
}

func (c *blockCache) put(b *block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(b)
}

func (c *blockCache) keep(b *block) {
	if len(c.young) >= c.limit {
		c.old, c.young = c.young, make(map[uint64]*block, c.limit)
	}
	c.young[b.addr] = b
}

// drop forgets a block whose place is used anew.
func (c *blockCache) drop(addr uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.young, addr)
	delete(c.old, addr)
}
