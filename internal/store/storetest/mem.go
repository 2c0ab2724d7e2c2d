// Package storetest has stores for tests: in memory, losing power at a chosen
// write, and failing at a chosen call.
package storetest

import (
	"fmt"
	"io"
	"sync"

	"fsenc/internal/store"
)

// Mem is a Store in memory. As of a file, what is read while somebody writes may be
// old or new.
type Mem struct {
	mu   sync.RWMutex
	data []byte
}

// NewMem returns a store over data, which it writes to.
func NewMem(data []byte) *Mem { return &Mem{data: data} }

// Bytes returns the memory of the store.
func (m *Mem) Bytes() []byte { return m.data }

// ReadAt implements io.ReaderAt.
func (m *Mem) ReadAt(p []byte, off int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return readAt(p, off, int64(len(m.data)), func(p []byte) { copy(p, m.data[off:]) })
}

// readAt gives io.ReaderAt's rules for a store of size bytes; fill gets the
// part of p that is inside.
func readAt(p []byte, off, size int64, fill func([]byte)) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: offset %d", store.ErrRange, off)
	}
	if off >= size {
		return 0, io.EOF
	}
	n := min(int64(len(p)), size-off)
	fill(p[:n])
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// WriteAt implements io.WriterAt.
func (m *Mem) WriteAt(p []byte, off int64) (int, error) {
	if err := m.inside(off, int64(len(p))); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return copy(m.data[off:], p), nil
}

func (m *Mem) inside(off, n int64) error {
	if off < 0 || n < 0 || off > m.Size()-n {
		return fmt.Errorf("%w: %d bytes at %d of %d", store.ErrRange, n, off, m.Size())
	}
	return nil
}

// Size returns the length in bytes.
func (m *Mem) Size() int64 { return int64(len(m.data)) }

// Sync does nothing: memory is what is durable here.
func (m *Mem) Sync() error { return nil }

// Zero implements store.Store.
func (m *Mem) Zero(off, n int64) error {
	if err := m.inside(off, n); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.data[off : off+n])
	return nil
}

// Call is a method of a Store that can be made to fail.
type Call int

// The calls that Faulty counts, each on its own.
const (
	Read Call = iota
	Write
	Sync
	Zero
	numCalls
)

// Faulty passes calls on to a store and fails one of them.
type Faulty struct {
	s     store.Store
	call  Call
	n     int
	err   error
	mu    sync.Mutex
	count [numCalls]int
}

// NewFaulty returns s with call number n of the given kind, counted from 0,
// and all later ones of that kind failing with err. A failing write has
// written its first half, as a full disk does it.
func NewFaulty(s store.Store, call Call, n int, err error) *Faulty {
	return &Faulty{s: s, call: call, n: n, err: err}
}

// Count returns how many calls of a kind there were.
func (f *Faulty) Count(c Call) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[c]
}

// Failed reports whether the fault was met.
func (f *Faulty) Failed() bool { return f.Count(f.call) > f.n }

func (f *Faulty) fails(c Call) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[c]++
	return c == f.call && f.count[c] > f.n
}

// ReadAt implements io.ReaderAt.
func (f *Faulty) ReadAt(p []byte, off int64) (int, error) {
	if f.fails(Read) {
		return 0, f.err
	}
	return f.s.ReadAt(p, off)
}

// WriteAt implements io.WriterAt.
func (f *Faulty) WriteAt(p []byte, off int64) (int, error) {
	if !f.fails(Write) {
		return f.s.WriteAt(p, off)
	}
	n, err := f.s.WriteAt(p[:len(p)/2], off)
	if err == nil {
		err = f.err
	}
	return n, err
}

// Size returns the length in bytes.
func (f *Faulty) Size() int64 { return f.s.Size() }

// Sync implements store.Store.
func (f *Faulty) Sync() error {
	if f.fails(Sync) {
		return f.err
	}
	return f.s.Sync()
}

// Zero implements store.Store.
func (f *Faulty) Zero(off, n int64) error {
	if f.fails(Zero) {
		return f.err
	}
	return f.s.Zero(off, n)
}
