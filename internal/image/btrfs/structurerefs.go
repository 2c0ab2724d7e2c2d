package btrfs

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sort"

	"fsenc/internal/image"
)

// extentUse is what is known of an extent: what the extent tree says, and what
// the trees have. References are summed up by hashes, so that the sums are equal
// where the references are, in any order.
type extentUse struct {
	addr, len uint64
	refs      uint64 // by its count
	hash      uint64 // of all references in the extent tree, less those of the trees
	has, used int64  // references in the extent tree, and of the trees
	context   uint64 // hash of the context that files have of it
	level     int8   // of a tree block, -1 of data
	marks     uint8
}

const (
	useFull      = 1 << iota // FULL_BACKREF
	useVisited               // a tree block that was read
	useEncrypted             // data that a file has as encrypted
	usePlain                 // data that a file has as plain
	useReported
)

var refSeed = maphash.MakeSeed()

// refDiff has the references of an extent one by one.
type refDiff struct{ have, want map[ref]int }

// maxDetail bounds the extents whose references are told one by one.
const maxDetail = 16

// readExtents reads the extent tree.
func (s *structure) readExtents() error {
	t, err := s.fs.treeOf(treeExtent)
	if err != nil {
		return err
	}
	err = s.fs.each(t, key{}, func(k key, b []byte) (bool, error) {
		switch k.kind {
		case keyExtent, keyMetadata:
			return true, s.extentItem(t, k, b)
		case keyTreeRef, keyDataRef, keySharedBlock, keySharedData:
			r, n, err := s.fs.parseKeyed(t, k, b)
			if err != nil {
				return false, err
			}
			if len(s.extents) == 0 || s.extents[len(s.extents)-1].addr != k.obj {
				return false, s.fs.itemError(t, k, "a reference without its extent")
			}
			s.note(&s.extents[len(s.extents)-1], r, n)
		}
		return true, nil
	})
	s.partial = err != nil
	return err
}

// extentItem reads an extent with the references inside its item.
func (s *structure) extentItem(t *tree, k key, b []byte) error {
	fs := s.fs
	id := extentID{k.obj, uint64(fs.ns), int(min(k.off, maxLevel))}
	if k.kind == keyExtent {
		id.len, id.level = k.off, 0
		switch {
		case len(b) >= extentItemLen && le.Uint64(b[offRefFlags:])&extentData != 0:
			id.level = -1
		case len(b) >= extentItemLen+treeInfoLen:
			id.level = int(min(b[extentItemLen+keySize], maxLevel))
		}
	}
	rec := &extentRec{k: k, inline: make(map[ref]int)}
	if err := fs.parseRefs(t, rec, id, b); err != nil {
		return err
	}
	switch n := len(s.extents); {
	case n > 0 && s.extents[n-1].addr+s.extents[n-1].len > k.obj:
		return fs.itemError(t, k, "overlaps the extent before, which ends at %d", s.extents[n-1].addr+s.extents[n-1].len)
	case id.len == 0 || (id.len|id.addr)%uint64(fs.ss) != 0 || id.addr+id.len < id.addr || id.level >= 0 && id.len != uint64(fs.ns):
		return fs.itemError(t, k, "an extent of %d bytes", id.len)
	case rec.gen > fs.sb.u64(offGeneration):
		return fs.itemError(t, k, "of generation %d, the filesystem is of %d", rec.gen, fs.sb.u64(offGeneration))
	}
	u := extentUse{addr: id.addr, len: id.len, refs: rec.refs, level: int8(id.level)}
	if rec.flags&extentFull != 0 {
		u.marks |= useFull
	}
	for r, n := range rec.inline {
		s.note(&u, r, n)
	}
	s.extents = append(s.extents, u)
	return nil
}

// note adds references in the extent tree.
func (s *structure) note(u *extentUse, r ref, n int) {
	u.hash += maphash.Comparable(refSeed, r) * uint64(n)
	u.has += int64(n)
	if d := s.detail[u.addr]; d != nil {
		d.have[r] += n
	}
}

