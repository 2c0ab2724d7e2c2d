package btrfs

import (
	"bytes"

	"fsenc/internal/image"
)

// eachRef calls f for each name that an inode has by its own account.
func (fs *FS) eachRef(t *tree, obj uint64, f func(k key, parent, index uint64, name []byte) error) error {
	err := fs.eachOf(t, obj, keyInodeRef, func(parent uint64, b []byte) error {
		k := key{obj, keyInodeRef, parent}
		for len(b) > 0 {
			if len(b) < refHeader || len(b) < refHeader+int(le.Uint16(b[offRefNameLen:])) {
				return fs.itemError(t, k, "reference of %d bytes", len(b))
			}
			n := refHeader + int(le.Uint16(b[offRefNameLen:]))
			if err := f(k, parent, le.Uint64(b[offRefIndex:]), b[refHeader:n]); err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	})
	if err != nil {
		return err
	}
	return fs.eachOf(t, obj, keyInodeExtref, func(off uint64, b []byte) error {
		k := key{obj, keyInodeExtref, off}
		for len(b) > 0 {
			if len(b) < extrefHeader || len(b) < extrefHeader+int(le.Uint16(b[offExtNameLen:])) {
				return fs.itemError(t, k, "reference of %d bytes", len(b))
			}
			n := extrefHeader + int(le.Uint16(b[offExtNameLen:]))
			if err := f(k, le.Uint64(b[offExtParent:]), le.Uint64(b[offExtIndex:]), b[extrefHeader:n]); err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	})
}

// checkNames compares the names that an inode says it has with its link count,
// and each with the directory.
func (fs *FS) checkNames(t *tree, obj uint64, r rawInode, found finder) {
	names := uint32(0)
	err := fs.eachRef(t, obj, func(k key, parent, index uint64, name []byte) error {
		names++
		if want := extrefHash(parent, name); k.kind == keyInodeExtref && k.off != want {
			found("name-hash", image.Error, adviceCheck, "item %v holds a name whose hash is %d", k, want)
		}
		if parent == obj && obj == firstFree {
			return nil // ".." of the subvolume's root directory
		}
		at := key{parent, keyDirIndex, index}
		b, err := fs.item(t, at)
		if err != nil {
			return err
		}
		fits := false
		err = fs.dirEntries(t, at, b, func(e *dirEntry) error {
			fits = e.location == key{obj, keyInode, 0} && bytes.Equal(e.name, name)
			return nil
		})
		if err == nil && !fits {
			found("name-differs", image.Error, adviceCheck, "by its own account it is entry %d of directory %d, which has no such entry", index, inoOf(t.id, parent))
		}
		return err
	})
	if err != nil {
		found("name-damaged", image.Error, adviceCheck, "%v", err)
		return
	}
	links := r.u32(offInoLinks)
	orphan, err := fs.item(t, key{objOrphan, keyOrphan, obj})
	switch {
	case err == nil && links == 0 && names == 0 && orphan != nil:
		found("orphan", image.Warning, "mount the image once", "removed while it was in use: what it held is still there")
	case links != names || links == 0:
		found("link-count", image.Error, adviceCheck, "has %d links by its count, %d names", links, names)
	}
}

// checkXattrs checks the hashes that attributes are found by.
func (fs *FS) checkXattrs(t *tree, obj uint64, found finder) {
	// What cannot be read is reported by who reads attributes.
	_ = fs.eachOf(t, obj, keyXattr, func(off uint64, b []byte) error {
		return fs.dirEntries(t, key{obj, keyXattr, off}, b, func(e *dirEntry) error {
			if h := uint64(nameHash(e.name)); h != off {
				found("xattr-hash", image.Error, adviceCheck, "the attribute %q lies at %d, its hash is %d", e.name, off, h)
			}
			return nil
		})
	})
}

// checkDir compares the entries by index with those by hash, with what they lead
// to, and with the marks and the size that the directory should have.
func (fs *FS) checkDir(t *tree, obj uint64, r rawInode, found finder) {
	size, entries := uint64(0), 0
	err := fs.eachOf(t, obj, keyDirIndex, func(index uint64, b []byte) error {
		return fs.dirEntries(t, key{obj, keyDirIndex, index}, b, func(e *dirEntry) error {
			size, entries = size+2*uint64(len(e.name)), entries+1
			if enc := e.kind&dirTypeEncrypted != 0; enc != r.flag(inoEncrypt) {
				found("entry-mark", image.Error, adviceCheck, "entry %d: the mark of an encrypted name is %v, of the directory %v", index, enc, r.flag(inoEncrypt))
			}
			return fs.checkEntry(t, obj, index, e, found)
		})
	})
	if err != nil {
		return // reported by who lists the directory
	}
	if got := r.u64(offInoSize); got != size {
		found("directory-size", image.Error, adviceCheck, "size %d, its names make up %d", got, size)
	}
	err = fs.eachOf(t, obj, keyDirItem, func(hash uint64, b []byte) error {
		return fs.dirEntries(t, key{obj, keyDirItem, hash}, b, func(e *dirEntry) error {
			entries--
			if h := uint64(nameHash(e.name)); h != hash {
				found("name-hash", image.Error, adviceCheck, "an entry lies at %d, the hash of its name is %d", hash, h)
			}
			return nil
		})
	})
	if err != nil {
		found("name-damaged", image.Error, adviceCheck, "%v", err)
	} else if entries != 0 {
		found("entries-differ", image.Error, adviceCheck, "%d entries more by index than by hash", entries)
	}
}

// checkEntry compares an entry with the one by the hash of the name, and with
// what it leads to. One that is not there by its hash is reported with the names.
func (fs *FS) checkEntry(t *tree, dir, index uint64, e *dirEntry, found finder) error {
	at := key{dir, keyDirItem, uint64(nameHash(e.name))}
	b, err := fs.item(t, at)
	if err != nil {
		return err
	}
	err = fs.dirEntries(t, at, b, func(o *dirEntry) error {
		if bytes.Equal(o.name, e.name) && (o.location != e.location || o.kind != e.kind) {
			found("entries-differ", image.Error, adviceCheck, "entry %d leads to %v with type %#x, by hash to %v with %#x", index, e.location, e.kind, o.location, o.kind)
		}
		return nil
	})
	if err != nil || e.location.kind != keyInode {
		return err
	}
	child, err := fs.inode(t, e.location.obj)
	if err != nil {
		return nil // reported with the names
	}
	if kind := image.FileType(e.kind &^ dirTypeEncrypted); kind != child.fileType() {
		found("entry-type", image.Error, adviceCheck, "entry %d says %s, the inode is a %s", index, kind, child.fileType())
	}
	refers, err := fs.refersTo(t, e.location.obj, dir, index, e.name)
	if err == nil && !refers {
		found("name-differs", image.Error, adviceCheck, "entry %d: inode %d does not refer back with the same name", index, inoOf(t.id, e.location.obj))
	}
	return nil // damage of references is reported with the inode
}

// refersTo reports whether an inode has a name by its own account.
func (fs *FS) refersTo(t *tree, obj, dir, index uint64, name []byte) (bool, error) {
	b, err := fs.item(t, key{obj, keyInodeRef, dir})
	for err == nil && len(b) >= refHeader {
		n := refHeader + int(le.Uint16(b[offRefNameLen:]))
		if n > len(b) {
			break
		}
		if le.Uint64(b[offRefIndex:]) == index && bytes.Equal(b[refHeader:n], name) {
			return true, nil
		}
		b = b[n:]
	}
	if err != nil {
		return false, err
	}
	b, err = fs.item(t, key{obj, keyInodeExtref, extrefHash(dir, name)})
	for err == nil && len(b) >= extrefHeader {
		n := extrefHeader + int(le.Uint16(b[offExtNameLen:]))
		if n > len(b) {
			break
		}
		if le.Uint64(b[offExtParent:]) == dir && le.Uint64(b[offExtIndex:]) == index && bytes.Equal(b[extrefHeader:n], name) {
			return true, nil
		}
		b = b[n:]
	}
	return false, err
}
