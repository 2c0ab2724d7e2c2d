package ext4

import (
	"cmp"
	"iter"
	"slices"

	"fsenc/internal/image"
)

// byteRange is n bytes from off on.
type byteRange struct{ off, n int64 }

// Residue calls f for each range of bytes that the filesystem does not use and
// that may hold remains of files, in ascending order: free clusters, unmapped
// blocks of clusters in use, slots of free inodes, and the journal's log if it
// is empty.
//
// Of the journal, its first block is its superblock and stays.
func (fs *FS) Residue(f func(off, n int64) error) error {
	var failed error
	log, err := fs.journalLog()
	if err != nil {
		return err
	}
	slack, err := fs.clusterSlack()
	if err != nil {
		return err
	}
	last := byteRange{}
	files := mergeTwo(slices.Values(log), slices.Values(slack))
	for r := range mergeRanges(fs.freeBlocks(&failed), fs.freeSlots(&failed), files) {
		if failed != nil {
			return failed
		}
		if last.n > 0 && r.off == last.off+last.n {
			last.n += r.n
			continue
		}
		if last.n > 0 {
			if err := f(last.off, last.n); err != nil {
				return err
			}
		}
		last = r
	}
	if failed != nil || last.n == 0 {
		return failed
	}
	return f(last.off, last.n)
}

// mergeRanges joins three ascending sequences into one.
func mergeRanges(a, b, c iter.Seq[byteRange]) iter.Seq[byteRange] {
	return mergeTwo(mergeTwo(a, b), c)
}

func mergeTwo(a, b iter.Seq[byteRange]) iter.Seq[byteRange] {
	return func(yield func(byteRange) bool) {
		next, stop := iter.Pull(b)
		defer stop()
		y, more := next()
		for x := range a {
			for ; more && y.off < x.off; y, more = next() {
				if !yield(y) {
					return
				}
			}
			if !yield(x) {
				return
			}
		}
		for ; more; y, more = next() {
			if !yield(y) {
				return
			}
		}
	}
}

// freeBlocks yields the runs of free clusters. An error ends the sequence.
func (fs *FS) freeBlocks(failed *error) iter.Seq[byteRange] {
	return func(yield func(byteRange) bool) {
		for n := range fs.geo.groups {
			b, err := fs.groupBlocks(n)
			if err != nil {
				*failed = err
				return
			}
			end := fs.geo.clusters(n)
			for lo := b.next(0, end, false); lo < end; {
				hi := b.next(lo, end, true)
				first := fs.geo.firstBlock(n) + uint64(lo)*fs.geo.ratio
				stop := min(fs.geo.firstBlock(n)+uint64(hi)*fs.geo.ratio, fs.geo.blocks)
				if !yield(byteRange{int64(first) * int64(fs.bs), int64(stop-first) * int64(fs.bs)}) {
					return
				}
				lo = b.next(hi, end, false)
			}
		}
	}
}

func (fs *FS) groupBlocks(n uint32) (*bitmap, error) {
	gr, err := fs.group(n)
	if err != nil {
		return nil, err
	}
	return fs.blockBitmap(gr)
}

// freeSlots yields the runs of free inode slots, table by table as they lie in
// the image. An error ends the sequence.
func (fs *FS) freeSlots(failed *error) iter.Seq[byteRange] {
	return func(yield func(byteRange) bool) {
		order, err := fs.tableOrder()
		if err != nil {
			*failed = err
			return
		}
		per, isize := fs.geo.inodesPerGroup, int64(fs.geo.inodeSize)
		for _, t := range order {
			b, err := fs.groupInodeBits(t.group)
			if err != nil {
				*failed = err
				return
			}
			for lo := b.next(0, per, false); lo < per; {
				hi := b.next(lo, per, true)
				if !yield(byteRange{t.off + int64(lo)*isize, int64(hi-lo) * isize}) {
					return
				}
				lo = b.next(hi, per, false)
			}
		}
	}
}

func (fs *FS) groupInodeBits(n uint32) (*bitmap, error) {
	gr, err := fs.group(n)
	if err != nil {
		return nil, err
	}
	return fs.inodeBitmap(gr)
}

// table is where the inode table of a group starts, in bytes.
type table struct {
	off   int64
	group uint32
}

// tableOrder lists the inode tables as they lie in the image.
func (fs *FS) tableOrder() ([]table, error) {
	order := make([]table, 0, fs.geo.groups)
	for n := range fs.geo.groups {
		gr, err := fs.group(n)
		if err != nil {
			return nil, err
		}
		order = append(order, table{int64(gr.desc.inodeTable()) * int64(fs.bs), n})
	}
	slices.SortFunc(order, func(a, b table) int { return cmp.Compare(a.off, b.off) })
	return order, nil
}

// journalLog returns the journal's blocks but the first, in the order of the
// image, nothing unless the log is known to be empty.
func (fs *FS) journalLog() ([]byteRange, error) {
	if fs.journal.ino == 0 || !fs.journal.empty || fs.sb.hasIncompat(incompatRecover) {
		return nil, nil
	}
	in, err := fs.inode(fs.journal.ino)
	if err != nil {
		return nil, err
	}
	exts, err := fs.mapping(in)
	if err != nil {
		return nil, err
	}
	var log []byteRange
	for _, x := range exts {
		if x.Lblk == 0 {
			x = image.Extent{Lblk: 1, Pblk: x.Pblk + 1, Len: x.Len - 1}
		}
		if x.Len > 0 {
			log = append(log, byteRange{int64(x.Pblk) * int64(fs.bs), int64(x.Len) * int64(fs.bs)})
		}
	}
	slices.SortFunc(log, func(a, b byteRange) int { return cmp.Compare(a.off, b.off) })
	return log, nil
}
