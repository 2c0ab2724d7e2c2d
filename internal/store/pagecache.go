package store

import (
	"bytes"
	"fmt"
	"sync"
)

const (
	// pageSize is the unit of the cache in bytes. It is larger than a block so
	// that one read brings in the neighbours of an inode, which a walk wants next.
	pageSize = 16 << 10

	// pagesPerGeneration bounds the cache to 4 MiB in two generations.
	pagesPerGeneration = 128
)

// PageCache keeps recently used metadata of a store. Writes go through it, so
// what it holds always equals the store. It is safe for concurrent use.
//
// A page that is read moves to the young generation; when that is full it
// becomes the old one, and what was not read since is forgotten.
type PageCache struct {
	s Store

	mu    sync.Mutex
	young map[int64][]byte // by offset/pageSize
	old   map[int64][]byte
	free  [][]byte // of pages that were forgotten
}

// NewPageCache makes an empty cache over a store.
func NewPageCache(s Store) *PageCache {
	return &PageCache{s: s, young: make(map[int64][]byte), old: make(map[int64][]byte)}
}

// Read fills buf from the bytes at off.
func (c *PageCache) Read(buf []byte, off int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read(buf, off)
}

func (c *PageCache) read(buf []byte, off int64) error {
	for len(buf) > 0 {
		page, err := c.page(off / pageSize)
		if err != nil {
			return err
		}
		in := int(off % pageSize)
		if in >= len(page) {
			return fmt.Errorf("read at %d: past the end of the image", off)
		}
		n := copy(buf, page[in:])
		buf, off = buf[n:], off+int64(n)
	}
	return nil
}

// Copy returns a copy of the n bytes at off. Where one page has them the memory is
// not cleared first.
func (c *PageCache) Copy(off int64, n int) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	page, err := c.page(off / pageSize)
	if err != nil {
		return nil, err
	}
	if in := int(off % pageSize); in+n <= len(page) {
		return bytes.Clone(page[in : in+n]), nil
	}
	buf := make([]byte, n)
	return buf, c.read(buf, off)
}

// page returns page n, with the lock held. The last one may be short.
func (c *PageCache) page(n int64) ([]byte, error) {
	if p, ok := c.young[n]; ok {
		return p, nil
	}
	p, ok := c.old[n]
	if !ok {
		off := n * pageSize
		p = c.take()[:max(0, min(pageSize, c.s.Size()-off))]
		if err := ReadFull(c.s, p, off); err != nil {
			return nil, err
		}
	}
	c.young[n] = p
	if len(c.young) > pagesPerGeneration {
		c.age()
	}
	return p, nil
}

// age makes the young generation the old one.
func (c *PageCache) age() {
	for n, p := range c.old {
		if _, kept := c.young[n]; !kept {
			c.free = append(c.free, p)
		}
	}
	clear(c.old)
	c.old, c.young = c.young, c.old
}

// take returns room for a page.
func (c *PageCache) take() []byte {
	n := len(c.free) - 1
	if n < 0 {
		return make([]byte, pageSize)
	}
	p := c.free[n]
	c.free = c.free[:n]
	return p[:pageSize]
}

// Write writes p to the store and to the pages that are in memory.
func (c *PageCache) Write(p []byte, off int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.s.WriteAt(p, off); err != nil {
		return err
	}
	c.update(p, off)
	return nil
}

// WriteFresh is Write for bytes that nothing refers to yet, see Fresh.
func (c *PageCache) WriteFresh(p []byte, off int64) error {
	f, ok := c.s.(Fresh)
	if !ok {
		return c.Write(p, off)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := f.WriteFresh(p, off); err != nil {
		return err
	}
	c.update(p, off)
	return nil
}

// update puts p into the pages that are in memory, with the lock held.
func (c *PageCache) update(p []byte, off int64) {
	for n := off / pageSize; n*pageSize < off+int64(len(p)); n++ {
		page, ok := c.young[n]
		if !ok {
			if page, ok = c.old[n]; !ok {
				continue
			}
		}
		if start := n * pageSize; start >= off {
			copy(page, p[start-off:])
		} else {
			copy(page[off-start:], p)
		}
	}
}

// ReadFull reads len(p) bytes; the end of the store is an error only if it
// comes before them.
func ReadFull(s Store, p []byte, off int64) error {
	n, err := s.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil {
		return fmt.Errorf("read at %d: %d of %d bytes", off, n, len(p))
	}
	return fmt.Errorf("read at %d: %w", off, err)
}
