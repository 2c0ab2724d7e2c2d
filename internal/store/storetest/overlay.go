package storetest

import (
	"sync"

	"fsenc/internal/store"
)

// overlayPage is how many bytes an Overlay copies at least.
const overlayPage = 4096

// Overlay is a store of bytes that stay as they are: what is written is kept
// beside them. Making one takes no time, whatever the size.
type Overlay struct {
	mu    sync.RWMutex
	base  []byte
	pages map[int64][]byte
}

var _ store.Store = (*Overlay)(nil)

// NewOverlay returns a store that begins as base.
func NewOverlay(base []byte) *Overlay {
	return &Overlay{base: base, pages: make(map[int64][]byte)}
}

// Size is that of base.
func (o *Overlay) Size() int64 { return int64(len(o.base)) }

// Sync has nothing to do.
func (o *Overlay) Sync() error { return nil }

// page returns the bytes of a page, which are not to be changed.
func (o *Overlay) page(n int64) []byte {
	if p := o.pages[n]; p != nil {
		return p
	}
	at := n * overlayPage
	return o.base[at:min(at+overlayPage, o.Size())]
}

// ReadAt reads what was written, or what was there.
func (o *Overlay) ReadAt(p []byte, off int64) (int, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return readAt(p, off, o.Size(), func(p []byte) {
		for len(p) > 0 {
			n := copy(p, o.page(off / overlayPage)[off%overlayPage:])
			p, off = p[n:], off+int64(n)
		}
	})
}

// WriteAt keeps p.
func (o *Overlay) WriteAt(p []byte, off int64) (int, error) {
	if err := NewMem(o.base).inside(off, int64(len(p))); err != nil {
		return 0, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for done := 0; done < len(p); {
		n := (off + int64(done)) / overlayPage
		if o.pages[n] == nil {
			o.pages[n] = append([]byte(nil), o.page(n)...)
		}
		done += copy(o.pages[n][(off+int64(done))%overlayPage:], p[done:])
	}
	return len(p), nil
}

// Zero keeps zeros.
func (o *Overlay) Zero(off, n int64) error {
	_, err := o.WriteAt(make([]byte, n), off)
	return err
}
