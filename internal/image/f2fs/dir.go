package f2fs

import (
	"bytes"
	"errors"
	"fmt"

	"fsenc/internal/image"
)

// dirInode reads an inode that must be a directory.
func (fs *FS) dirInode(dir image.Ino) (*inode, error) {
	in, err := fs.inode(dir)
	if err != nil {
		return nil, err
	}
	if in.fileType() != image.TypeDirectory {
		return nil, fmt.Errorf("inode %d: %w", dir, image.ErrNotDir)
	}
	return in, nil
}

// hashed tells whether the hash of an entry can be computed from its stored
// name; in a directory that is encrypted and casefolded it needs a key.
func (in *inode) hashed() bool { return !in.advise(advEncrypt) || !in.flag(flCasefold) }

// hashOf is the hash that an entry of the directory has for a stored name.
func (in *inode) hashOf(name []byte) uint32 {
	if in.flag(flCasefold) {
		return foldedHash(name)
	}
	return nameHash(name)
}

// dirBlock is a block of entries and where it belongs.
type dirBlock struct {
	dentryArea
	lblk uint64
	at   image.Pblk
}

// dirBlocks calls f for each block of a directory in ascending order; f may keep
// it. That of an inline one is its area, and has no place.
func (fs *FS) dirBlocks(in *inode, f func(*dirBlock) error) error {
	return fs.dirBlocksIn(in, func() []byte { return make([]byte, blockSize) }, f)
}

// passDirBlocks is dirBlocks for an f that keeps nothing of a block.
func (fs *FS) passDirBlocks(in *inode, f func(*dirBlock) error) error {
	b := fs.recent.block()
	if b == nil {
		b = make([]byte, blockSize)
	}
	defer fs.recent.giveBack(b)
	return fs.dirBlocksIn(in, func() []byte { return b }, f)
}

// dirBlocksIn reads each block into memory that is asked for.
func (fs *FS) dirBlocksIn(in *inode, memory func() []byte, f func(*dirBlock) error) error {
	if in.inline(inDentry) {
		return f(&dirBlock{dentryArea: inlineDentries(in.inlineArea())})
	}
	return fs.data(in, func(s slot) error {
		b := memory()
		if err := fs.readBlock(b, image.Pblk(s.addr)); err != nil {
			return err
		}
		return f(&dirBlock{blockArea(b), s.lblk, image.Pblk(s.addr)})
	})
}

// entries calls f for each entry of a block but the dots, which are the first
// two of the first block and of no other.
func (fs *FS) entries(in *inode, b *dirBlock, f func(dentry) error) error {
	dots := 0
	err := b.each(func(e dentry) error {
		isDot := string(e.Name) == "." || string(e.Name) == ".."
		switch {
		case isDot && b.lblk == 0 && e.slot == dots && len(e.Name) == dots+1:
			dots++
			return nil
		case isDot:
			return fmt.Errorf("slot %d: %q does not belong here", e.slot, e.Name)
		case e.Ino < firstNid || uint64(e.Ino) >= fs.geo.nids:
			return fmt.Errorf("slot %d: inode %d", e.slot, e.Ino)
		}
		if err := f(e); err != nil {
			return &stopError{err}
		}
		return nil
	})
	if err == nil && b.lblk == 0 && dots != 2 {
		err = errors.New(`does not begin with "." and ".."`)
	}
	return fs.entryError(in, b, err)
}

// entryError gives damage its place; an error of the caller's function, however
// deep, is passed as it is.
func (fs *FS) entryError(in *inode, b *dirBlock, err error) error {
	var stop *stopError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &stop):
		var inner *stopError
		if errors.As(stop.error, &inner) {
			return inner.error
		}
		return fs.corrupt("directory block", in.ino, b.at, "lblk %d: %v", b.lblk, stop.error)
	}
	return fs.corrupt("directory block", in.ino, b.at, "lblk %d: %v", b.lblk, err)
}

