package convert

import (
	"errors"
	"io"
	"runtime"
	"sort"
	"sync"

	"fsenc/internal/image"
	"fsenc/internal/txn"
)

// limits bound what a batch takes, in bytes.
type limits struct {
	batch  int   // contents in memory at a time
	run    int   // contents that one call of a cipher takes; a multiple of every block size
	staged int64 // metadata in memory before a commit
}

var defaultLimits = limits{batch: 8 << 20, run: 1 << 20, staged: 4 << 20}

// maxRuns is how many pieces of contents a batch takes.
const maxRuns = 1 << 14

// batch is the contents that one commit rewrites.
type batch struct {
	arena []byte // runs take pieces from its front
	piece int    // bytes that must be left for it not to be full
	used  int
	runs  []run
}

// run is a piece of a file that is contiguous in the file and in the image.
type run struct {
	ino      image.Ino
	lblk     image.Lblk
	off      int64 // in the image, bytes
	buf      []byte
	inFile   int // bytes from here on are the tail of the last block: zeros
	from, to form
}

// newBatch returns an empty batch; its memory is that of the one before.
func (c *Conversion) newBatch() *batch {
	if c.arena == nil {
		c.arena = make([]byte, c.limits.batch)
	}
	return &batch{arena: c.arena, piece: c.limits.run}
}

func (b *batch) full() bool { return len(b.arena)-b.used < b.piece || len(b.runs) >= maxRuns }

// stepFile stages the contents of a file from the boundary on, and its new
// form once all of it is done.
func (c *Conversion) stepFile(d Direction, b *batch, it item, from, to form) (bool, error) {
	a, err := c.fs.Stat(it.ino)
	if err != nil {
		return false, err
	}
	switching := c.pos.isNew == (d == Back) // else the inode has the form it shall have
	if a.Inline {
		err = c.convertInline(a, pick(d, from, to), pick(d, to, from))
	} else {
		var done bool
		if done, err = c.addRuns(d, b, a, pick(d, from, to), pick(d, to, from)); !done {
			return false, err
		}
	}
	if err != nil || !switching {
		return true, err
	}
	return true, c.setForm(it.ino, pick(d, to, from))
}

// convertInline moves the contents out of the inode into a block. They are
// small and pass through the staged metadata, where only their final form is
// left when it is logged.
func (c *Conversion) convertInline(a image.Attr, from, to form) error {
	if err := c.fs.Uninline(a.Ino); err != nil {
		return err
	}
	data, err := c.fs.DataExtents(a.Ino)
	if err != nil {
		return err
	}
	for _, x := range data {
		r := run{ino: a.Ino, lblk: x.Lblk, buf: make([]byte, x.Len*uint64(c.sb.BlockSize)), from: from, to: to}
		r.inFile = c.inFile(a.Size, x.Lblk, len(r.buf))
		if err := c.fs.ReadBlocks(r.buf, x.Pblk); err != nil {
			return err
		}
		if err := c.recodeRun(&r); err != nil {
			return err
		}
		if err := c.fs.WriteBlocks(r.buf, x.Pblk); err != nil {
			return err
		}
	}
	return nil
}

// addRuns cuts the file's blocks beyond the boundary into runs until the batch
// is full, moves the boundary along, and reports whether it reached the end.
func (c *Conversion) addRuns(d Direction, b *batch, a image.Attr, from, to form) (bool, error) {
	data, err := c.fs.DataExtents(a.Ino)
	if err != nil {
		return false, err
	}
	bs := c.sb.BlockSize
	for {
		x, ok := nextPiece(d, data, c.pos.lblk, uint64(c.limits.run/bs))
		if !ok {
			return true, nil
		}
		n := int(x.Len) * bs
		if len(b.arena)-b.used < n || len(b.runs) >= maxRuns {
			return false, nil
		}
		b.runs = append(b.runs, run{ino: a.Ino, lblk: x.Lblk, off: int64(x.Pblk) * int64(bs),
			buf: b.arena[b.used : b.used+n], inFile: c.inFile(a.Size, x.Lblk, n), from: from, to: to})
		b.used += n
		c.pos.lblk = uint64(x.Lblk)
		if d == Forward {
			c.pos.lblk += x.Len
		}
	}
}

