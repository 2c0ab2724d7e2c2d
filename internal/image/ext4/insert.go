package ext4

import (
	"bytes"
	"errors"
	"fmt"

	"fsenc/internal/casefold"
	"fsenc/internal/image"
)

// plainDir reads a directory whose entries are going to be edited one by one,
// which takes names as they are: an unencrypted one.
func (fs *FS) plainDir(dir image.Ino) (*inode, error) {
	in, err := fs.dirInode(dir)
	if err != nil {
		return nil, err
	}
	if in.raw.hasFlag(flEncrypt) {
		return nil, fmt.Errorf("%w: new entry in encrypted directory inode %d", image.ErrUnsupported, dir)
	}
	return in, nil
}

// insert adds an entry to a plain directory: to a leaf with room, the right one
// if there is an index, or by laying out the directory again. It may store the
// inode.
func (fs *FS) insert(in *inode, d image.Dirent) error {
	if !in.raw.hasFlag(flInlineData) {
		dir, err := fs.openDir(in)
		if err != nil {
			return err
		}
		err = dir.searchBlocks(d.Name, func(l uint32) error { return dir.insertAt(l, d) })
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	entries, err := fs.entries(in.ino)
	if err != nil {
		return err
	}
	return fs.setDir(in, append(entries, d), false)
}

// insertAt adds the entry to a leaf if it has room, and ends the search then.
func (d *directory) insertAt(l uint32, e image.Dirent) error {
	es, err := d.readLeaf(nil, l, make([]byte, d.fs.bs))
	if err != nil {
		return err
	}
	need := d.form.entrySize(len(e.Name))
	for i := range es {
		need += d.form.entrySize(len(es[i].Name))
	}
	if need > d.form.usable() {
		return nil
	}
	if err := d.rewriteLeaf(l, append(es, dirEntry{Dirent: e})); err != nil {
		return err
	}
	return errStop
}

// rewriteLeaf builds a leaf from zeros, so that of a removed name nothing remains.
func (d *directory) rewriteLeaf(l uint32, es []dirEntry) error {
	w := newLeafWriter(d.form)
	for i := range es {
		if es[i].isDot() {
			w.addDot(string(es[i].Name), es[i].Ino)
		} else {
			w.add(es[i].Dirent)
		}
	}
	return d.writeLeaf(l, w)
}

// entries returns copies of all entries of a directory.
func (fs *FS) entries(dir image.Ino) ([]image.Dirent, error) {
	var all []image.Dirent
	err := fs.ReadDir(dir, func(d image.Dirent) error {
		d.Name = bytes.Clone(d.Name)
		all = append(all, d)
		return nil
	})
	return all, err
}

// removeEntry takes a name out of a plain directory.
func (fs *FS) removeEntry(in *inode, name []byte) error {
	if !in.raw.hasFlag(flInlineData) {
		done, err := fs.removeFromLeaf(in, name)
		if done || err != nil {
			return err
		}
	}
	entries, err := fs.entries(in.ino)
	if err != nil {
		return err
	}
	kept := entries[:0]
	for _, d := range entries {
		if !bytes.Equal(d.Name, name) {
			kept = append(kept, d)
		}
	}
	return fs.setDir(in, kept, false)
}

// removeFromLeaf rewrites the leaf of a name, unless that leaf would be empty
// in an index: without a checksum entry it looks like a node there.
func (fs *FS) removeFromLeaf(in *inode, name []byte) (bool, error) {
	dir, err := fs.openDir(in)
	if err != nil {
		return false, err
	}
	hit, err := dir.lookup(name)
	if err != nil {
		return false, err
	}
	es, err := dir.readLeaf(nil, hit.block, make([]byte, fs.bs))
	if err != nil {
		return false, err
	}
	kept := es[:0]
	for _, e := range es {
		if !bytes.Equal(e.Name, name) {
			kept = append(kept, e)
		}
	}
	if len(kept) == 0 && dir.indexed() {
		return false, nil
	}
	return true, dir.rewriteLeaf(hit.block, kept)
}

// checkNewName refuses a name that no entry can have, or that the directory
// has already: with another case, too, where names fold.
func (fs *FS) checkNewName(in *inode, name []byte) error {
	if err := checkEntries(in.ino, []image.Dirent{{Name: name}}); err != nil {
		return err
	}
	if bytes.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%w: name %q in directory inode %d", image.ErrUnsupported, name, in.ino)
	}
	if !in.raw.hasFlag(flCasefold) {
		switch _, err := fs.Lookup(in.ino, name); {
		case err == nil:
			return fmt.Errorf("%q in directory inode %d: %w", name, in.ino, image.ErrExist)
		case errors.Is(err, image.ErrNotExist):
			return nil
		default:
			return err
		}
	}
	want, ok := casefold.Fold(nil, name)
	if !ok {
		return fmt.Errorf("%w: name %q, not valid UTF-8, in casefolded directory inode %d", image.ErrUnsupported, name, in.ino)
	}
	return fs.ReadDir(in.ino, func(d image.Dirent) error {
		if bytes.Equal(foldOrRaw(d.Name), want) {
			return fmt.Errorf("%q in directory inode %d: %w", name, in.ino, image.ErrExist)
		}
		return nil
	})
}

// foldOrRaw is what a casefolded directory compares and hashes.
func foldOrRaw(name []byte) []byte {
	if folded, ok := casefold.Fold(nil, name); ok {
		return folded
	}
	return name
}
