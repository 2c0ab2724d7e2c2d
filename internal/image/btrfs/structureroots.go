package btrfs

import (
	"bytes"
	"fmt"

	"fsenc/internal/image"
)

// rootRef is a ROOT_REF or ROOT_BACKREF: the name that a subvolume has in
// another.
type rootRef struct {
	dir, index uint64
	name       []byte
}

// parseRootRef reads one.
func (fs *FS) parseRootRef(k key, b []byte) (rootRef, error) {
	if len(b) <= rootRefHeader || len(b) != rootRefHeader+int(le.Uint16(b[offRRNameLen:])) {
		return rootRef{}, fs.itemError(fs.trees[treeRoot], k, "%d bytes", len(b))
	}
	return rootRef{le.Uint64(b[offRRDirid:]), le.Uint64(b[offRRSequence:]), b[rootRefHeader:]}, nil
}

// checkSubvolumes checks that each subvolume has its name in just the directory
// that it refers back to. That entries of directories have a subvolume behind
// them is checked with the directories.
func (s *structure) checkSubvolumes() error {
	fs := s.fs
	root := fs.trees[treeRoot]
	named := make(map[uint64]int)
	refs := make(map[uint64]uint32)
	err := fs.each(root, key{treeFS, 0, 0}, func(k key, b []byte) (bool, error) {
		switch {
		case k.obj > lastFree:
			return false, nil
		case k.kind == keyRoot && len(b) >= rootItemMin:
			refs[k.obj] = le.Uint32(b[offRootRefs:])
		case k.kind == keyRootRef:
			named[k.off]++
			return true, s.rootRef(k, key{k.off, keyRootBackref, k.obj}, b)
		case k.kind == keyRootBackref:
			return true, s.rootRef(k, key{k.off, keyRootRef, k.obj}, b)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, id := range sortedKeys(refs) {
		switch {
		case id < firstFree: // 5 and others of the filesystem have no names
		case refs[id] == 0:
			s.found("subvolume-dropped", image.Warning, "mount the image once, and wait with btrfs subvolume sync",
				"the deletion of subvolume %d is under way: what it held is still there", id)
		case named[id] != 1:
			s.found("subvolume-reference", image.Error, adviceCheck, "subvolume %d has %d names", id, named[id])
		}
	}
	return nil
}

// rootRef compares a reference with the one that goes the other way, and with
// the directory.
func (s *structure) rootRef(k, other key, b []byte) error {
	fs := s.fs
	bad := func(format string, a ...any) {
		s.found("subvolume-reference", image.Error, adviceCheck, "item %v of tree %d: %s", k, treeRoot, fmt.Sprintf(format, a...))
	}
	r, err := fs.parseRootRef(k, b)
	if err != nil {
		return err
	}
	back, err := fs.item(fs.trees[treeRoot], other)
	if err != nil {
		return err
	}
	if !bytes.Equal(back, b) {
		bad("the reference %v that goes the other way has %x, this one %x", other, back, b)
	}
	if k.kind == keyRootBackref {
		return nil // the other one was looked up
	}
	t, err := fs.treeOf(k.obj)
	if isNotExist(err) {
		bad("there is no such tree")
		return nil
	}
	if err != nil {
		return err
	}
	found := false
	for _, where := range []key{{r.dir, keyDirIndex, r.index}, {r.dir, keyDirItem, uint64(nameHash(r.name))}} {
		item, err := fs.item(t, where)
		if err != nil {
			return err
		}
		found = false
		err = fs.dirEntries(t, where, item, func(e *dirEntry) error {
			found = found || bytes.Equal(e.name, r.name) && e.location.kind == keyRoot && e.location.obj == k.off
			return nil
		})
		if err != nil {
			return err
		}
		if !found {
			bad("no entry %v of tree %d has the name %x", where, t.id, r.name)
		}
	}
	return nil
}
