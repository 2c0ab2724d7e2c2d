package btrfs

import (
	"bytes"
	"fmt"
	"hash/crc32"

	"fsenc/internal/image"
)

// Fields of struct btrfs_dir_item, of which an item may hold several, one behind
// the other; names and data of attributes follow each.
const (
	offDirLocation = 0  // key of what it names
	offDirTransid  = 17 // le64
	offDirDataLen  = 25 // le16
	offDirNameLen  = 27 // le16
	offDirType     = 29 // u8
	dirHeader      = 30

	dirTypeXattr     = 8
	dirTypeEncrypted = 0x80 // proposed: the name is encrypted

	maxNameLen = 255
)

// rawCRC is CRC-32C without inversions, as names and references are hashed.
func rawCRC(seed uint32, p []byte) uint32 { return ^crc32.Update(^seed, castagnoli, p) }

// nameHash is the offset of the DIR_ITEM or XATTR_ITEM of a name.
func nameHash(name []byte) uint32 { return rawCRC(0xfffffffe, name) }

// dirEntry is one entry of a DIR_ITEM, DIR_INDEX or XATTR_ITEM. Name and data
// point into the item.
type dirEntry struct {
	location key
	kind     byte
	name     []byte
	data     []byte
	raw      []byte // all of it
}

// dirEntries calls f for each entry of an item.
func (fs *FS) dirEntries(t *tree, k key, b []byte, f func(*dirEntry) error) error {
	for len(b) > 0 {
		if len(b) < dirHeader {
			return fs.itemError(t, k, "entry of %d bytes", len(b))
		}
		n, d := int(le.Uint16(b[offDirNameLen:])), int(le.Uint16(b[offDirDataLen:]))
		if n == 0 || dirHeader+n+d > len(b) {
			return fs.itemError(t, k, "name of %d and data of %d bytes in %d", n, d, len(b)-dirHeader)
		}
		e := dirEntry{location: keyOf(b), kind: b[offDirType], name: b[dirHeader:][:n], data: b[dirHeader+n:][:d], raw: b[:dirHeader+n+d]}
		if err := f(&e); err != nil {
			return err
		}
		b = b[dirHeader+n+d:]
	}
	return nil
}

// dirent makes a directory entry of one of the tree's.
func (fs *FS) dirent(t *tree, k key, e *dirEntry) (image.Dirent, error) {
	d := image.Dirent{Name: e.name, Type: image.FileType(e.kind &^ dirTypeEncrypted), Hash: nameHash(e.name)}
	switch {
	case len(e.name) > maxNameLen || len(e.data) > 0 || d.Type == image.TypeUnknown || d.Type > image.TypeSymlink:
		return d, fs.itemError(t, k, "name of %d bytes, type %d", len(e.name), e.kind)
	case e.location.kind == keyRoot && e.location.obj >= firstFree && e.location.obj <= maxSubvol:
		into, err := fs.leadsInto(t, k.obj, e.location.obj, e.name)
		if d.Ino = inoOf(e.location.obj, firstFree); err != nil || !into {
			d.Ino = inoOf(t.id, objVacant|e.location.obj)
		}
		return d, err
	case e.location.kind == keyInode && e.location.obj >= firstFree && e.location.obj <= maxObject:
		d.Ino = inoOf(t.id, e.location.obj)
	default:
		return d, fs.itemError(t, k, "names %v", e.location)
	}
	return d, nil
}

// dirInode reads an inode that must be a directory.
func (fs *FS) dirInode(dir image.Ino) (*tree, uint64, rawInode, error) {
	t, obj, r, err := fs.look(dir)
	if err == nil && r.fileType() != image.TypeDirectory {
		err = fmt.Errorf("inode %d: %w", dir, image.ErrNotDir)
	}
	return t, obj, r, err
}

// ReadDir calls f for each entry in the order of their indexes.
func (fs *FS) ReadDir(dir image.Ino, f func(image.Dirent) error) error {
	t, obj, _, err := fs.dirInode(dir)
	if err != nil {
		return err
	}
	return fs.eachOf(t, obj, keyDirIndex, func(off uint64, b []byte) error {
		k := key{obj, keyDirIndex, off}
		n := 0
		return fs.dirEntries(t, k, b, func(e *dirEntry) error {
			if n++; n > 1 {
				return fs.itemError(t, k, "more than one entry")
			}
			d, err := fs.dirent(t, k, e)
			if err != nil {
				return err
			}
			found, err := fs.lookup(t, obj, e.name)
			if err != nil {
				return err
			}
			d.Misplaced = found.Ino != d.Ino
			return f(d)
		})
	})
}

// lookup finds a name by its hash; the inode is 0 if it is not there.
func (fs *FS) lookup(t *tree, dir uint64, name []byte) (d image.Dirent, err error) {
	k := key{dir, keyDirItem, uint64(nameHash(name))}
	b, err := fs.item(t, k)
	if err != nil || b == nil {
		return d, err
	}
	err = fs.dirEntries(t, k, b, func(e *dirEntry) error {
		if !bytes.Equal(e.name, name) {
			return nil
		}
		var err error
		d, err = fs.dirent(t, k, e)
		return err
	})
	return d, err
}

// Lookup finds one stored name.
func (fs *FS) Lookup(dir image.Ino, name []byte) (image.Dirent, error) {
	t, obj, _, err := fs.dirInode(dir)
	if err != nil {
		return image.Dirent{}, err
	}
	d, err := fs.lookup(t, obj, name)
	if err == nil && d.Ino == 0 {
		err = fmt.Errorf("%q in the directory of inode %d: %w", name, dir, image.ErrNotExist)
	}
	return d, err
}

// xattrs reads the attributes of an inode, which have their whole names.
func (fs *FS) xattrs(t *tree, obj uint64) ([]image.Xattr, error) {
	var out []image.Xattr
	err := fs.eachOf(t, obj, keyXattr, func(off uint64, b []byte) error {
		return fs.dirEntries(t, key{obj, keyXattr, off}, b, func(e *dirEntry) error {
			if e.kind != dirTypeXattr {
				return fs.itemError(t, key{obj, keyXattr, off}, "type %d", e.kind)
			}
			out = append(out, image.Xattr{Name: string(e.name), Value: append([]byte{}, e.data...)})
			return nil
		})
	})
	return out, err
}

// Xattrs returns all extended attributes: the context is none.
func (fs *FS) Xattrs(ino image.Ino) ([]image.Xattr, error) {
	t, obj, _, err := fs.look(ino)
	if err != nil {
		return nil, err
	}
	return fs.xattrs(t, obj)
}
