package secret

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Small buffers share mappings: the limit on locked memory may be as low as
// 64 KiB, and a page for each key of a large tree would soon exceed it.
const (
	minPiece = 32       // bytes; size classes are powers of two from here
	maxPiece = 2048     // bytes; larger buffers have a mapping of their own
	slabSize = 4 * 4096 // bytes, rounded up to whole pages
	classes  = 7        // 32, 64, ... 2048
)

// slab is one mapping, cut into pieces of equal size.
type slab struct {
	mem    []byte
	piece  int // bytes
	used   []bool
	inUse  int
	locked bool
}

// pool is all secret memory of the process.
type pool struct {
	mu    sync.Mutex
	slabs [classes][]*slab // of each size class
	alone int              // mappings of a single buffer
}

// all is the one pool: locked memory is a resource of the process, and so is
// its limit.
var all pool

// class returns the index and the size of the pieces for n bytes.
func class(n int) (index, size int) {
	if n <= minPiece {
		return 0, minPiece
	}
	index = bits.Len(uint(n-1)) - bits.Len(uint(minPiece-1))
	return index, minPiece << index
}

// take returns n zero bytes and the slab they belong to.
func (p *pool) take(n int) ([]byte, *slab, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > maxPiece {
		s, err := newSlab(n, n)
		if err != nil {
			return nil, nil, err
		}
		p.alone++
		return s.take(n), s, nil
	}
	c, size := class(n)
	for _, s := range p.slabs[c] {
		if s.inUse < len(s.used) {
			return s.take(n), s, nil
		}
	}
	s, err := newSlab(slabSize, size)
	if err != nil {
		return nil, nil, err
	}
	p.slabs[c] = append(p.slabs[c], s)
	return s.take(n), s, nil
}

// give clears what take returned, or the start of it, and takes it back. Of
// each size class one empty slab is kept, so that a loop that makes and wipes
// a key does not map and unmap each time.
func (p *pool) give(mem []byte, s *slab) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.give(mem)
	if s.inUse > 0 {
		return
	}
	if s.piece > maxPiece {
		p.alone--
		s.unmap()
		return
	}
	c, _ := class(s.piece)
	if len(p.slabs[c]) > 1 {
		p.slabs[c] = slices.DeleteFunc(p.slabs[c], func(o *slab) bool { return o == s })
		s.unmap()
	}
}

func newSlab(size, piece int) (*slab, error) {
	page := os.Getpagesize()
	if size > int(^uint(0)>>1)-page {
		return nil, fmt.Errorf("%d bytes are too many", size)
	}
	size = (size + page - 1) / page * page
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	s := &slab{mem: mem, piece: piece, used: make([]bool, max(1, size/piece))}
	if piece > maxPiece {
		s.used = make([]bool, 1)
	}
	for _, advice := range []int{unix.MADV_DONTDUMP, unix.MADV_WIPEONFORK} {
		// EINVAL: a kernel older than the advice. The rest still holds.
		if err := unix.Madvise(mem, advice); err != nil && !errors.Is(err, unix.EINVAL) {
			s.unmap()
			return nil, fmt.Errorf("madvise: %w", err)
		}
	}
	// A limit of zero is common in containers: the keys are then as safe as
	// all other memory, and Locked says so.
	s.locked = unix.Mlock(mem) == nil
	return s, nil
}

// take returns a free piece; the caller has seen that there is one.
func (s *slab) take(n int) []byte {
	i := slices.Index(s.used, false)
	s.used[i] = true
	s.inUse++
	at := i * s.piece
	return s.mem[at : at+n : at+n]
}

// give clears the whole piece that mem starts.
func (s *slab) give(mem []byte) {
	at := int(uintptr(unsafe.Pointer(unsafe.SliceData(mem))) - uintptr(unsafe.Pointer(unsafe.SliceData(s.mem))))
	clear(s.mem[at:min(at+s.piece, len(s.mem))])
	s.used[at/s.piece] = false
	s.inUse--
}

func (s *slab) unmap() {
	clear(s.mem)
	if err := unix.Munmap(s.mem); err != nil {
		panic("secret: munmap of memory that is mapped: " + err.Error())
	}
	s.mem = nil
}
