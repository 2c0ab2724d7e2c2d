package btrfs

import (
	"cmp"
	"slices"

	"fsenc/internal/image"
)

// checkGroups compares block groups with chunks, with the extents in them, and
// with the free space tree; and the superblock's count of bytes with all of them.
func (s *structure) checkGroups() error {
	fs := s.fs
	t, err := fs.groupTree()
	if err != nil {
		return err
	}
	var groups []*group
	total := uint64(0)
	err = fs.each(t, key{}, func(k key, b []byte) (bool, error) {
		if k.kind != keyBlockGroup {
			return true, nil
		}
		c := fs.chunkAt(k.obj)
		if len(b) != groupItemSize || c == nil || c.start != k.obj || c.len != k.off || c.kind != le.Uint64(b[offGroupFlags:]) {
			return false, fs.itemError(t, k, "%d bytes, and no chunk is like it", len(b))
		}
		groups = append(groups, &group{span: span{k.obj, k.off}, kind: c.kind, used: le.Uint64(b[offGroupUsed:])})
		total += le.Uint64(b[offGroupUsed:])
		return true, nil
	})
	if err != nil {
		return err
	}
	if len(groups) != len(fs.chunks) {
		s.found("block-groups", image.Error, adviceCheck, "%d block groups for %d chunks", len(groups), len(fs.chunks))
	}
	if got := fs.sb.u64(offBytesUsed); got != total {
		s.found("bytes-used", image.Error, adviceCheck, "the superblock says %d bytes in use, the block groups %d", got, total)
	}
	if s.partial {
		return nil
	}
	s.fillGroups(groups)
	return s.freeSpaceTree(groups)
}

// fillGroups gives each group the space that no extent has.
func (s *structure) fillGroups(groups []*group) {
	i := 0
	for _, g := range groups {
		at, sum := g.start, uint64(0)
		for ; i < len(s.extents) && s.extents[i].addr < g.end(); i++ {
			u := &s.extents[i]
			if u.addr < g.start || u.addr+u.len > g.end() {
				s.found("extent-outside", image.Error, adviceCheck, "%s at block %d is in no block group, or in two", kindOf(u.level), s.fs.pblk(u.addr))
				continue
			}
			if kind := uint64(groupData); u.level >= 0 && g.kind&(groupMetadata|groupSystem) == 0 || u.level < 0 && g.kind&kind == 0 {
				s.found("extent-misplaced", image.Error, adviceCheck, "%s at block %d is in a block group of type %#x", kindOf(u.level), s.fs.pblk(u.addr), g.kind)
			}
			if u.addr > at {
				g.free = append(g.free, span{at, u.addr - at})
			}
			at = u.addr + u.len
			sum += u.len
		}
		if at < g.end() {
			g.free = append(g.free, span{at, g.end() - at})
		}
		if sum != g.used {
			s.found("group-used", image.Error, adviceCheck, "block group at block %d: says %d bytes in use, its extents have %d", s.fs.pblk(g.start), g.used, sum)
		}
	}
	for ; i < len(s.extents); i++ {
		s.found("extent-outside", image.Error, adviceCheck, "%s at block %d is in no block group", kindOf(s.extents[i].level), s.fs.pblk(s.extents[i].addr))
	}
}

// freeSpaceTree compares the free space tree with what groups have free. What it
// has of groups that are no more is mkfs's.
func (s *structure) freeSpaceTree(groups []*group) error {
	fs := s.fs
	if !fs.sb.hasRO(roFreeSpace) {
		return nil
	}
	if !fs.sb.hasRO(roFreeSpaceValid) {
		s.found("free-space-invalid", image.Warning, "mount the image once", "the free space tree is marked as not valid")
		return nil
	}
	t, err := fs.treeOf(treeFreeSpace)
	if err != nil {
		return err
	}
	for _, g := range groups {
		runs, count, err := s.freeRuns(t, g)
		if err != nil {
			return err
		}
		for i := range max(len(runs), len(g.free)) {
			if i < len(runs) && i < len(g.free) && runs[i] == g.free[i] {
				continue
			}
			at := g.end()
			for _, list := range [][]span{runs, g.free} {
				if i < len(list) {
					at = min(at, list[i].start)
				}
			}
			s.found("free-space", image.Error, adviceCheck, "block group at block %d: from block %d on the free space tree differs from the extents: %d runs for %d",
				fs.pblk(g.start), fs.pblk(at), len(runs), len(g.free))
			break
		}
		if count != len(runs) {
			s.found("free-space-count", image.Error, adviceCheck, "block group at block %d: the free space tree counts %d runs, has %d", fs.pblk(g.start), count, len(runs))
		}
	}
	return nil
}

