package storetest

import (
	"errors"
	"fmt"
	"sync"

	"fsenc/internal/store"
)

// ErrPowerCut is what every call returns from the moment of the power cut.
var ErrPowerCut = errors.New("power cut")

// sectorSize is what a disk writes whole or not at all.
const sectorSize = 512

// Clock decides when the power goes. The stores made from one clock lose it
// together.
type Clock struct {
	mu     sync.Mutex
	cut    int
	syncs  bool // the cut counts Sync calls instead of writes
	ops    int  // WriteAt and Zero calls
	synced int  // Sync calls
	off    bool
	stores uint64
}

// NewClock returns a clock that cuts the power at write number cut, counted
// from 0 over all its stores. WriteAt and Zero are writes. That
// write and everything after it is lost.
func NewClock(cut int) *Clock { return &Clock{cut: cut} }

// NewSyncClock returns a clock that cuts the power at Sync number cut: it
// does not complete, so anything may remain of the writes before it.
func NewSyncClock(cut int) *Clock { return &Clock{cut: cut, syncs: true} }

// Cut reports whether the power went.
func (c *Clock) Cut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.off
}

// Ops returns how many writes were begun.
func (c *Clock) Ops() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ops
}

// Syncs returns how many Syncs were begun.
func (c *Clock) Syncs() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.synced
}

// tick counts a write or a Sync. The caller holds c.mu.
func (c *Clock) tick(sync bool) error {
	if c.off {
		return ErrPowerCut
	}
	n := &c.ops
	if sync {
		n = &c.synced
	}
	*n++
	if sync == c.syncs && *n > c.cut {
		c.off = true
		return ErrPowerCut
	}
	return nil
}

// Store returns a store of fixed size that starts as base, which it leaves
// alone.
func (c *Clock) Store(base []byte) *Cutter { return c.store(base, false) }

// Log is Store, but writes past its end make it longer.
func (c *Clock) Log(base []byte) *Cutter { return c.store(base, true) }

func (c *Clock) store(base []byte, grows bool) *Cutter {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stores++
	return &Cutter{clock: c, id: c.stores, grows: grows, base: base,
		size: int64(len(base)), durableSize: int64(len(base)),
		durable: map[int64][]byte{}, pending: map[int64][][]byte{}}
}

// Cutter is a Store that loses power. Writes wait as sectors until a Sync of
// this store; of those that still wait at the cut each may be lost, and of a
// sector written several times any version may be the one that stays.
type Cutter struct {
	clock       *Clock
	id          uint64
	grows       bool
	base        []byte
	size        int64
	durableSize int64
	durable     map[int64][]byte   // sector number to contents
	pending     map[int64][][]byte // to contents after each write since Sync
}

// NewCutter returns a store with a clock of its own.
func NewCutter(base []byte, cut int) *Cutter { return NewClock(cut).Store(base) }

// Cut reports whether the power went.
func (d *Cutter) Cut() bool { return d.clock.Cut() }

// Ops returns the number of writes begun on all stores of the clock.
func (d *Cutter) Ops() int { return d.clock.Ops() }

// sector returns the newest contents of a sector, never to be written to.
func (d *Cutter) sector(n int64) []byte {
	if v := d.pending[n]; len(v) > 0 {
		return v[len(v)-1]
	}
	return d.settled(n)
}

// settled returns the durable contents of a sector.
func (d *Cutter) settled(n int64) []byte {
	if v := d.durable[n]; v != nil {
		return v
	}
	off := n * sectorSize
	if end := off + sectorSize; end <= int64(len(d.base)) {
		return d.base[off:end]
	}
	v := make([]byte, sectorSize)
	if off < int64(len(d.base)) {
		copy(v, d.base[off:])
	}
	return v
}

// ReadAt implements io.ReaderAt.
func (d *Cutter) ReadAt(p []byte, off int64) (int, error) {
	d.clock.mu.Lock()
	defer d.clock.mu.Unlock()
	if d.clock.off {
		return 0, ErrPowerCut
	}
	return readAt(p, off, d.size, func(p []byte) {
		for pos := off; len(p) > 0; {
			n := copy(p, d.sector(pos / sectorSize)[pos%sectorSize:])
			p, pos = p[n:], pos+int64(n)
		}
	})
}

// WriteAt implements io.WriterAt.
func (d *Cutter) WriteAt(p []byte, off int64) (int, error) {
	if err := d.change(off, int64(len(p)), func(dst []byte, at int64) { copy(dst, p[at:]) }); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Zero implements store.Store.
func (d *Cutter) Zero(off, n int64) error {
	return d.change(off, n, func(dst []byte, _ int64) { clear(dst) })
}

// change stages n bytes at off; fill writes the part of one sector that lies
// at bytes behind off.
func (d *Cutter) change(off, n int64, fill func(dst []byte, at int64)) error {
	d.clock.mu.Lock()
	defer d.clock.mu.Unlock()
	if off < 0 || n < 0 || off > d.size-n && !d.grows {
		return fmt.Errorf("%w: %d bytes at %d of %d", store.ErrRange, n, off, d.size)
	}
	if err := d.clock.tick(false); err != nil {
		return err
	}
	for pos := off; pos < off+n; {
		num, in := pos/sectorSize, pos%sectorSize
		k := min(sectorSize-in, off+n-pos)
		v := append([]byte(nil), d.sector(num)...)
		fill(v[in:in+k], pos-off)
		d.pending[num] = append(d.pending[num], v)
		pos += k
	}
	d.size = max(d.size, off+n)
	return nil
}

// Size returns the length in bytes.
func (d *Cutter) Size() int64 {
	d.clock.mu.Lock()
	defer d.clock.mu.Unlock()
	return d.size
}

// Sync makes the writes of this store durable.
func (d *Cutter) Sync() error {
	d.clock.mu.Lock()
	defer d.clock.mu.Unlock()
	if err := d.clock.tick(true); err != nil {
		return err
	}
	for n, v := range d.pending {
		d.durable[n] = v[len(v)-1]
	}
	clear(d.pending)
	d.durableSize = d.size
	return nil
}

// Survivor returns what is on the disk after the cut: all that was synced
// and, of the sectors that were not, none for seed 0, the newest of all for
// seed 1, a choice that only seed decides for others.
func (d *Cutter) Survivor(seed uint64) []byte {
	d.clock.mu.Lock()
	defer d.clock.mu.Unlock()
	size := d.durableSize
	if seed == 1 || seed > 1 && mix(seed, d.id, ^uint64(0))&1 == 1 {
		size = d.size
	}
	img := make([]byte, size)
	copy(img, d.base)
	for n, v := range d.durable {
		put(img, n, v)
	}
	for n, v := range d.pending {
		switch pick := mix(seed, d.id, uint64(n)) % uint64(len(v)+1); {
		case seed == 0:
		case seed == 1:
			put(img, n, v[len(v)-1])
		case pick > 0:
			put(img, n, v[pick-1])
		}
	}
	return img
}

// put copies what of a sector lies inside img.
func put(img []byte, n int64, v []byte) {
	if off := n * sectorSize; off < int64(len(img)) {
		copy(img[off:], v)
	}
}

// mix is SplitMix64's finalizer over three words.
func mix(a, b, c uint64) uint64 {
	x := a*0x9e3779b97f4a7c15 ^ b*0xc2b2ae3d27d4eb4f ^ c*0x165667b19e3779f9
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