// nextPiece returns the next piece of at most limit blocks: the first at or
// behind lblk going forward, the last before it going back.
func nextPiece(d Direction, data []image.Extent, lblk, limit uint64) (image.Extent, bool) {
	// i is the first extent that ends behind lblk.
	i := sort.Search(len(data), func(i int) bool { return uint64(data[i].Lblk)+data[i].Len > lblk })
	if d == Forward {
		if i == len(data) {
			return image.Extent{}, false
		}
		x := data[i]
		skip := max(uint64(x.Lblk), lblk) - uint64(x.Lblk)
		return subExtent(x, skip, min(x.Len-skip, limit)), true
	}
	if i == len(data) || uint64(data[i].Lblk) >= lblk {
		i--
	}
	if i < 0 {
		return image.Extent{}, false
	}
	keep := min(data[i].Len, lblk-uint64(data[i].Lblk))
	n := min(keep, limit)
	return subExtent(data[i], keep-n, n), true
}

func subExtent(x image.Extent, skip, n uint64) image.Extent {
	return image.Extent{Lblk: x.Lblk + image.Lblk(skip), Pblk: x.Pblk + image.Pblk(skip), Len: n}
}

// transform reads, recodes and stages the runs of a batch, on all cores.
func (c *Conversion) transform(b *batch) error {
	if len(b.runs) == 0 {
		return nil
	}
	staged := make([]txn.Rewrite, len(b.runs))
	next := make(chan int)
	workers := min(runtime.GOMAXPROCS(0), len(b.runs))
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range next {
				if errs[w] == nil {
					staged[i], errs[w] = c.prepare(&b.runs[i])
				}
			}
		})
	}
	for i := range b.runs {
		next <- i
	}
	close(next)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, r := range staged {
		c.tx.Rewrite(r)
		c.bytes += int64(len(r.New))
	}
	return nil
}

// inFile is how many of n bytes from lblk on are not the tail of the last
// block. Blocks wholly behind the end, a verity file's tree, are kept.
func (c *Conversion) inFile(size int64, lblk image.Lblk, n int) int {
	bs := int64(c.vol.BlockSize)
	start := int64(lblk) * bs
	end := start + int64(n)
	if size <= start || size >= end || end-size >= bs {
		return n
	}
	return int(size - start)
}

// prepare reads a run past the staged metadata, which never covers contents,
// and recodes it.
func (c *Conversion) prepare(r *run) (txn.Rewrite, error) {
	out := txn.Rewrite{Off: r.off, New: r.buf, Tag: c.tag(r)}
	if _, err := c.tx.Home().ReadAt(r.buf, r.off); err != nil && err != io.EOF {
		return out, err
	}
	if c.tx.Header().Method == txn.Checksum {
		out.Sums = txn.Sums(make([]byte, 0, len(r.buf)/txn.SectorSize*8), r.buf)
	}
	return out, c.recodeRun(r)
}

// recodeRun turns a run from one form into another in place.
func (c *Conversion) recodeRun(r *run) error {
	dec, err := c.contents(r.ino, r.from)
	if err != nil {
		return err
	}
	if dec != nil {
		dec.DecryptBlocks(r.buf, r.buf, uint64(r.lblk))
		dec.Close()
	}
	clear(r.buf[r.inFile:])
	enc, err := c.contents(r.ino, r.to)
	if err != nil {
		return err
	}
	if enc != nil {
		enc.EncryptBlocks(r.buf, r.buf, uint64(r.lblk))
		enc.Close()
	}
	return nil
}
