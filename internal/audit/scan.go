package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"fsenc/internal/image"
	"fsenc/internal/store"
	"fsenc/internal/tree"
)

const (
	chunkSize = 1 << 20
	// overlap is how far a string may reach into the next chunk: a symlink
	// target may have nearly 4096 bytes.
	overlap = 4096
	// maxHits bounds the places that are kept, of 56 bytes each: 2 GiB of
	// contents where blocks have 4 KiB.
	maxHits = 1 << 19
)

// ScanResult counts what Scan read and found.
type ScanResult struct {
	Result
	Bytes   int64  // of the image
	Read    int64  // of those, without holes of the image file
	Matches uint64 // places
	Untold  uint64 // of those, more than are kept: no finding tells of them
}

// Scan searches the image in home, which t reads, for the source. It calls
// progress now and then, with how much of the image it has seen, and report
// for each finding in the order of the image. The error is ctx's or report's,
// or one of reading.
func Scan(ctx context.Context, t *tree.Tree, home store.Store, src *Source, progress func(bytes int64), report func(Finding) error) (ScanResult, error) {
	fs := t.FS()
	s := &scan{src: src, home: home, bs: int64(fs.Super().BlockSize), contents: blockSet{}}
	s.size = min(home.Size(), fs.Super().SizeBytes)
	if err := s.findContents(ctx, fs); err != nil {
		return ScanResult{}, err
	}
	if err := s.run(ctx, progress); err != nil {
		return ScanResult{}, err
	}
	slices.SortFunc(s.hits, func(a, b hit) int { return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(a.pattern, b.pattern)) })
	res := ScanResult{Bytes: s.size, Read: s.read, Matches: uint64(len(s.hits)) + s.untold, Untold: s.untold}
	p, err := place(ctx, t, src, s.hits)
	if err != nil {
		return res, err
	}
	err = p.tell(func(f Finding) error {
		res.count(f.Severity)
		return report(f)
	})
	return res, err
}

// hit is one match: of a pattern, or of sectors of one file in one block.
type hit struct {
	off     int64
	node    uint32
	pattern uint32 // its number + 1, 0 for sectors
	sectors uint32
}

type scan struct {
	src      *Source
	home     store.Store
	bs, size int64
	contents blockSet // blocks that hold nothing but contents of files

	mu     sync.Mutex
	hits   []hit
	untold uint64
	read   int64
}

// findContents marks the blocks of files that are full of contents.
func (s *scan) findContents(ctx context.Context, fs image.FS) error {
	return fs.Inodes(func(a image.Attr, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || a.Type != image.TypeRegular || a.Reserved || a.Inline {
			return nil // what a damaged inode has is searched for everything
		}
		all, err := fs.Extents(a.Ino)
		if err != nil && !errors.Is(err, image.ErrCorrupt) {
			return err
		}
		full := image.Lblk(a.Size / s.bs)
		for _, x := range all {
			if x.Unwritten || x.Packed != nil || x.Lblk >= full {
				continue
			}
			err := fs.Places(x.Pblk, min(x.Len, uint64(full-x.Lblk)), func(_ uint64, off, n int64) error {
				s.contents.add(image.Pblk(off/s.bs), uint64(n/s.bs))
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// run reads the image, in chunks that the processors take in turn.
func (s *scan) run(ctx context.Context, progress func(int64)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next, done atomic.Int64
	var wg sync.WaitGroup
	ticks := make(chan struct{}, 1)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			buf := make([]byte, chunkSize+overlap)
			for ctx.Err() == nil {
				off := next.Add(chunkSize) - chunkSize
				if off >= s.size {
					return
				}
				if err := s.chunk(buf, off, min(chunkSize, s.size-off)); err != nil {
					stop(fmt.Errorf("read the image at %d: %w", off, err))
				}
				done.Add(chunkSize)
				select {
				case ticks <- struct{}{}:
				default:
				}
			}
		})
	}
	go func() { wg.Wait(); close(ticks) }()
	for range ticks {
		if progress != nil {
			progress(min(done.Load(), s.size))
		}
	}
	return context.Cause(ctx)
}

// chunk searches n bytes at off.
func (s *scan) chunk(buf []byte, off, n int64) error {
	from, to, err := store.NextData(s.home, off, off+n)
	if err != nil || from == to {
		return err
	}
	got, err := s.home.ReadAt(buf[:min(n+overlap, s.size-off)], off)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	clear(buf[got:])
	c := chunk{scan: s, buf: buf, off: off}
	for at := int64(0); at < n; at += sectorSize {
		c.sector(int(at))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read += n
	room := min(len(c.hits), maxHits-len(s.hits))
	s.hits = append(s.hits, c.hits[:room]...)
	s.untold += uint64(len(c.hits)-room) + c.untold
	return nil
}

// chunk is what one worker has at hand.
type chunk struct {
	*scan
	buf    []byte
	off    int64 // of buf in the image
	hits   []hit
	untold uint64
}

// sector searches the sector that begins at a place of the buffer. In one that
// is known contents a name is a word in a text.
func (c *chunk) sector(at int) {
	p := c.buf[at : at+sectorSize]
	same := constant(p)
	if same && p[0] == 0 {
		return
	}
	off := c.off + int64(at)
	if !same {
		if node, ok := c.src.sectors.find(sectorHash(p)); ok {
			c.match(off, node)
			return
		}
	}
	if c.contents.has(image.Pblk(off / c.bs)) {
		return
	}
	c.src.patterns.search(c.buf[at:], sectorSize, func(i, number int) {
		c.hit(hit{off: off + int64(i), node: c.src.patterns.sorted[number].node, pattern: uint32(number) + 1})
	})
}

// match notes a sector, with those of the same block and file.
func (c *chunk) match(off int64, node uint32) {
	if n := len(c.hits); n > 0 {
		last := &c.hits[n-1]
		if last.pattern == 0 && last.node == node && last.off/c.bs == off/c.bs {
			last.sectors++
			return
		}
	}
	c.hit(hit{off: off, node: node, sectors: 1})
}

func (c *chunk) hit(h hit) {
	if len(c.hits) == maxHits {
		c.untold++
		return
	}
	c.hits = append(c.hits, h)
}
