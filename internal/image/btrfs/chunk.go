package btrfs

import (
	"fmt"
	"slices"
	"sort"

	"fsenc/internal/image"
)

// Types and profiles of chunks and block groups.
const (
	groupData     = 1
	groupSystem   = 2
	groupMetadata = 4
	groupKinds    = groupData | groupSystem | groupMetadata

	profRAID0   = 0x8
	profRAID1   = 0x10
	profDup     = 0x20
	profRAID10  = 0x40
	profRAID5   = 0x80
	profRAID6   = 0x100
	profRAID1C3 = 0x200
	profRAID1C4 = 0x400
	okGroup     = groupKinds | profRAID0 | profRAID1 | profDup | profRAID10 | profRAID5 | profRAID6 | profRAID1C3 | profRAID1C4
)

// Fields of struct btrfs_chunk.
const (
	offChunkLen     = 0  // le64
	offChunkOwner   = 8  // le64
	offChunkStripe  = 16 // le64 stripe_len
	offChunkType    = 24 // le64
	offChunkIOAlign = 32 // le32, and two more
	offChunkStripes = 44 // le16
	offChunkSub     = 46 // le16
	chunkHeader     = 48
	stripeSize      = 32 // le64 devid, le64 offset, uuid[16]

	stripeLen = 65536
)

// chunk maps a range of the logical space.
type chunk struct {
	start, len uint64
	kind       uint64
	sub        int
	stripes    []uint64 // physical
}

// parseChunk reads a chunk item.
func (fs *FS) parseChunk(start uint64, b []byte) (*chunk, error) {
	bad := func(format string, a ...any) error {
		return &image.CorruptError{What: "chunk", Pblk: image.Pblk(start / uint64(fs.ss)), Why: fmt.Sprintf(format, a...)}
	}
	if len(b) < chunkHeader+stripeSize {
		return nil, bad("item of %d bytes", len(b))
	}
	n := int(le.Uint16(b[offChunkStripes:]))
	c := &chunk{start: start, len: le.Uint64(b[offChunkLen:]), kind: le.Uint64(b[offChunkType:]), sub: int(le.Uint16(b[offChunkSub:]))}
	switch {
	case n == 0 || len(b) != chunkHeader+n*stripeSize:
		return nil, bad("%d stripes in %d bytes", n, len(b))
	case c.kind&^okGroup != 0:
		return nil, fmt.Errorf("%w: chunks of type %#x", image.ErrUnsupported, c.kind)
	case c.len == 0 || c.len%uint64(fs.ss) != 0 || start%uint64(fs.ss) != 0 || start+c.len < start || le.Uint64(b[offChunkStripe:]) != stripeLen:
		return nil, bad("%d bytes in stripes of %d", c.len, le.Uint64(b[offChunkStripe:]))
	case c.kind&profRAID10 != 0 && (c.sub != 2 || n%2 != 0):
		return nil, bad("%d stripes, %d copies", n, c.sub)
	}
	id, size := le.Uint64(fs.sb.devItem()), uint64(fs.s.Size())
	per := c.len / uint64(c.dataStripes(n))
	for i := range n {
		s := b[chunkHeader+i*stripeSize:]
		at := le.Uint64(s[8:])
		if le.Uint64(s) != id {
			return nil, fmt.Errorf("%w: a chunk on device %d, this is %d", image.ErrUnsupported, le.Uint64(s), id)
		}
		if at+per > size || at+per < at {
			return nil, bad("stripe at %d, the device has %d bytes", at, size)
		}
		c.stripes = append(c.stripes, at)
	}
	return c, nil
}

// dataStripes is how many of n stripes hold different data.
func (c *chunk) dataStripes(n int) int {
	switch {
	case c.kind&profRAID0 != 0:
		return n
	case c.kind&profRAID10 != 0:
		return n / c.sub
	case c.kind&profRAID5 != 0:
		return max(n-1, 1)
	case c.kind&profRAID6 != 0:
		return max(n-2, 1)
	}
	return 1
}

