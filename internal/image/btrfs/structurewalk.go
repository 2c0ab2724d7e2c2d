package btrfs

import (
	"hash/maphash"

	"fsenc/internal/image"
)

// walkTrees visits each block of each tree once and notes what it refers to.
func (s *structure) walkTrees() error {
	root := s.fs.trees[treeRoot]
	for _, t := range []*tree{root, s.fs.trees[treeChunk]} {
		s.tree(t)
	}
	err := s.fs.each(root, key{}, func(k key, b []byte) (bool, error) {
		if k.kind != keyRoot {
			return true, nil
		}
		t, err := s.fs.parseRoot(k, b)
		if err != nil {
			return false, err
		}
		if gen := s.fs.sb.u64(offGeneration); t.gen > gen {
			s.damaged(s.fs.itemError(root, k, "of generation %d, the filesystem is of %d", t.gen, gen))
		}
		s.tree(t)
		return true, nil
	})
	s.partial = s.partial || err != nil
	return err
}

func (s *structure) tree(t *tree) {
	s.refer(t.addr, uint64(s.fs.ns), t.level, ref{kind: keyTreeRef, root: t.id})
	s.visit(t, t.addr, expect{tree: t.id, level: t.level, gen: t.gen})
}

// visit notes the references of a block that was not met before. What cannot be
// read is reported, and left out.
func (s *structure) visit(t *tree, addr uint64, e expect) {
	u := s.use(addr)
	if u.marks&useVisited != 0 {
		return
	}
	u.marks |= useVisited
	shared := u.marks&useFull != 0
	b, err := s.fs.readBlock(addr, e)
	if err != nil {
		s.partial = true
		s.damaged(err)
		return
	}
	for i := range b.items() {
		if b.level() == 0 {
			if err := s.leafItem(t, b, i, shared); err != nil {
				s.partial = true
				s.damaged(err)
			}
			continue
		}
		child, gen := b.child(i)
		r := ref{kind: keyTreeRef, root: b.owner()}
		if shared {
			r = ref{kind: keySharedBlock, parent: addr}
		}
		s.refer(child, uint64(s.fs.ns), e.level-1, r)
		first := b.key(i)
		s.visit(t, child, expect{tree: t.id, level: e.level - 1, gen: gen, first: &first})
	}
}

// leafItem notes what an item of a leaf refers to.
func (s *structure) leafItem(t *tree, b *block, i int, shared bool) error {
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
	u := s.refer(e.disk, e.diskLen, -1, r)
	if s.detail != nil {
		return nil
	}
	if err := s.needSums(t, k.obj, &e); err != nil {
		return err
	}
	return s.sameContext(t, k.obj, &e, u)
}

// sameContext checks that all files which refer to the contents of an extent have
// one context of it: there is one key to them.
func (s *structure) sameContext(t *tree, obj uint64, e *fileExtent, u *extentUse) error {
	if e.kind == extPrealloc {
		return nil // without contents; who writes first copies what is shared
	}
	bad := func(format string, a ...any) {
		if u.marks&useReported == 0 {
			u.marks |= useReported
			s.found("extent-contexts-differ", image.Error, "find out with the keys which one decrypts", format, a...)
		}
	}
	if e.enc == 1 {
		u.marks |= useEncrypted
	} else {
		u.marks |= usePlain
	}
	if u.marks&useEncrypted != 0 && u.marks&usePlain != 0 {
		bad("the extent at block %d is encrypted for one file and plain for another, inode %d", s.fs.pblk(e.disk), inoOf(t.id, obj))
		return nil
	}
	context := e.context
	if e.enc == 1 && !e.appended {
		c, err := s.fs.item(t, key{obj, keyContext, e.off})
		if err != nil {
			return err
		}
		context = string(c)
	}
	if context == "" {
		return nil // reported with the file
	}
	h := max(maphash.String(refSeed, context), 1)
	if u.context != 0 && u.context != h {
		bad("files have different contexts for the extent at block %d, one of them inode %d", s.fs.pblk(e.disk), inoOf(t.id, obj))
	}
	u.context = h
	return nil
}

// needSums notes whether data of a file must have checksums.
func (s *structure) needSums(t *tree, obj uint64, e *fileExtent) error {
	if in := (key{t.id, 0, obj}); s.inode != in {
		b, err := s.fs.item(t, key{obj, keyInode, 0})
		if err != nil {
			return err
		}
		s.inode, s.noSums = in, len(b) == inodeSize && rawInode(b).flag(inoNoSum)
	}
	x := span{e.disk + e.skip, e.len}
	if e.compr != 0 {
		x = span{e.disk, e.diskLen}
	}
	list := &s.summed
	if s.noSums || e.kind == extPrealloc {
		list = &s.unsummed
	}
	if n := len(*list); n > 0 && (*list)[n-1].end() == x.start {
		(*list)[n-1].len += x.len
	} else {
		*list = append(*list, x)
	}
	return nil
}
