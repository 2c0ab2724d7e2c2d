package convert

import (
	"sort"

	"fsenc/internal/image"
	"fsenc/internal/txn"
)

// limits bound what a commit takes, in bytes.
type limits struct {
	batch  int64 // of contents; they pass through memory piece by piece
	run    int   // of contents in a piece; a multiple of every block size
	staged int64 // of metadata, in memory
	early  int64 // of metadata, in memory: where it can be, more than this is written before the commit
}

var defaultLimits = limits{batch: 64 << 20, run: txn.MaxRewrite, staged: 4 << 20}

// wholeInodes is limits.staged where each inode takes a block, or all that changes
// is copied: with few commits of many inodes most blocks are written only once.
const wholeInodes = 8 << 20

// earlyInodes is limits.early. While so much is staged, as much is written: a commit
// covers more than fits into memory, and has little left to wait for.
const earlyInodes = 3 << 20

// maxRuns is how many pieces of contents a commit takes: each costs memory.
const maxRuns = 1 << 14

// batch is the contents that one commit rewrites.
type batch struct {
	runs  int
	bytes int64
	early int64 // of metadata that is written already, in bytes
}

func (c *Conversion) full(b *batch) bool {
	return b.bytes+b.early >= c.limits.batch || b.runs >= maxRuns
}

// makeRoom lets what is staged be written early, if that can be and if there is
// enough of it, and reports whether more may be staged before the commit.
func (c *Conversion) makeRoom(b *batch) (bool, error) {
	if c.full(b) {
		return false, nil
	}
	n := c.staged()
	fs, ok := c.fs.(image.Early)
	if !ok || c.limits.early == 0 {
		return n < c.limits.staged, nil
	}
	// An inode is edited a last time with its directory, and moves only once if it
	// is not let go before.
	between := c.betweenDirs()
	if n < c.limits.early || n < c.limits.staged && !between {
		return true, nil
	}
	err := fs.FlushEarly(between)
	most := c.limits.staged / 2
	if err == nil && !between && c.staged() >= most {
		err = fs.FlushEarly(true)
	}
	left := c.staged()
	b.early += n - left
	return err == nil && left < most && c.hasRoom(), err
}

// betweenDirs reports whether the boundary lies between two directories with what
// is in them.
func (c *Conversion) betweenDirs() bool {
	first := uint64(len(c.plan.extents))
	return !c.pos.active && c.pos.item > first && c.plan.items[c.pos.item-first-1].kind == image.TypeDirectory
}

// hasRoom reports whether the filesystem has room for the rest, whatever has moved
// without a commit.
func (c *Conversion) hasRoom() bool {
	m, ok := c.fs.(image.Moving)
	return !ok || m.CheckMoves(c.plan.moves()) == nil
}

// run is a piece of a file that is contiguous in the file and in the image.
type run struct {
	ino      image.Ino
	lblk     image.Lblk
	inFile   int // from here to the end of its block is behind the end of file: zeros
	from, to form

	// extent: the nonces of the forms are an extent's, lblk counts from the
	// start of the extent.
	extent bool
}

// stepFile stages the contents of a file from the boundary on, and its new
// form once all of it is done.
func (c *Conversion) stepFile(d Direction, b *batch, it item, from, to form) (bool, error) {
	a, err := c.fs.Stat(it.ino)
	if err != nil {
		return false, err
	}
	switching := c.pos.isNew == (d == Back) // else the inode has the form it shall have
	if a.Inline {
		if !switching {
			return true, nil
		}
		return true, c.convertInline(a, pick(d, from, to), pick(d, to, from))
	}
	done, err := c.addRuns(d, b, a, pick(d, from, to), pick(d, to, from))
	if err != nil || !done || !switching {
		return done, err
	}
	return true, c.setForm(it.ino, pick(d, to, from))
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
		if c.full(b) {
			return false, nil
		}
		if err := c.rewrite(b, a, x, from, to); err != nil {
			return false, err
		}
		c.pos.lblk = uint64(x.Lblk)
		if d == Forward {
			c.pos.lblk += x.Len
		}
	}
}

// rewrite stages the new contents of a piece, wherever it lies.
func (c *Conversion) rewrite(b *batch, a image.Attr, x image.Extent, from, to form) error {
	return c.fs.Places(x.Pblk, x.Len, func(skip uint64, off, n int64) error {
		r := run{ino: a.Ino, lblk: x.Lblk + image.Lblk(skip), from: from, to: to}
		r.inFile = c.inFile(a.Size, r.lblk, int(n))
		c.tx.Rewrite(txn.Rewrite{Off: off, Len: int(n), Tag: c.tag(&r)})
		b.runs++
		b.bytes += n
		return nil
	})
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

// inFile is how many of n bytes from lblk on come before the tail of the last
// block, n if that is not among them. Blocks wholly behind the end are kept.
func (c *Conversion) inFile(size int64, lblk image.Lblk, n int) int {
	start := int64(lblk) * int64(c.vol.BlockSize)
	if size <= start || size >= start+int64(n) {
		return n
	}
	return int(size - start)
}
