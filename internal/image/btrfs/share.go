package btrfs

import (
	"fmt"

	"fsenc/internal/image"
)

// Referers calls f for each pair of an extent that want asks for and a file that
// refers to it. It remembers the blocks that have nothing of that kind, so that
// those which trees share are read once.
func (fs *FS) Referers(known func(first, last image.Ino) bool, want func(start image.Pblk) bool, f func(start image.Pblk, by image.Ino) error) error {
	ids, err := fs.subvolumes()
	if err != nil {
		return err
	}
	w := refererWalk{fs: fs, known: known, want: want, f: f, barren: make(map[uint64]bool)}
	for _, id := range ids {
		if w.t, err = fs.treeOf(id); err != nil {
			return err
		}
		w.obj = 0
		if _, err := w.visit(w.t.addr, expect{tree: id, level: w.t.level, gen: w.t.gen}, lastKey); err != nil {
			return err
		}
	}
	return nil
}

type refererWalk struct {
	fs     *FS
	t      *tree
	known  func(first, last image.Ino) bool
	want   func(image.Pblk) bool
	f      func(image.Pblk, image.Ino) error
	barren map[uint64]bool // blocks that have none below them
	obj    uint64          // the file under way, and its extents so far
	seen   map[uint64]bool
}

// visit reports what is in a block and below it, of which all keys come before end,
// and whether there was or may have been anything.
func (w *refererWalk) visit(addr uint64, e expect, end key) (found bool, err error) {
	if w.barren[addr] {
		return false, nil
	}
	b, err := w.fs.readBlock(addr, e)
	if err != nil {
		return false, err
	}
	for i := range b.items() {
		some := false
		if b.level() == 0 {
			some, err = w.item(b.key(i), b.data(i))
		} else {
			some, err = w.child(b, i, e, end)
		}
		if err != nil {
			return false, err
		}
		found = found || some
	}
	if !found {
		w.barren[addr] = true
	}
	return found, nil
}

// child visits what a pointer leads to.
func (w *refererWalk) child(b *block, i int, e expect, end key) (found bool, err error) {
	first, last := b.key(i), b.end(i, end)
	if w.known != nil && first.obj >= firstFree && last.obj <= maxObject && w.known(inoOf(e.tree, first.obj), inoOf(e.tree, last.obj)) {
		return true, nil
	}
	addr, below := b.below(i, e.tree)
	return w.visit(addr, below, last)
}

func (w *refererWalk) item(k key, data []byte) (found bool, err error) {
	if k.kind != keyExtentData {
		return false, nil
	}
	x, err := w.fs.parseExtent(w.t, k, data)
	if err != nil || x.kind == extInline || x.disk == 0 || !w.want(w.fs.pblk(x.disk)) {
		return false, err
	}
	if k.obj != w.obj {
		w.obj, w.seen = k.obj, make(map[uint64]bool)
	}
	if w.seen[x.disk] {
		return true, nil
	}
	w.seen[x.disk] = true
	return true, w.f(w.fs.pblk(x.disk), inoOf(w.t.id, k.obj))
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

// copyPiece is how much of an extent is copied at a time, in bytes.
const copyPiece = 1 << 20

// copyExtent copies data to new space, with checksums where they have some.
func (fs *FS) copyExtent(from, n uint64) (uint64, error) {
	to, err := fs.allocData(n)
	if err != nil {
		return 0, err
	}
	for done := uint64(0); done < n; done += copyPiece {
		p := make([]byte, min(n-done, copyPiece)) // which the store keeps
		if err := fs.ReadBlocks(p, fs.pblk(from+done)); err != nil {
			return 0, err
		}
		if err := fs.writePlaces(p, to+done); err != nil {
			return 0, err
		}
		var runs []span
		err := fs.dataSums(from+done, uint64(len(p)), func(_ key, _ int, at uint64, sums []byte) error {
			runs = append(runs, span{at - from - done, uint64(len(sums)/fs.sum.size) * uint64(fs.ss)})
			return nil
		})
		for _, r := range runs {
			if err == nil {
				err = fs.addSums(to+done+r.start, p[r.start:r.end()])
			}
		}
		if err != nil {
			return 0, err
		}
	}
	return to, nil
}