// addChunk puts a chunk into the map, which is kept in order.
func (fs *FS) addChunk(c *chunk) error {
	i := sort.Search(len(fs.chunks), func(i int) bool { return fs.chunks[i].start >= c.start })
	if i < len(fs.chunks) && fs.chunks[i].start == c.start { // bootstrapped from the superblock
		if b := fs.chunks[i]; b.len != c.len || b.kind != c.kind || b.sub != c.sub || !slices.Equal(b.stripes, c.stripes) {
			return &image.CorruptError{What: "chunk", Pblk: image.Pblk(c.start / uint64(fs.ss)), Why: "the superblock has it in another way"}
		}
		return nil
	}
	if i > 0 && fs.chunks[i-1].start+fs.chunks[i-1].len > c.start || i < len(fs.chunks) && c.start+c.len > fs.chunks[i].start {
		return &image.CorruptError{What: "chunk", Pblk: image.Pblk(c.start / uint64(fs.ss)), Why: "overlaps another"}
	}
	fs.chunks = append(fs.chunks, nil)
	copy(fs.chunks[i+1:], fs.chunks[i:])
	fs.chunks[i] = c
	return nil
}

func (fs *FS) chunkAt(logical uint64) *chunk {
	i := sort.Search(len(fs.chunks), func(i int) bool { return fs.chunks[i].start > logical })
	if i == 0 || logical-fs.chunks[i-1].start >= fs.chunks[i-1].len {
		return nil
	}
	return fs.chunks[i-1]
}

// piece is where a part of a logical range lies: n bytes, in each of the places.
type piece struct {
	skip   uint64 // from the start of the range
	n      uint64
	places []uint64
}

// pieces calls f for each part of a range that is contiguous on the device.
func (fs *FS) pieces(logical, n uint64, f func(piece) error) error {
	for done := uint64(0); done < n; {
		c := fs.chunkAt(logical + done)
		if c == nil {
			return &image.CorruptError{What: "logical address", Pblk: image.Pblk((logical + done) / uint64(fs.ss)), Why: "in no chunk"}
		}
		p, err := c.place(logical + done - c.start)
		if err != nil {
			return err
		}
		p.skip, p.n = done, min(p.n, n-done)
		if err := f(p); err != nil {
			return err
		}
		done += p.n
	}
	return nil
}

// place maps an offset in the chunk.
func (c *chunk) place(o uint64) (piece, error) {
	nr, in, n := o/stripeLen, o%stripeLen, uint64(len(c.stripes))
	switch {
	case c.kind&(profRAID5|profRAID6) != 0:
		return piece{}, fmt.Errorf("%w: RAID5 and RAID6", image.ErrUnsupported)
	case c.kind&profRAID0 != 0:
		return piece{n: stripeLen - in, places: []uint64{c.stripes[nr%n] + nr/n*stripeLen + in}}, nil
	case c.kind&profRAID10 != 0:
		groups := n / uint64(c.sub)
		g := nr % groups
		var places []uint64
		for _, s := range c.stripes[g*uint64(c.sub):][:c.sub] {
			places = append(places, s+nr/groups*stripeLen+in)
		}
		return piece{n: stripeLen - in, places: places}, nil
	}
	places := make([]uint64, 0, n)
	for _, s := range c.stripes {
		places = append(places, s+o)
	}
	return piece{n: c.len - o, places: places}, nil
}

// Places calls f for each piece of the image that holds some of the blocks, all
// copies of it.
func (fs *FS) Places(at image.Pblk, n uint64, f func(skip uint64, off, n int64) error) error {
	ss := uint64(fs.ss)
	return fs.pieces(uint64(at)*ss, n*ss, func(p piece) error {
		for _, at := range p.places {
			if err := f(p.skip/ss, int64(at), int64(p.n)); err != nil {
				return err
			}
		}
		return nil
	})
}
