package btrfs

import (
	"bytes"
	"fmt"
	"slices"

	"fsenc/internal/image"
)

const (
	subvolShift = 48
	maxSubvol   = 1<<16 - 1
	maxObject   = 1<<subvolShift - 1
)

// inoOf is the number of an inode of a subvolume.
func inoOf(tree, obj uint64) image.Ino {
	if tree == treeFS {
		tree = 0
	}
	return image.Ino(tree<<subvolShift | obj&maxObject)
}

// split is the reverse of inoOf.
func split(ino image.Ino) (tree, obj uint64) {
	if tree = uint64(ino) >> subvolShift; tree == 0 {
		tree = treeFS
	}
	return tree, uint64(ino) & maxObject
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
				if related[a] != related[b] && parent[a] != nil && bytes.Equal(parent[a], uuid[b]) && !allZero(parent[a]) {
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

func allZero(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if le.Uint64(b) != 0 {
			return false
		}
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// ReadOnly reports whether the inode's subvolume is marked read-only.
func (fs *FS) ReadOnly(ino image.Ino) (bool, error) {
	t, _, err := fs.fileTree(ino)
	if err != nil {
		return false, err
	}
	return t.readonly, nil
}
