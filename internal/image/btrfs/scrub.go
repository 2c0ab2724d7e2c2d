package btrfs

import (
	"errors"
	"fmt"

	"fsenc/internal/image"
)

const (
	scrubBytes  = 1 << 20 // read at a time
	maxScrubbed = 100     // findings
)

// CheckData implements image.Scrubber.
func (fs *FS) CheckData(goOn func() error, report func(image.Finding)) error {
	t, err := fs.treeOf(treeCsum)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	s := scrub{fs: fs, report: report, buf: make([]byte, scrubBytes)}
	err = fs.eachOf(t, objCsum, keyCsum, func(logical uint64, sums []byte) error {
		for step := scrubBytes / fs.ss * fs.sum.size; len(sums) >= fs.sum.size; {
			if err := goOn(); err != nil {
				return err
			}
			n := min(step, len(sums)/fs.sum.size*fs.sum.size)
			if err := s.run(logical, sums[:n]); err != nil {
				return err
			}
			sums, logical = sums[n:], logical+uint64(n/fs.sum.size*fs.ss)
		}
		return nil
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

type scrub struct {
	fs     *FS
	report func(image.Finding)
	buf    []byte
	told   int
}

// run compares all copies of some sectors with their checksums.
func (s *scrub) run(logical uint64, sums []byte) error {
	fs := s.fs
	n := len(sums) / fs.sum.size
	good := make([]int, n) // copies of each sector that fit
	copies := 0
	for ; ; copies++ {
		p := s.buf[:n*fs.ss]
		ok, err := fs.readMirror(p, logical, copies)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		for i := range n {
			if fs.goodData(p[i*fs.ss:][:fs.ss], sums[i*fs.sum.size:]) {
				good[i]++
			}
		}
	}
	for i := 0; i < n; {
		j := i + 1
		for j < n && good[j] == good[i] {
			j++
		}
		if good[i] < copies {
			if err := s.tell(logical+uint64(i*fs.ss), j-i, good[i], copies); err != nil {
				return err
			}
		}
		i = j
	}
	return nil
}

// tell reports sectors of which not all copies fit.
func (s *scrub) tell(logical uint64, n, good, copies int) error {
	if s.told++; s.told > maxScrubbed {
		s.report(image.Finding{ID: "data-checksum", Severity: image.Error, Text: "and there are more that do not fit their checksums", Advice: "run btrfs scrub"})
		return errStop
	}
	f := image.Finding{ID: "data-checksum", Severity: image.Error, Pblk: s.fs.pblk(logical), Advice: restoreAdvice,
		Text: fmt.Sprintf("%d blocks of contents from block %d on do not fit their checksums, in any copy", n, s.fs.pblk(logical))}
	if good > 0 {
		f.Severity, f.Advice = image.Warning, "copies are repaired by btrfs scrub"
		f.Text = fmt.Sprintf("%d blocks of contents from block %d on fit their checksums in %d of %d copies", n, s.fs.pblk(logical), good, copies)
	}
	s.report(f)
	return nil
}
