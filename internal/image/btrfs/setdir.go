package btrfs

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"fsenc/internal/image"
)

// Fields of references to names.
const (
	offRefIndex   = 0  // le64, of INODE_REF
	offRefNameLen = 8  // le16
	refHeader     = 10 // then the name
	offExtParent  = 0  // le64, of INODE_EXTREF
	offExtIndex   = 8  // le64
	offExtNameLen = 16 // le16
	extrefHeader  = 18
	offRRDirid    = 0  // le64, of ROOT_REF and ROOT_BACKREF
	offRRSequence = 8  // le64
	offRRNameLen  = 16 // le16
	rootRefHeader = 18
)

// extrefHash is the offset of the INODE_EXTREF of a name in a directory.
func extrefHash(parent uint64, name []byte) uint64 { return uint64(rawCRC(uint32(parent), name)) }

// stored is an entry of a directory on its way to another name.
type stored struct {
	index    uint64
	location key
	transid  uint64
	kind     byte
	old, new []byte
}

// SetDir gives all entries of a directory new names, in the order of ReadDir:
// in its items, in the references of what they name, and in its size.
func (fs *FS) SetDir(dir image.Ino, entries []image.Dirent, encrypted bool) error {
	t, obj, _, err := fs.dirInode(dir)
	if err != nil {
		return err
	}
	list, err := fs.storedEntries(t, obj)
	if err != nil {
		return err
	}
	if len(list) != len(entries) {
		return fmt.Errorf("directory inode %d: %d entries for %d", dir, len(entries), len(list))
	}
	size := uint64(0)
	for i := range list {
		e := &list[i]
		e.new = entries[i].Name
		if e.kind &^= dirTypeEncrypted; encrypted {
			e.kind |= dirTypeEncrypted
		}
		size += 2 * uint64(len(e.new))
	}
	if err := fs.renameItems(t, obj, list); err != nil {
		return err
	}
	if err := fs.renameRefs(t, obj, list); err != nil {
		return err
	}
	return fs.editInode(t, obj, func(r rawInode) { r.set64(offInoSize, size) })
}

// storedEntries reads a directory by its indexes.
func (fs *FS) storedEntries(t *tree, dir uint64) ([]stored, error) {
	var list []stored
	err := fs.eachOf(t, dir, keyDirIndex, func(off uint64, b []byte) error {
		return fs.dirEntries(t, key{dir, keyDirIndex, off}, b, func(e *dirEntry) error {
			list = append(list, stored{off, e.location, le.Uint64(e.raw[offDirTransid:]), e.kind, bytes.Clone(e.name), nil})
			return nil
		})
	})
	return list, err
}

// item is the entry under its new name.
func (e *stored) item() []byte {
	b := make([]byte, dirHeader, dirHeader+len(e.new))
	e.location.put(b)
	le.PutUint64(b[offDirTransid:], e.transid)
	le.PutUint16(b[offDirNameLen:], uint16(len(e.new)))
	b[offDirType] = e.kind
	return append(b, e.new...)
}

// renameItems stores the entries by index, and anew by the hashes of the names.
func (fs *FS) renameItems(t *tree, dir uint64, list []stored) error {
	old, byHash := make(map[uint64]bool), make(map[uint64][]byte)
	for i := range list {
		e, item := &list[i], list[i].item()
		old[uint64(nameHash(e.old))] = true
		h := uint64(nameHash(e.new))
		byHash[h] = append(byHash[h], item...)
		if err := fs.replace(t, key{dir, keyDirIndex, e.index}, item); err != nil {
			return err
		}
	}
	for _, h := range sortedKeys(old) {
		if err := fs.setOrRemove(t, key{dir, keyDirItem, h}, nil); err != nil {
			return err
		}
	}
	for _, h := range sortedKeys(byHash) {
		if err := fs.insert(t, key{dir, keyDirItem, h}, byHash[h]); err != nil {
			return err
		}
	}
	return nil
}