// freeRuns reads what the free space tree has of a group, and how many runs it
// counts there. Runs of bitmaps that touch are one.
func (s *structure) freeRuns(t *tree, g *group) (runs []span, count int, err error) {
	ss := uint64(s.fs.ss)
	form := uint32(0)
	err = s.fs.each(t, key{g.start, keyFreeInfo, 0}, func(k key, b []byte) (bool, error) {
		if k.obj >= g.end() {
			return false, nil
		}
		bad := func(format string, a ...any) (bool, error) { return false, s.fs.itemError(t, k, format, a...) }
		switch k.kind {
		case keyFreeInfo:
			if k.obj != g.start || k.off != g.len || len(b) != freeInfoSize {
				return bad("%d bytes, the block group has %d from %d on", len(b), g.len, g.start)
			}
			count, form = int(le.Uint32(b[offFreeCount:])), le.Uint32(b[offFreeFlags:])&freeBitmaps
		case keyFreeExtent:
			if n := len(runs); form != 0 || len(b) != 0 || k.off == 0 || k.off%ss != 0 || n > 0 && runs[n-1].end() >= k.obj || k.obj+k.off > g.end() {
				return bad("not apart from the run before, or beyond the block group")
			}
			runs = append(runs, span{k.obj, k.off})
		case keyFreeBitmap:
			if form == 0 || k.off%ss != 0 || k.obj+k.off > g.end() || uint64(len(b)) != (k.off/ss+7)/8 {
				return bad("a bitmap of %d bytes", len(b))
			}
			runs = appendBits(runs, k.obj, k.off/ss, ss, b)
		default:
			return bad("unknown type")
		}
		return true, nil
	})
	return runs, count, err
}

// appendBits adds the runs of a bitmap.
func appendBits(runs []span, start, n, ss uint64, b []byte) []span {
	for i := range n {
		if b[i/8]>>(i%8)&1 == 0 {
			continue
		}
		at := start + i*ss
		if last := len(runs) - 1; last >= 0 && runs[last].end() == at {
			runs[last].len += ss
		} else {
			runs = append(runs, span{at, ss})
		}
	}
	return runs
}

// checkDevice compares the extents of the device with the stripes of chunks.
func (s *structure) checkDevice() error {
	fs := s.fs
	t, err := fs.treeOf(treeDev)
	if err != nil {
		return err
	}
	type stripe struct{ at, chunk, len uint64 }
	var have, want []stripe
	sum := uint64(0)
	id := le.Uint64(fs.sb.devItem()[offDevID:])
	err = fs.eachOf(t, id, keyDevExtent, func(off uint64, b []byte) error {
		k := key{id, keyDevExtent, off}
		if len(b) != devExtentSize {
			return fs.itemError(t, k, "%d bytes", len(b))
		}
		x := stripe{off, le.Uint64(b[offDevExtChunk:]), le.Uint64(b[offDevExtLen:])}
		if n := len(have); n > 0 && have[n-1].at+have[n-1].len > off {
			return fs.itemError(t, k, "overlaps the extent before")
		}
		have, sum = append(have, x), sum+x.len
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range fs.chunks {
		for _, at := range c.stripes {
			want = append(want, stripe{at, c.start, c.len / uint64(c.dataStripes(len(c.stripes)))})
		}
	}
	slices.SortFunc(want, func(a, b stripe) int { return cmp.Compare(a.at, b.at) })
	if !slices.Equal(have, want) {
		s.found("device-extents", image.Error, adviceCheck, "the device has %d extents of chunks, which are not those of the %d chunks", len(have), len(fs.chunks))
	}
	dev, err := fs.item(fs.trees[treeChunk], key{1, keyDev, id})
	if err != nil {
		return err
	}
	for _, item := range [][]byte{fs.sb.devItem(), dev} {
		if len(item) != devItemSize {
			s.found("device-item", image.Error, adviceCheck, "the chunk tree has no item of device %d", id)
		} else if got := le.Uint64(item[offDevUsed:]); got != sum {
			s.found("device-item", image.Error, adviceCheck, "the device says %d bytes in use, its extents have %d", got, sum)
		}
	}
	return nil
}

// Fields of struct btrfs_dev_extent.
const (
	offDevExtChunk = 16 // le64 logical
	offDevExtLen   = 24 // le64
)