// ReadDir calls f for each entry but the dots, block by block.
func (fs *FS) ReadDir(dir image.Ino, f func(image.Dirent) error) error {
	in, err := fs.dirInode(dir)
	if err != nil {
		return err
	}
	shape, first := dirShape(in.raw[offDirLevel]), true
	err = fs.passDirBlocks(in, func(b *dirBlock) error {
		if first && b.lblk != 0 {
			return fs.corrupt("directory", dir, in.at, "has no first block")
		}
		first = false
		return fs.entries(in, b, func(e dentry) error {
			d := e.Dirent
			d.Misplaced = fs.misplaced(in, shape, b, &d)
			return f(d)
		})
	})
	if err == nil && first {
		return fs.corrupt("directory", dir, in.at, "has no blocks")
	}
	return err
}

// misplaced reports whether a lookup does not find the entry: its hash is not
// that of its name, or its block not one of the hash's.
func (fs *FS) misplaced(in *inode, shape dirShape, b *dirBlock, d *image.Dirent) bool {
	if in.hashed() && d.Hash != in.hashOf(d.Name) {
		return true
	}
	return !in.inline(inDentry) && (!shape.holds(b.lblk, d.Hash) || shape.levelOf(b.lblk) >= int(in.u32(offDepth)))
}

// Lookup finds one stored name by its hash. In a directory that is encrypted and
// casefolded all entries are looked at.
func (fs *FS) Lookup(dir image.Ino, name []byte) (image.Dirent, error) {
	in, err := fs.dirInode(dir)
	if err != nil {
		return image.Dirent{}, err
	}
	if in.inline(inDentry) || !in.hashed() {
		return fs.search(in, name)
	}
	hash, shape := in.hashOf(name), dirShape(in.raw[offDirLevel])
	for level := range min(int(in.u32(offDepth)), maxDepth) {
		first, n := shape.bucket(level, hash)
		for l := first; l < first+n; l++ {
			b, err := fs.dirBlockAt(in, l)
			if err != nil {
				return image.Dirent{}, err
			}
			if b == nil {
				continue
			}
			if d, err := fs.searchBlock(in, b, name); err != nil || d.Ino != 0 {
				return d, err
			}
		}
	}
	return image.Dirent{}, noName(dir, name)
}

func noName(dir image.Ino, name []byte) error {
	return fmt.Errorf("%q in the directory of inode %d: %w", name, dir, image.ErrNotExist)
}

var errFound = errors.New("found")

// searchBlock looks through one block; the inode number is 0 if the name is
// not there.
func (fs *FS) searchBlock(in *inode, b *dirBlock, name []byte) (d image.Dirent, err error) {
	err = fs.entries(in, b, func(e dentry) error {
		if bytes.Equal(e.Name, name) {
			d = e.Dirent
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return d, err
}

// search looks through all blocks.
func (fs *FS) search(in *inode, name []byte) (d image.Dirent, err error) {
	err = fs.dirBlocks(in, func(b *dirBlock) error {
		if d, err = fs.searchBlock(in, b, name); err == nil && d.Ino != 0 {
			err = errFound
		}
		return err
	})
	switch {
	case errors.Is(err, errFound):
		return d, nil
	case err != nil:
		return d, err
	}
	return d, noName(in.ino, name)
}

// dirBlockAt reads one block of a directory, nil for a hole.
func (fs *FS) dirBlockAt(in *inode, l uint64) (*dirBlock, error) {
	s, err := fs.slotAt(in, l)
	if err != nil || s.addr == nullAddr || s.addr == newAddr {
		return nil, err
	}
	if err := fs.checkAddr(in, s); err != nil {
		return nil, err
	}
	b := make([]byte, blockSize)
	if err := fs.readBlock(b, image.Pblk(s.addr)); err != nil {
		return nil, err
	}
	return &dirBlock{blockArea(b), l, image.Pblk(s.addr)}, nil
}
