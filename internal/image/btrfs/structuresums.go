package btrfs

import (
	"fsenc/internal/image"
)

// checkSums checks that data have checksums where they should, and nothing else
// has: none in files without them, in preallocated ranges, outside of extents.
func (s *structure) checkSums() error {
	fs := s.fs
	t, err := fs.treeOf(treeCsum)
	if err != nil {
		return err
	}
	var have []span
	end := uint64(0)
	size, ss := uint64(fs.sum.size), uint64(fs.ss)
	err = fs.each(t, key{}, func(k key, b []byte) (bool, error) {
		n := uint64(len(b)) / size
		switch {
		case k.obj != objCsum || k.kind != keyCsum:
			return false, fs.itemError(t, k, "no checksums")
		case n == 0 || uint64(len(b))%size != 0 || k.off%ss != 0 || k.off+n*ss < k.off:
			return false, fs.itemError(t, k, "%d bytes of checksums", len(b))
		case k.off < end:
			return false, fs.itemError(t, k, "overlaps the checksums before, which end at %d", end)
		}
		if i := len(have) - 1; i >= 0 && have[i].end() == k.off {
			have[i].len += n * ss
		} else {
			have = append(have, span{k.off, n * ss})
		}
		end = k.off + n*ss
		return true, nil
	})
	if err != nil || s.partial {
		return err
	}
	s.compareSums(have)
	return nil
}

// maxSumFindings bounds the findings of each kind about checksums.
const maxSumFindings = 16

func (s *structure) compareSums(have []span) {
	tell := func(id, what string, list []span) {
		for _, x := range list[:min(len(list), maxSumFindings)] {
			s.found(id, image.Error, adviceCheck, "%d bytes from block %d on %s", x.len, s.fs.pblk(x.start), what)
		}
	}
	must := mergeSpans(s.summed)
	tell("checksums-missing", "have no checksums", without(must, have))
	tell("checksums-stray", "have checksums, but are preallocated or of a file without them", within(have, without(mergeSpans(s.unsummed), must)))
	var data []span
	for i := range s.extents {
		if u := &s.extents[i]; u.level < 0 {
			data = append(data, span{u.addr, u.len})
		}
	}
	tell("checksums-stray", "have checksums, and no data extent is there", without(have, mergeSpans(data)))
}

// without returns what of a is not in b. Both are ascending, and apart.
func without(a, b []span) []span {
	var out []span
	i := 0
	for _, x := range a {
		at := x.start
		for i < len(b) && b[i].end() <= at {
			i++
		}
		for j := i; j < len(b) && b[j].start < x.end(); j++ {
			if b[j].start > at {
				out = append(out, span{at, b[j].start - at})
			}
			at = max(at, min(b[j].end(), x.end()))
		}
		if at < x.end() {
			out = append(out, span{at, x.end() - at})
		}
	}
	return out
}

// within returns what of a is in b.
func within(a, b []span) []span { return without(a, without(a, b)) }
