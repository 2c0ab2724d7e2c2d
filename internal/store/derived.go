package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

// derivedBlock is the granularity of a Derived in bytes.
const derivedBlock = 4096

// Derived is a store that begins as an old one and keeps what is written in a
// new one; the old one is only read. Finish makes the new one complete by
// copying what nobody wrote. What was overwritten or zeroed before that never
// reaches the new one, so the old bytes of it leave no trace there.
type Derived struct {
	old, new Store

	mu    sync.RWMutex
	owned map[int64]*[ownWords]uint64 // blocks that the new store has
}

// A chunk of the owned set covers ownBlocks blocks, 128 MiB.
const (
	ownBlocks = 1 << 15
	ownWords  = ownBlocks / 64
)

// NewDerived derives from old; new must have the same size and read as zeros.
func NewDerived(old, new Store) *Derived {
	return &Derived{old: old, new: new, owned: make(map[int64]*[ownWords]uint64)}
}

// Size is that of the old store.
func (d *Derived) Size() int64 { return d.old.Size() }

// Sync syncs the new store, which is not complete before Finish.
func (d *Derived) Sync() error { return d.new.Sync() }

func (d *Derived) has(block int64) bool {
	c := d.owned[block/ownBlocks]
	return c != nil && c[block%ownBlocks/64]>>(block%64)&1 != 0
}

func (d *Derived) own(from, to int64) {
	for b := from; b < to; b++ {
		c := d.owned[b/ownBlocks]
		if c == nil {
			c = new([ownWords]uint64)
			d.owned[b/ownBlocks] = c
		}
		c[b%ownBlocks/64] |= 1 << (b % 64)
	}
}

// run returns the end of the run of blocks from block on that are alike in
// being owned, at most up to end.
func (d *Derived) run(block, end int64) (to int64, owned bool) {
	owned = d.has(block)
	for to = block + 1; to < end && d.has(to) == owned; to++ {
	}
	return to, owned
}

// ReadAt implements io.ReaderAt.
func (d *Derived) ReadAt(p []byte, off int64) (int, error) {
	last := (off + int64(len(p)) + derivedBlock - 1) / derivedBlock
	for done := 0; done < len(p); {
		at := off + int64(done)
		d.mu.RLock()
		to, owned := d.run(at/derivedBlock, last)
		d.mu.RUnlock()
		from := d.old
		if owned {
			from = d.new
		}
		n, err := from.ReadAt(p[done:min(int64(len(p)), to*derivedBlock-off)], at)
		done += n
		if err != nil && (done < len(p) || err != io.EOF) {
			return done, err
		}
	}
	return len(p), nil
}

// WriteAt implements io.WriterAt.
func (d *Derived) WriteAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		at := off + int64(done)
		in := int(at % derivedBlock)
		n := min(derivedBlock-in, len(p)-done)
		var err error
		if whole := (len(p) - done) / derivedBlock * derivedBlock; in == 0 && whole > 0 {
			n = whole
			err = d.writeBlocks(p[done:done+n], at)
		} else {
			err = d.writePart(p[done:done+n], at)
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}

func (d *Derived) writeBlocks(p []byte, off int64) error {
	if _, err := d.new.WriteAt(p, off); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.own(off/derivedBlock, (off+int64(len(p)))/derivedBlock)
	return nil
}

// writePart writes a part of one block, which takes the rest of it along. The
// lock keeps writers of other parts of the block away.
func (d *Derived) writePart(p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	block := off / derivedBlock
	if d.has(block) {
		_, err := d.new.WriteAt(p, off)
		return err
	}
	start := block * derivedBlock
	b := make([]byte, min(derivedBlock, d.Size()-start))
	if _, err := d.old.ReadAt(b, start); err != nil && err != io.EOF {
		return err
	}
	if off+int64(len(p)) > start+int64(len(b)) {
		return fmt.Errorf("%w: %d bytes at %d of %d", ErrRange, len(p), off, d.Size())
	}
	copy(b[off-start:], p)
	if _, err := d.new.WriteAt(b, start); err != nil {
		return err
	}
	d.own(block, block+1)
	return nil
}

// Zero implements Store. Whole blocks become holes of the new store.
func (d *Derived) Zero(off, n int64) error {
	first := (off + derivedBlock - 1) / derivedBlock * derivedBlock
	last := (off + n) / derivedBlock * derivedBlock
	if first >= last {
		_, err := d.WriteAt(make([]byte, n), off)
		return err
	}
	if _, err := d.WriteAt(make([]byte, first-off), off); err != nil {
		return err
	}
	if err := d.new.Zero(first, last-first); err != nil {
		return err
	}
	d.mu.Lock()
	d.own(first/derivedBlock, last/derivedBlock)
	d.mu.Unlock()
	_, err := d.WriteAt(make([]byte, off+n-last), last)
	return err
}

// Finish copies what was not written and makes the new store durable. Holes
// stay holes.
func (d *Derived) Finish() error {
	blocks := (d.Size() + derivedBlock - 1) / derivedBlock
	for b := int64(0); b < blocks; {
		to, owned := d.run(b, blocks)
		if !owned {
			if err := d.copy(b*derivedBlock, min(to*derivedBlock, d.Size())); err != nil {
				return fmt.Errorf("copy the unchanged part: %w", err)
			}
		}
		b = to
	}
	return d.new.Sync()
}

func (d *Derived) copy(from, to int64) error {
	old, ok := d.old.(*File)
	if !ok || old.device {
		return d.copyBytes(from, to)
	}
	for from < to {
		start, end, err := old.nextData(from, to)
		if err != nil {
			return err
		}
		if start < end {
			if err := d.copyData(old, start, end); err != nil {
				return err
			}
		}
		from = end
	}
	return nil
}

// copyData lets the kernel copy, or share the blocks where the host's
// filesystem can.
func (d *Derived) copyData(old *File, from, to int64) error {
	new, ok := d.new.(*File)
	for ok && from < to {
		in, out := from, from
		n, err := unix.CopyFileRange(int(old.f.Fd()), &in, int(new.f.Fd()), &out, int(min(to-from, 1<<30)), 0)
		if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			break
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		from += int64(n)
	}
	return d.copyBytes(from, to)
}

// copyBytes copies through memory and leaves out what is zero.
func (d *Derived) copyBytes(from, to int64) error {
	buf := make([]byte, min(1<<20, to-from))
	for from < to {
		b := buf[:min(int64(len(buf)), to-from)]
		if _, err := d.old.ReadAt(b, from); err != nil && err != io.EOF {
			return err
		}
		for i := 0; i < len(b); i += len(zeros) {
			piece := b[i:min(i+len(zeros), len(b))]
			if bytes.Equal(piece, zeros[:len(piece)]) {
				continue
			}
			if _, err := d.new.WriteAt(piece, from+int64(i)); err != nil {
				return err
			}
		}
		from += int64(len(b))
	}
	return nil
}
