package f2fs

import (
	"errors"
	"maps"
	"slices"

	"fsenc/internal/image"
)

// SetDir replaces all entries but the dots. An inline directory stays one as
// long as they fit. The names go into the inodes that they name as well.
func (fs *FS) SetDir(dir image.Ino, entries []image.Dirent, encrypted bool) error {
	in, err := fs.dirInode(dir)
	if err != nil {
		return err
	}
	parent, err := fs.parent(in)
	if err != nil {
		return err
	}
	fs.put(in)
	if !(encrypted && in.flag(flCasefold)) {
		for i := range entries {
			entries[i].Hash = in.hashOf(entries[i].Name)
		}
	}
	if err := fs.layDir(in, parent, entries); err != nil {
		return err
	}
	for i := range entries {
		if err := fs.nameInode(in, &entries[i], encrypted); err != nil {
			return err
		}
	}
	return nil
}

// parent is the number that ".." names.
func (fs *FS) parent(in *inode) (image.Ino, error) {
	var parent image.Ino
	err := fs.passDirBlocks(in, func(b *dirBlock) error {
		err := b.each(func(e dentry) error {
			if string(e.Name) == ".." {
				parent = e.Ino
				return errFound
			}
			return nil
		})
		var stop *stopError
		if err != nil && !errors.As(err, &stop) {
			return fs.entryError(in, b, err)
		}
		return errFound
	})
	if err != nil && !errors.Is(err, errFound) {
		return 0, err
	}
	if parent == 0 {
		return 0, fs.corrupt("directory", in.ino, in.at, `no ".."`)
	}
	return parent, nil
}

func dots(self, parent image.Ino) [2]image.Dirent {
	return [2]image.Dirent{
		{Name: []byte("."), Ino: self, Type: image.TypeDirectory},
		{Name: []byte(".."), Ino: parent, Type: image.TypeDirectory},
	}
}

// layDir lays a directory, which is being edited, out anew; entries have their
// hashes.
func (fs *FS) layDir(in *inode, parent image.Ino, entries []image.Dirent) error {
	if in.inline(inDentry) {
		if fs.layInline(in, parent, entries) {
			return nil
		}
		clear(in.raw[offAddrs+4*in.extra : offAddrs+4*(addrWords-in.words)])
		in.setInline(inDentry, false)
		if err := fs.measure(in); err != nil {
			return err
		}
	}
	b := newDirBuilder(dirShape(in.raw[offDirLevel]), fs.zeroBlock)
	for _, d := range dots(in.ino, parent) {
		b.add(&d)
	}
	for i := range entries {
		if !b.add(&entries[i]) {
			return image.ErrNoSpace
		}
	}
	if err := fs.unmap(in); err != nil {
		return err
	}
	last := uint64(0)
	for _, l := range slices.Sorted(maps.Keys(b.blocks)) {
		if err := fs.place(in, l, b.blocks[l].b, logHotData); err != nil {
			return err
		}
		last = l
	}
	in.set64(offSize, (last+1)*blockSize)
	in.set32(offDepth, uint32(b.depth))
	return nil
}

// layInline reports whether the entries fit into the inode.
func (fs *FS) layInline(in *inode, parent image.Ino, entries []image.Dirent) bool {
	area := in.inlineArea()
	d := inlineDentries(make([]byte, len(area)))
	need := 2
	for i := range entries {
		need += slotsFor(len(entries[i].Name))
	}
	if need > d.slots {
		return false
	}
	at := 0
	put := func(e *image.Dirent) {
		d.put(at, e)
		at += slotsFor(len(e.Name))
	}
	for _, e := range dots(in.ino, parent) {
		put(&e)
	}
	for i := range entries {
		put(&entries[i])
	}
	copy(area, d.b)
	in.set32(offAddrs+4*in.extra, 0)
	in.set64(offSize, uint64(len(area)))
	return true
}

// dirBuilder fills the blocks of a directory as the kernel does: each entry into
// the lowest level in whose bucket there is room.
type dirBuilder struct {
	shape  dirShape
	memory func() []byte // for another block, zeros
	blocks map[uint64]*dirPage
	depth  int // levels in use
}

type dirPage struct {
	dentryArea
	free int // slots
}

func newDirBuilder(shape dirShape, memory func() []byte) *dirBuilder {
	return &dirBuilder{shape: shape, memory: memory, blocks: make(map[uint64]*dirPage)}
}

// add stores an entry, false if no level has room.
func (d *dirBuilder) add(e *image.Dirent) bool {
	n := slotsFor(len(e.Name))
	for level := range maxDepth {
		first, blocks := d.shape.bucket(level, e.Hash)
		for l := first; l < first+blocks; l++ {
			p := d.blocks[l]
			if p == nil {
				p = &dirPage{blockArea(d.memory()), dentriesInBlock}
				d.blocks[l] = p
			}
			if p.free < n {
				continue
			}
			if slot := p.room(n); slot >= 0 {
				p.put(slot, e)
				p.free -= n
				d.depth = max(d.depth, level+1)
				return true
			}
		}
	}
	return false
}

// nameInode stores a name in the inode that it names: recovery after an fsync
// takes it from there. Of a file with several names that cannot be told.
func (fs *FS) nameInode(dir *inode, e *image.Dirent, encrypted bool) error {
	in, err := fs.inode(e.Ino)
	if err != nil {
		return asCorrupt(dir.ino, uint32(e.Ino), err)
	}
	fs.put(in)
	clear(in.raw[offName:][:maxNameLen])
	copy(in.raw[offName:], e.Name)
	in.set32(offNameLen, uint32(len(e.Name)))
	in.setAdvise(advEncName, encrypted)
	lost := in.fileType() != image.TypeDirectory && in.u32(offLinks) > 1
	if encrypted && dir.flag(flCasefold) {
		if len(e.Name)+4 <= maxNameLen {
			le.PutUint32(in.raw[offName+len(e.Name):], e.Hash)
		} else {
			lost = true
		}
	}
	if lost {
		in.setAdvise(advLostPino, true)
	}
	return nil
}
