package btrfs

import (
	"bytes"
	"fmt"

	"fsenc/internal/image"
)

// dataSums calls f for each run of checksums that covers a part of n bytes at a
// logical address: the sums of the sectors from at on, which begin skip bytes into
// the item k.
func (fs *FS) dataSums(logical, n uint64, f func(k key, skip int, at uint64, sums []byte) error) error {
	t, err := fs.treeOf(treeCsum)
	if err != nil {
		return err
	}
	size, ss := uint64(fs.sum.size), uint64(fs.ss)
	first, behind := key{objCsum, keyCsum, logical}, key{objCsum, keyCsum, logical + n}
	// The item that begins last before the range may reach into it.
	if before, _, ok, err := fs.last(t, first); err != nil {
		return err
	} else if ok {
		first = before
	}
	return fs.each(t, first, func(k key, b []byte) (bool, error) {
		if !k.less(behind) {
			return false, nil
		}
		if k.obj != objCsum || k.kind != keyCsum {
			return true, nil
		}
		if len(b) == 0 || uint64(len(b))%size != 0 || k.off%ss != 0 {
			return false, fs.itemError(t, k, "%d bytes of checksums", len(b))
		}
		at, end, skip := k.off, k.off+uint64(len(b))/size*ss, uint64(0)
		if end <= logical {
			return true, nil
		}
		if at < logical {
			skip = (logical - at) / ss * size
			at = logical
		}
		sums := b[skip:]
		if end > logical+n {
			sums = sums[:(logical+n-at)/ss*size]
		}
		return true, f(k, int(skip), at, sums)
	})
}

// ReadBlocks fills p, whole sectors, from sector at on. What has checksums is
// read from the first copy whose checksums fit.
func (fs *FS) ReadBlocks(p []byte, at image.Pblk) error {
	if len(p)%fs.ss != 0 {
		panic("btrfs: not a whole number of blocks")
	}
	logical := uint64(at) * uint64(fs.ss)
	if fs.readKept(p, logical) {
		return nil
	}
	ok, err := fs.readMirror(p, logical, 0)
	fs.readKept(p, logical)
	if err == nil && !ok {
		err = &image.CorruptError{What: "logical address", Pblk: at, Why: "has no copies"}
	}
	if err != nil {
		return err
	}
	return fs.dataSums(logical, uint64(len(p)), func(_ key, _ int, from uint64, sums []byte) error {
		for ; len(sums) > 0; from, sums = from+uint64(fs.ss), sums[fs.sum.size:] {
			sector := p[from-logical:][:fs.ss]
			if fs.goodData(sector, sums) {
				continue
			}
			if err := fs.readOther(sector, from, sums); err != nil {
				return err
			}
		}
		return nil
	})
}

func (fs *FS) goodData(sector, sums []byte) bool {
	var got [32]byte
	fs.sum.sum(got[:], sector)
	return bytes.Equal(got[:fs.sum.size], sums[:fs.sum.size])
}

// readOther reads a sector from its further copies.
func (fs *FS) readOther(sector []byte, logical uint64, sums []byte) error {
	for mirror := 1; ; mirror++ {
		ok, err := fs.readMirror(sector, logical, mirror)
		if err != nil {
			return err
		}
		if !ok {
			return &image.CorruptError{What: "data", Pblk: image.Pblk(logical / uint64(fs.ss)),
				Why: fmt.Sprintf("%s checksum does not fit, want %x", fs.sum.name, sums[:fs.sum.size])}
		}
		if fs.goodData(sector, sums) {
			return nil
		}
	}
}

