package btrfs

import (
	"fmt"
	"maps"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// CheckVolume implements image.Checker: the superblocks, and whether the extent
// tree has just the references that the trees give, both ways. It holds about a
// hundred bytes for each extent.
func (fs *FS) CheckVolume(report func(image.Finding)) {
	found := func(id string, s image.Severity, advice, format string, a ...any) {
		report(image.Finding{ID: id, Severity: s, Text: fmt.Sprintf(format, a...), Advice: advice})
	}
	if fs.sb.has(incompatUnfinished) {
		found("unfinished", image.Error, "run fsenc resume or fsenc undo", "a conversion of this image was interrupted")
	}
	if fs.sb.u64(offLogRoot) != 0 {
		found("log-tree", image.Error, "mount the image once", "files that were synced last wait in the log tree")
		return // its blocks are not in the extent tree
	}
	fs.checkSupers(found)
	s := structure{fs: fs, found: found, have: make(map[uint64]*extentRefs), want: make(map[uint64]*extentRefs)}
	for _, step := range []func() error{s.readExtents, s.walkTrees, s.compare, s.freeSpace} {
		if err := step(); err != nil {
			found("structure-damaged", image.Error, adviceCheck, "%v", err)
			return
		}
	}
}

// checkSupers compares the copies of the superblock with the first.
func (fs *FS) checkSupers(found finder) {
	for i, at := range superAddrs {
		if at+superSize > int64(min(le.Uint64(fs.sb.devItem()[offDevTotal:]), uint64(fs.s.Size()))) {
			return
		}
		c := &super{raw: make([]byte, superSize)}
		err := store.ReadFull(fs.s, c.raw, at)
		if err == nil && string(c.raw[offMagic:][:8]) != superMagic {
			err = superError("no magic")
		}
		if err == nil {
			err = c.verify(at)
		}
		switch {
		case err != nil:
			found("superblock-damaged", image.Warning, "btrfs rescue super-recover restores it", "copy %d: %v", i, err)
		case c.u64(offGeneration) != fs.sb.u64(offGeneration) || c.u64(offIncompat) != fs.sb.u64(offIncompat):
			found("superblocks-differ", image.Error, adviceCheck, "copy %d is of generation %d with features %#x, the first of %d with %#x",
				i, c.u64(offGeneration), c.u64(offIncompat), fs.sb.u64(offGeneration), fs.sb.u64(offIncompat))
		}
	}
}

// extentRefs are the references of an extent.
type extentRefs struct {
	len  uint64
	full bool
	refs map[ref]int
}

type structure struct {
	fs    *FS
	found finder
	have  map[uint64]*extentRefs // what the extent tree says
	want  map[uint64]*extentRefs // what the trees have
}

// readExtents reads the extent tree.
func (s *structure) readExtents() error {
	t, err := s.fs.treeOf(treeExtent)
	if err != nil {
		return err
	}
	var last *extentRefs
	var at uint64
	return s.fs.each(t, key{}, func(k key, b []byte) (bool, error) {
		switch k.kind {
		case keyExtent, keyMetadata:
			id := extentID{k.obj, uint64(s.fs.ns), 0}
			if k.kind == keyExtent {
				if id.len = k.off; len(b) >= extentItemLen && le.Uint64(b[offRefFlags:])&extentData != 0 {
					id.level = -1
				}
			}
			rec := &extentRec{k: k, inline: make(map[ref]int)}
			if err := s.fs.parseRefs(t, rec, id, b); err != nil {
				return false, err
			}
			last, at = &extentRefs{len: id.len, full: rec.flags&extentFull != 0, refs: rec.inline}, k.obj
			last.refs[ref{}] = int(rec.refs) // the sum, compared in the end
			s.have[k.obj] = last
		case keyTreeRef, keyDataRef, keySharedBlock, keySharedData:
			r, n, err := s.fs.parseKeyed(t, k, b)
			if err != nil {
				return false, err
			}
			if last == nil || at != k.obj {
				return false, s.fs.itemError(t, k, "a reference without its extent")
			}
			last.refs[r] += n
		}
		return true, nil
	})
}

// walkTrees visits each block once and notes what it refers to.
func (s *structure) walkTrees() error {
	root := s.fs.trees[treeRoot]
	for _, t := range []*tree{root, s.fs.trees[treeChunk]} {
		if err := s.tree(t); err != nil {
			return err
		}
	}
	return s.fs.each(root, key{}, func(k key, b []byte) (bool, error) {
		if k.kind != keyRoot {
			return true, nil
		}
		t, err := s.fs.parseRoot(k, b)
		if err != nil {
			return false, err
		}
		return true, s.tree(t)
	})
}

func (s *structure) tree(t *tree) error {
	s.refer(t.addr, uint64(s.fs.ns), ref{kind: keyTreeRef, root: t.id})
	return s.visit(t, t.addr, expect{tree: t.id, level: t.level, gen: t.gen})
}

func (s *structure) refer(addr, n uint64, r ref) {
	e := s.want[addr]
	if e == nil {
		e = &extentRefs{len: n, refs: make(map[ref]int, 1)}
		s.want[addr] = e
	}
	e.refs[r]++
}

// visit notes the references of a block that was not met before.
func (s *structure) visit(t *tree, addr uint64, e expect) error {
	b, err := s.fs.readBlock(addr, e)
	if err != nil {
		return err
	}
	shared := s.have[addr] != nil && s.have[addr].full
	for i := range b.items() {
		if b.level() == 0 {
			if err := s.data(t, b, i, shared); err != nil {
				return err
			}
			continue
		}
		child, gen := b.child(i)
		known := s.want[child] != nil
		r := ref{kind: keyTreeRef, root: b.owner()}
		if shared {
			r = ref{kind: keySharedBlock, parent: addr}
		}
		s.refer(child, uint64(s.fs.ns), r)
		if known {
			continue
		}
		first := b.key(i)
		if err := s.visit(t, child, expect{tree: t.id, level: b.level() - 1, gen: gen, first: &first}); err != nil {
			return err
		}
	}
	return nil
}

func (s *structure) data(t *tree, b *block, i int, shared bool) error {
	k := b.key(i)
	if k.kind != keyExtentData {
		return nil
	}
	e, err := s.fs.parseExtent(t, k, b.data(i))
	if err != nil || e.kind == extInline || e.disk == 0 {
		return err
	}
	r := dataRef(b.owner(), k.obj, &e)
	if shared {
		r = ref{kind: keySharedData, parent: b.addr}
	}
	s.refer(e.disk, e.diskLen, r)
	return nil
}

// compare reports what is in one and not in the other.
func (s *structure) compare() error {
	bad := func(addr uint64, format string, a ...any) {
		s.found("extent-references", image.Error, adviceCheck, "extent at block %d: %s", s.fs.pblk(addr), fmt.Sprintf(format, a...))
	}
	for addr, w := range s.want {
		h := s.have[addr]
		if h == nil {
			bad(addr, "in use, and not in the extent tree")
			continue
		}
		sum, total := h.refs[ref{}], 0
		delete(h.refs, ref{})
		for _, n := range h.refs {
			total += n
		}
		switch {
		case h.len != w.len:
			bad(addr, "%d bytes, used as one of %d", h.len, w.len)
		case sum != total:
			bad(addr, "counts %d references, has %d", sum, total)
		case !maps.Equal(h.refs, w.refs):
			bad(addr, "has the references %v, the trees %v", h.refs, w.refs)
		}
	}
	for addr := range s.have {
		if s.want[addr] == nil {
			bad(addr, "in the extent tree, and nothing refers to it")
		}
	}
	return nil
}

// freeSpace compares the free space tree with what no extent has, and the
// superblock's count with that of the groups.
func (s *structure) freeSpace() error {
	fs := s.fs
	if err := fs.loadSpace(); err != nil {
		return err
	}
	var used uint64
	for _, g := range fs.groups {
		used += g.used
	}
	if got := fs.sb.u64(offBytesUsed); got != used {
		s.found("bytes-used", image.Error, adviceCheck, "the superblock says %d bytes in use, the block groups %d", got, used)
	}
	if !fs.sb.hasRO(roFreeSpace) {
		return nil
	}
	t, err := fs.treeOf(treeFreeSpace)
	if err != nil {
		return err
	}
	for _, g := range fs.groups {
		runs, free, err := fs.enteredSpace(t, g)
		if err != nil {
			return err
		}
		info, err := fs.item(t, key{g.start, keyFreeInfo, g.len})
		if err != nil {
			return err
		}
		if len(info) != freeInfoSize || int(le.Uint32(info)) != runs || free != g.len-g.used {
			s.found("free-space", image.Error, adviceCheck, "group at block %d: the free space tree has %d bytes in %d runs, %d are free", fs.pblk(g.start), free, runs, g.len-g.used)
		}
	}
	return nil
}
