package btrfs

import (
	"fmt"

	"fsenc/internal/image"
)

// holder is a file that refers to an extent, within a tree.
type holder struct{ obj, disk uint64 }

// Referers calls f for each pair of an extent that want asks for and a file that
// refers to it. Blocks that trees share are read once.
func (fs *FS) Referers(want func(start image.Pblk) bool, f func(start image.Pblk, by image.Ino) error) error {
	ids, err := fs.subvolumes()
	if err != nil {
		return err
	}
	w := refererWalk{fs: fs, want: want, memo: make(map[uint64][]holder)}
	for _, id := range ids {
		t, err := fs.treeOf(id)
		if err != nil {
			return err
		}
		w.t = t
		list, err := w.visit(t.addr, expect{tree: t.id, level: t.level, gen: t.gen})
		if err != nil {
			return err
		}
		seen := make(map[holder]bool)
		for _, h := range list {
			if seen[h] {
				continue
			}
			seen[h] = true
			if err := f(fs.pblk(h.disk), inoOf(id, h.obj)); err != nil {
				return err
			}
		}
	}
	return nil
}

type refererWalk struct {
	fs   *FS
	t    *tree
	want func(image.Pblk) bool
	memo map[uint64][]holder // by block, of those that have any
}

// visit lists the holders of wanted extents in a block and below it.
func (w *refererWalk) visit(addr uint64, e expect) ([]holder, error) {
	if list, ok := w.memo[addr]; ok {
		return list, nil
	}
	b, err := w.fs.readBlock(addr, e)
	if err != nil {
		return nil, err
	}
	var list []holder
	for i := range b.items() {
		if b.level() > 0 {
			child, gen := b.child(i)
			first := b.key(i)
			below, err := w.visit(child, expect{tree: e.tree, level: b.level() - 1, gen: gen, first: &first})
			if err != nil {
				return nil, err
			}
			list = append(list, below...)
			continue
		}
		k := b.key(i)
		if k.kind != keyExtentData {
			continue
		}
		x, err := w.fs.parseExtent(w.t, k, b.data(i))
		if err != nil {
			return nil, err
		}
		if x.kind != extInline && x.disk != 0 && w.want(w.fs.pblk(x.disk)) {
			list = append(list, holder{k.obj, x.disk})
		}
	}
	w.memo[addr] = list
	return list, nil
}

// Unshare implements image.Sharing.
func (fs *FS) Unshare(start image.Pblk, files []image.Ino) (image.Pblk, error) {
	disk := uint64(start) * uint64(fs.ss)
	id := extentID{addr: disk, level: -1}
	type use struct {
		t   *tree
		obj uint64
		e   fileExtent
	}
	var uses []use
	for _, ino := range files {
		t, obj, err := fs.fileTree(ino)
		if err != nil {
			return 0, err
		}
		list, err := fs.fileExtents(t, obj)
		if err != nil {
			return 0, err
		}
		for _, e := range list {
			if e.kind == extInline || e.disk != disk {
				continue
			}
			e.raw = nil
			id.len = e.diskLen
			uses = append(uses, use{t, obj, e})
		}
	}
	if len(uses) == 0 {
		return 0, fmt.Errorf("block %d: %w: no file refers to it", start, image.ErrNotExist)
	}
	at, err := fs.copyExtent(disk, id.len)
	if err != nil {
		return 0, err
	}
	for _, u := range uses {
		// The leaf is copied first: from then on its references are the tree's.
		err := fs.modify(u.t, key{u.obj, keyExtentData, u.e.off}, func(b []byte) {
			le.PutUint64(b[offExtDisk:], at)
			le.PutUint64(b[offExtGen:], fs.gen)
		})
		if err != nil {
			return 0, err
		}
		r := dataRef(u.t.id, u.obj, &u.e)
		fs.addRef(extentID{at, id.len, -1}, r, 1)
		fs.addRef(id, r, -1)
	}
	return fs.pblk(at), nil
}

// copyExtent copies data to new space, with checksums where they have some.
func (fs *FS) copyExtent(from, n uint64) (uint64, error) {
	to, err := fs.alloc(groupData, n)
	if err != nil {
		return 0, err
	}
	p := make([]byte, n)
	if err := fs.ReadBlocks(p, fs.pblk(from)); err != nil {
		return 0, err
	}
	if err := fs.writeLogical(p, to); err != nil {
		return 0, err
	}
	type run struct{ at, n uint64 }
	var runs []run
	err = fs.dataSums(from, n, func(at uint64, sums []byte) error {
		runs = append(runs, run{at - from, uint64(len(sums)/fs.sum.size) * uint64(fs.ss)})
		return nil
	})
	for _, r := range runs {
		if err == nil {
			err = fs.addSums(to+r.at, p[r.at:][:r.n])
		}
	}
	return to, err
}
