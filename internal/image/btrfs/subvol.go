package btrfs

import (
	"bytes"
	"fmt"
	"slices"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

const (
	subvolShift = 48
	maxSubvol   = 1<<16 - 1
	maxNumber   = 1<<subvolShift - 1
	maxObject   = objVacant - 1

	// objVacant and the number of a subvolume are the number of the directory
	// that a snapshot has where that subvolume was in what it was made of: a
	// snapshot does not go on into others. Kernels give all of them the number 2.
	objVacant = 1 << (subvolShift - 1)
)

// inoOf is the number of an inode of a subvolume.
func inoOf(tree, obj uint64) image.Ino {
	if tree == treeFS {
		tree = 0
	}
	return image.Ino(tree<<subvolShift | obj&maxNumber)
}

// split is the reverse of inoOf.
func split(ino image.Ino) (tree, obj uint64) {
	if tree = uint64(ino) >> subvolShift; tree == 0 {
		tree = treeFS
	}
	return tree, uint64(ino) & maxNumber
}

// isVacant reports whether an object is the place where a subvolume was.
func isVacant(obj uint64) bool { return obj > maxObject && obj <= objVacant|maxSubvol }

// vacant is an inode item as kernels make it up for such a place, with the owner
// and the times of the snapshot's root directory.
func (fs *FS) vacant(t *tree) (rawInode, error) {
	top, err := fs.inode(t, firstFree)
	if err != nil {
		return nil, err
	}
	r := rawInode(bytes.Clone(top))
	r.set64(offInoSize, 0)
	r.set64(offInoBytes, 0)
	r.set32(offInoLinks, 1)
	r.set32(offInoMode, 0o40755)
	r.set64(offInoFlags, 0)
	return r, nil
}

// leadsInto reports whether an entry of a directory leads into a subvolume, which
// then refers back to it.
func (fs *FS) leadsInto(t *tree, dir, subvolume uint64, name []byte) (bool, error) {
	k := key{t.id, keyRootRef, subvolume}
	b, err := fs.item(fs.trees[treeRoot], k)
	if err != nil || b == nil {
		return false, err
	}
	r, err := fs.parseRootRef(k, b)
	return r.dir == dir && bytes.Equal(r.name, name), err
}

// fileTree opens the subvolume of an inode.
func (fs *FS) fileTree(ino image.Ino) (*tree, uint64, error) {
	id, obj := split(ino)
	t, err := fs.treeOf(id)
	if err == nil && !t.isFile() {
		err = fmt.Errorf("inode %d: %w", ino, image.ErrNotExist)
	}
	return t, obj, err
}

// subvolumes lists the numbers of all file trees, ascending.
func (fs *FS) subvolumes() ([]uint64, error) {
	var ids []uint64
	err := fs.each(fs.trees[treeRoot], key{treeFS, 0, 0}, func(k key, _ []byte) (bool, error) {
		if k.kind == keyRoot && (k.obj == treeFS || k.obj >= firstFree && k.obj <= lastFree) {
			ids = append(ids, k.obj)
		}
		return k.obj <= lastFree, nil
	})
	return slices.Compact(ids), err
}

// Root returns the root directory of the default subvolume, which a mount shows.
func (fs *FS) Root() image.Ino { return inoOf(fs.def, firstFree) }

// LostFound tells that there is none.
func (fs *FS) LostFound() (image.Ino, error) { return 0, nil }

// Twins returns the inodes with the same number in the other subvolumes of the
// family that snapshots make: those that have one ancestor with this one.
func (fs *FS) Twins(ino image.Ino) ([]image.Ino, error) {
	id, obj := split(ino)
	family, err := fs.family(id)
	if err != nil {
		return nil, err
	}
	var out []image.Ino
	for _, other := range family {
		if other == id {
			continue
		}
		t, err := fs.treeOf(other)
		if err != nil {
			return nil, err
		}
		b, err := fs.item(t, key{obj, keyInode, 0})
		if err != nil {
			return nil, err
		}
		if b != nil {
			out = append(out, inoOf(other, obj))
		}
	}
	return out, nil
}

// family lists the subvolumes that snapshots relate to one, itself among them.
func (fs *FS) family(id uint64) ([]uint64, error) {
	ids, err := fs.subvolumes()
	if err != nil {
		return nil, err
	}
	uuid, parent := make(map[uint64][]byte), make(map[uint64][]byte)
	for _, other := range ids {
		t, err := fs.treeOf(other)
		if err != nil {
			return nil, err
		}
		b, err := fs.item(fs.trees[treeRoot], t.rootKey)
		if err != nil {
			return nil, err
		}
		if len(b) >= offRootParent+16 {
			uuid[other], parent[other] = b[offRootUUID:][:16], b[offRootParent:][:16]
		}
	}
	related := map[uint64]bool{id: true}
	for grown := true; grown; {
		grown = false
		for _, a := range ids {
			for _, b := range ids {
				if related[a] != related[b] && parent[a] != nil && bytes.Equal(parent[a], uuid[b]) && !store.IsZero(parent[a]) {
					related[a], related[b], grown = true, true, true
				}
			}
		}
	}
	var out []uint64
	for _, other := range ids {
		if related[other] {
			out = append(out, other)
		}
	}
	return out, nil
}

// ReadOnly reports whether the inode's subvolume is marked read-only.
func (fs *FS) ReadOnly(ino image.Ino) (bool, error) {
	t, _, err := fs.fileTree(ino)
	if err != nil {
		return false, err
	}
	return t.readonly, nil
}

// SameFile reports whether two inodes are one file in two related subvolumes.
func (fs *FS) SameFile(a, b image.Ino) (bool, error) {
	ta, oa := split(a)
	tb, ob := split(b)
	if oa != ob || ta == tb {
		return a == b, nil
	}
	fs.mu.Lock()
	kin := fs.kin
	fs.mu.Unlock()
	if kin == nil {
		kin = make(map[uint64]uint64)
		ids, err := fs.subvolumes()
		if err != nil {
			return false, err
		}
		for _, id := range ids {
			if kin[id] != 0 {
				continue
			}
			family, err := fs.family(id)
			if err != nil {
				return false, err
			}
			for _, other := range family {
				kin[other] = id
			}
		}
		fs.mu.Lock()
		fs.kin = kin
		fs.mu.Unlock()
	}
	return kin[ta] == kin[tb], nil
}