// SetSums stages the checksums of the sectors from at on, which will hold p:
// those that there are.
func (fs *FS) SetSums(p []byte, at image.Pblk) error {
	t, err := fs.treeOf(treeCsum)
	if err != nil {
		return err
	}
	logical := uint64(at) * uint64(fs.ss)
	type run struct {
		k     key
		skip  int
		at, n uint64
	}
	var runs []run
	err = fs.dataSums(logical, uint64(len(p)), func(k key, skip int, from uint64, sums []byte) error {
		runs = append(runs, run{k, skip, from, uint64(len(sums) / fs.sum.size)})
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range runs {
		err = fs.modify(t, r.k, func(b []byte) {
			b = b[r.skip:]
			for i := range r.n {
				fs.sum.sumInto(b[int(i)*fs.sum.size:], p[r.at-logical+i*uint64(fs.ss):][:fs.ss])
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sumInto stores the checksum of data.
func (s *summer) sumInto(dst, p []byte) {
	var sum [32]byte
	s.sum(sum[:], p)
	copy(dst[:s.size], sum[:])
}

// addSums makes checksums for new data, in the item that ends where they begin if
// there is one with room.
func (fs *FS) addSums(logical uint64, p []byte) error {
	t, err := fs.treeOf(treeCsum)
	if err != nil {
		return err
	}
	per := min((fs.ns-headerSize-2*itemSize)/fs.sum.size-1, maxSums)
	for len(p) > 0 {
		k, b, ok, err := fs.last(t, key{objCsum, keyCsum, logical})
		if err != nil {
			return err
		}
		have := len(b) / fs.sum.size
		joined := ok && k.obj == objCsum && k.kind == keyCsum && have < min(per, joinSums) && k.off+uint64(have*fs.ss) == logical
		if !joined {
			k, b, have = key{objCsum, keyCsum, logical}, nil, 0
		}
		n := min(len(p)/fs.ss, per-have)
		b = append(bytes.Clone(b), make([]byte, n*fs.sum.size)...)
		for i := range n {
			fs.sum.sumInto(b[(have+i)*fs.sum.size:], p[i*fs.ss:][:fs.ss])
		}
		if joined {
			err = fs.replace(t, k, b)
		} else {
			err = fs.insert(t, k, b)
		}
		if err != nil {
			return err
		}
		p, logical = p[n*fs.ss:], logical+uint64(n*fs.ss)
	}
	return nil
}

// maxSums bounds the checksums of an item. One that has joinSums is left as it is:
// it would be moved as a whole for each sector more.
const (
	maxSums  = 4096
	joinSums = 128
)

// dropSums takes the checksums of a range away.
func (fs *FS) dropSums(logical, n uint64) error {
	t, err := fs.treeOf(treeCsum)
	if err != nil {
		return err
	}
	for {
		var k key
		var b []byte
		var at uint64
		var skip, sums int
		err := fs.dataSums(logical, n, func(item key, from int, first uint64, s []byte) error {
			k, skip, at, sums = item, from, first, len(s)
			return errStop
		})
		if err == nil {
			return nil
		}
		if err == errStop {
			b, err = fs.item(t, k)
		}
		if err != nil {
			return err
		}
		if len(b) < skip+sums {
			return fs.itemError(t, k, "its leaf is not in order")
		}
		left, right := append([]byte{}, b[:skip]...), append([]byte{}, b[skip+sums:]...)
		if err := fs.remove(t, k); err != nil {
			return err
		}
		if len(left) > 0 {
			if err := fs.insert(t, k, left); err != nil {
				return err
			}
		}
		if len(right) > 0 {
			k.off = at + uint64(sums/fs.sum.size*fs.ss)
			if err := fs.insert(t, k, right); err != nil {
				return err
			}
		}
	}
}

// WriteBlocks stages p, whole sectors, from sector at on, with the checksums of
// those that have some. SetSums does the last alone, for contents that come to
// their places by other means.
func (fs *FS) WriteBlocks(p []byte, at image.Pblk) error {
	if len(p)%fs.ss != 0 {
		panic("btrfs: not a whole number of blocks")
	}
	if err := fs.writeKept(p, uint64(at)*uint64(fs.ss)); err != nil {
		return err
	}
	return fs.SetSums(p, at)
}