// refer adds a reference that a tree has.
func (s *structure) refer(addr, n uint64, level int, r ref) *extentUse {
	u := s.use(addr)
	if u == nil {
		u = &extentUse{addr: addr, len: n, level: int8(level)}
		s.lost[addr] = u
	}
	u.hash -= maphash.Comparable(refSeed, r)
	u.used++
	if d := s.detail[addr]; d != nil {
		d.want[r]++
	}
	if (u.len != n || int(u.level) != level) && u.marks&useReported == 0 {
		u.marks |= useReported
		s.found("extent-references", image.Error, adviceCheck, "extent at block %d: %d bytes, %s; used as %d bytes, %s",
			s.fs.pblk(addr), u.len, kindOf(u.level), n, kindOf(int8(level)))
	}
	return u
}

func kindOf(level int8) string {
	if level < 0 {
		return "data"
	}
	return fmt.Sprintf("a tree block of level %d", level)
}

// use is the extent that begins at an address, nil if there is none.
func (s *structure) use(addr uint64) *extentUse {
	i, ok := slices.BinarySearchFunc(s.extents, addr, func(u extentUse, addr uint64) int { return cmp.Compare(u.addr, addr) })
	if ok {
		return &s.extents[i]
	}
	return s.lost[addr]
}

// compareExtents reports where the extent tree has other references than the
// trees. What is told one by one takes a second turn.
func (s *structure) compareExtents() error {
	if s.partial {
		return nil
	}
	wrong := make(map[uint64]*refDiff)
	for i := range s.extents {
		u := &s.extents[i]
		if u.marks&useReported == 0 && (u.hash != 0 || u.has != u.used || uint64(u.has) != u.refs) && len(wrong) < maxDetail {
			wrong[u.addr] = &refDiff{make(map[ref]int), make(map[ref]int)}
		}
	}
	for _, addr := range sortedKeys(s.lost)[:min(len(s.lost), maxDetail)] {
		s.found("extent-references", image.Error, adviceCheck, "%s at block %d: in use, and not in the extent tree", kindOf(s.lost[addr].level), s.fs.pblk(addr))
	}
	if len(wrong) == 0 {
		return nil
	}
	again := newStructure(s.fs, func(string, image.Severity, string, string, ...any) {})
	again.detail = wrong
	if err := again.readExtents(); err != nil {
		return err
	}
	if err := again.walkTrees(); err != nil {
		return err
	}
	for _, addr := range slices.Sorted(maps.Keys(wrong)) {
		s.tellRefs(s.use(addr), wrong[addr])
	}
	return nil
}

func (s *structure) tellRefs(u *extentUse, d *refDiff) {
	bad := func(format string, a ...any) {
		s.found("extent-references", image.Error, adviceCheck, "%s at block %d: %s", kindOf(u.level), s.fs.pblk(u.addr), fmt.Sprintf(format, a...))
	}
	switch {
	case uint64(u.has) != u.refs:
		bad("counts %d references, has %d", u.refs, u.has)
	case u.used == 0:
		bad("in the extent tree, and nothing refers to it")
	}
	for _, r := range sortedRefs(d) {
		if have, want := d.have[r], d.want[r]; have != want && u.used > 0 {
			bad("the extent tree has the reference %v %d times, the trees %d times", r, have, want)
		}
	}
}

func sortedRefs(d *refDiff) []ref {
	all := maps.Clone(d.have)
	maps.Copy(all, d.want)
	out := slices.SortedFunc(maps.Keys(all), ref.order)
	return out[:min(len(out), maxDetail)]
}

func (r ref) String() string {
	switch r.kind {
	case keyTreeRef:
		return fmt.Sprintf("of tree %d", int64(r.root))
	case keyDataRef:
		return fmt.Sprintf("of tree %d, inode %d, offset %d", int64(r.root), r.obj, int64(r.off))
	}
	return fmt.Sprintf("of the block at address %d", r.parent)
}

// mergeSpans sorts spans and joins those that touch or overlap.
func mergeSpans(list []span) []span {
	sort.Slice(list, func(i, j int) bool { return list[i].start < list[j].start })
	out := list[:0]
	for _, x := range list {
		if n := len(out); n > 0 && out[n-1].end() >= x.start {
			out[n-1].len = max(out[n-1].end(), x.end()) - out[n-1].start
			continue
		}
		out = append(out, x)
	}
	return out
}