func sortedKeys[V any](m map[uint64]V) []uint64 {
	out := make([]uint64, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// renameRefs changes the names that inodes and subvolumes keep of themselves.
func (fs *FS) renameRefs(t *tree, dir uint64, list []stored) error {
	slices.SortFunc(list, func(a, b stored) int {
		return cmp.Or(cmp.Compare(a.location.obj, b.location.obj), cmp.Compare(a.location.kind, b.location.kind), cmp.Compare(a.index, b.index))
	})
	for len(list) > 0 {
		e, n := &list[0], 1
		if e.location.kind == keyRoot {
			if err := fs.renameSubvolume(t, dir, e); err != nil {
				return err
			}
			list = list[1:]
			continue
		}
		for n < len(list) && list[n].location == e.location {
			n++
		}
		if err := fs.setRefs(t, e.location.obj, dir, list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// renameSubvolume changes both references between a subvolume and the one that
// it has its name in.
func (fs *FS) renameSubvolume(t *tree, dir uint64, e *stored) error {
	root := fs.trees[treeRoot]
	for _, k := range []key{{t.id, keyRootRef, e.location.obj}, {e.location.obj, keyRootBackref, t.id}} {
		b, err := fs.item(root, k)
		if err != nil {
			return err
		}
		if len(b) < rootRefHeader || le.Uint64(b) != dir || le.Uint64(b[offRRSequence:]) != e.index {
			return fs.itemError(root, k, "does not fit the entry %d of directory %d", e.index, dir)
		}
		n := append(bytes.Clone(b[:rootRefHeader]), e.new...)
		le.PutUint16(n[offRRNameLen:], uint16(len(e.new)))
		if err := fs.replace(root, k, n); err != nil {
			return err
		}
	}
	return nil
}

// setRefs stores the names of an inode in one directory, by ascending index: in one
// item as many as it holds, the others as extended references.
func (fs *FS) setRefs(t *tree, obj, dir uint64, names []stored) error {
	if err := fs.dropExtrefs(t, obj, dir); err != nil {
		return err
	}
	var b []byte
	for i := range names {
		index, name := names[i].index, names[i].new
		if len(b)+refHeader+len(name) <= fs.maxItem() {
			b = le.AppendUint64(b, index)
			b = le.AppendUint16(b, uint16(len(name)))
			b = append(b, name...)
			continue
		}
		if !fs.sb.has(incompatExtendedIref) {
			return fmt.Errorf("%w: inode %d has too many names in one directory for a filesystem without extref", image.ErrUnsupported, inoOf(t.id, obj))
		}
		e := le.AppendUint64(nil, dir)
		e = le.AppendUint64(e, index)
		e = le.AppendUint16(e, uint16(len(name)))
		e = append(e, name...)
		k := key{obj, keyInodeExtref, extrefHash(dir, name)}
		old, err := fs.item(t, k)
		if err != nil {
			return err
		}
		if err := fs.set(t, k, append(bytes.Clone(old), e...)); err != nil {
			return err
		}
	}
	return fs.set(t, key{obj, keyInodeRef, dir}, b)
}

// dropRefs takes all references of an inode to a directory away.
func (fs *FS) dropRefs(t *tree, obj, dir uint64) error {
	if err := fs.setOrRemove(t, key{obj, keyInodeRef, dir}, nil); err != nil {
		return err
	}
	return fs.dropExtrefs(t, obj, dir)
}

// dropExtrefs takes the extended ones away.
func (fs *FS) dropExtrefs(t *tree, obj, dir uint64) error {
	type change struct {
		k    key
		rest []byte
	}
	var changes []change
	err := fs.eachOf(t, obj, keyInodeExtref, func(off uint64, b []byte) error {
		k := key{obj, keyInodeExtref, off}
		var rest []byte
		all := b
		for len(b) > 0 {
			if len(b) < extrefHeader || len(b) < extrefHeader+int(le.Uint16(b[offExtNameLen:])) {
				return fs.itemError(t, k, "reference of %d bytes", len(b))
			}
			n := extrefHeader + int(le.Uint16(b[offExtNameLen:]))
			if le.Uint64(b) != dir {
				rest = append(rest, b[:n]...)
			}
			b = b[n:]
		}
		if len(rest) < len(all) {
			changes = append(changes, change{k, rest})
		}
		return nil
	})
	for _, c := range changes {
		if err == nil {
			err = fs.setOrRemove(t, c.k, c.rest)
		}
	}
	return err
}

// CostDir returns an upper bound of the bytes that SetDir allocates.
func (fs *FS) CostDir(dir image.Ino, nameLens []int, _ bool) (int64, error) {
	t, obj, _, err := fs.dirInode(dir)
	if err != nil {
		return 0, err
	}
	if t.readonly {
		return 0, fmt.Errorf("%w: directory inode %d is in a read-only subvolume", image.ErrUnsupported, dir)
	}
	have, want := int64(0), int64(0)
	err = fs.eachOf(t, obj, keyDirIndex, func(_ uint64, b []byte) error {
		have += int64(len(b)) - dirHeader
		return nil
	})
	for _, n := range nameLens {
		want += int64(n)
	}
	return max(0, 6*(want-have)), err
}
