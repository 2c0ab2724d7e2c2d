package btrfs

import (
	"bytes"
	"fmt"

	"fsenc/internal/image"
)

// dataSums calls f for each run of checksums that covers a part of n bytes at a
// logical address: the sums of the sectors from at on.
func (fs *FS) dataSums(logical, n uint64, f func(at uint64, sums []byte) error) error {
	t, err := fs.treeOf(treeCsum)
	if err != nil {
		return err
	}
	size, ss := uint64(fs.sum.size), uint64(fs.ss)
	from := key{objCsum, keyCsum, logical}
	if k, b, ok, err := fs.last(t, from); err != nil {
		return err
	} else if ok && k.obj == objCsum && k.kind == keyCsum && k.off+uint64(len(b))/size*ss > logical {
		from = k
	}
	return fs.each(t, from, func(k key, b []byte) (bool, error) {
		if k.obj != objCsum || k.kind != keyCsum || k.off >= logical+n {
			return false, nil
		}
		if len(b) == 0 || uint64(len(b))%size != 0 || k.off%ss != 0 {
			return false, fs.itemError(t, k, "%d bytes of checksums", len(b))
		}
		at, end := k.off, k.off+uint64(len(b))/size*ss
		if at < logical {
			b = b[(logical-at)/ss*size:]
			at = logical
		}
		if end > logical+n {
			b = b[:(logical+n-at)/ss*size]
		}
		return true, f(at, b)
	})
}

// ReadBlocks fills p, whole sectors, from sector at on. What has checksums is
// read from the first copy whose checksums fit.
func (fs *FS) ReadBlocks(p []byte, at image.Pblk) error {
	if len(p)%fs.ss != 0 {
		panic("btrfs: not a whole number of blocks")
	}
	logical := uint64(at) * uint64(fs.ss)
	ok, err := fs.readMirror(p, logical, 0)
	if err == nil && !ok {
		err = &image.CorruptError{What: "logical address", Pblk: at, Why: "has no copies"}
	}
	if err != nil {
		return err
	}
	return fs.dataSums(logical, uint64(len(p)), func(from uint64, sums []byte) error {
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
	type found struct{ at, n uint64 }
	var runs []found
	err = fs.dataSums(logical, uint64(len(p)), func(from uint64, sums []byte) error {
		runs = append(runs, found{from, uint64(len(sums) / fs.sum.size)})
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range runs {
		k, _, skip, err := fs.sumsAt(t, r.at, r.n)
		if err != nil {
			return err
		}
		err = fs.modify(t, k, func(b []byte) {
			b = b[skip:]
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

// sumsAt finds the item with the checksums of n sectors, and where in it they are.
func (fs *FS) sumsAt(t *tree, at, n uint64) (k key, b []byte, skip int, err error) {
	k, b, ok, err := fs.last(t, key{objCsum, keyCsum, at})
	if err != nil {
		return k, nil, 0, err
	}
	size := uint64(fs.sum.size)
	from := (at - k.off) / uint64(fs.ss) * size
	if !ok || k.obj != objCsum || k.kind != keyCsum || from > uint64(len(b)) || n*size > uint64(len(b))-from {
		return k, nil, 0, &image.CorruptError{What: "checksum tree", Pblk: fs.pblk(at), Why: "its leaves are not in order"}
	}
	return k, b, int(from), nil
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
		joined := ok && k.obj == objCsum && k.kind == keyCsum && have < per && k.off+uint64(have*fs.ss) == logical
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

// maxSums bounds the checksums of an item.
const maxSums = 4096

// dropSums takes the checksums of a range away.
func (fs *FS) dropSums(logical, n uint64) error {
	t, err := fs.treeOf(treeCsum)
	if err != nil {
		return err
	}
	for {
		var at uint64
		var sums int
		err := fs.dataSums(logical, n, func(from uint64, s []byte) error {
			at, sums = from, len(s)
			return errStop
		})
		if err == nil {
			return nil
		}
		if err != errStop {
			return err
		}
		k, b, skip, err := fs.sumsAt(t, at, uint64(sums/fs.sum.size))
		if err != nil {
			return err
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
// those that have some.
func (fs *FS) WriteBlocks(p []byte, at image.Pblk) error {
	if len(p)%fs.ss != 0 {
		panic("btrfs: not a whole number of blocks")
	}
	if err := fs.writeLogical(p, uint64(at)*uint64(fs.ss)); err != nil {
		return err
	}
	return fs.SetSums(p, at)
}
