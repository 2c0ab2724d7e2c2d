package ext4

import (
	"fmt"

	"fsenc/internal/casefold"
	"fsenc/internal/image"
)

// dirState is what of the old directory decides how the new one lies.
type dirState struct {
	parent  image.Ino
	blocks  uint32 // 0 if inline
	indexed bool
}

func (fs *FS) dirState(in *inode) (dirState, error) {
	if in.raw.hasFlag(flInlineData) {
		parent, err := fs.inlineParent(in)
		return dirState{parent: parent}, err
	}
	d, err := fs.openDir(in)
	if err != nil {
		return dirState{}, err
	}
	parent, err := d.parent()
	return dirState{parent, d.blocks, d.indexed()}, err
}

// wantsIndex decides for a directory that does not fit into one block: it has
// an index if it had one, or if it is to grow out of its first block, since
// there the kernel would make one. A directory of several blocks without an
// index stays as it is, for the kernel adds none either: someone made it so.
func (fs *FS) wantsIndex(s dirState) bool {
	return fs.sb.hasCompat(compatDirIndex) && (s.indexed || s.blocks <= 1) && fs.defaultHashKnown()
}

func (fs *FS) defaultHashKnown() bool { return fs.sb.defHashVersion() <= hashTea }

// planDir lays the entries out.
func (fs *FS) planDir(in *inode, s dirState, entries []image.Dirent, encrypted bool) *dirLayout {
	l := &dirLayout{
		form: fs.dirForm(in, encrypted), self: in.ino, parent: s.parent, entries: entries,
		largeDir: fs.sb.hasIncompat(incompatLargeDir), version: fs.sb.defHashVersion(),
	}
	l.layOutLinear()
	if l.blocks() == 1 || !fs.wantsIndex(s) {
		return l
	}
	if l.form.hashed {
		l.version = hashSip
	}
	folds := !encrypted && in.raw.hasFlag(flCasefold)
	if folds && !allFold(entries) || !l.layOutIndex(fs.dirHash(l.version), folds) {
		// Without an index names are found more slowly, but all of them are.
		l.layOutLinear()
	}
	return l
}

// allFold reports whether each name is valid UTF-8. Of one that is not the
// kernel hashes the bytes, while e2fsck cannot tell its place in an index.
func allFold(entries []image.Dirent) bool {
	for i := range entries {
		if _, ok := casefold.Fold(nil, entries[i].Name); !ok {
			return false
		}
	}
	return true
}

// checkEntries refuses what cannot be stored: the callers' names come from
// ciphers and directories and obey this.
func checkEntries(dir image.Ino, entries []image.Dirent) error {
	for i := range entries {
		name := entries[i].Name
		if len(name) == 0 || len(name) > maxNameLen || isDotName(name, len(name)) {
			return fmt.Errorf("%w: name %q in directory inode %d", image.ErrUnsupported, name, dir)
		}
	}
	return nil
}

// SetDir replaces all entries but "." and ".." and lays the directory out from
// zeros. Its link count is that of its old subdirectories and stays.
func (fs *FS) SetDir(dir image.Ino, entries []image.Dirent, encrypted bool) error {
	in, err := fs.dirInode(dir)
	if err != nil {
		return err
	}
	return fs.setDir(in, entries, encrypted)
}

// setDir is SetDir for an inode that is read already; it stores the inode.
func (fs *FS) setDir(in *inode, entries []image.Dirent, encrypted bool) error {
	if err := checkEntries(in.ino, entries); err != nil {
		return err
	}
	s, err := fs.dirState(in)
	if err != nil {
		return err
	}
	return fs.layDir(in, s, entries, encrypted)
}

// layDir gives a directory, so far in state s, its blocks, and stores the inode.
func (fs *FS) layDir(in *inode, s dirState, entries []image.Dirent, encrypted bool) error {
	l := fs.planDir(in, s, entries, encrypted)
	if err := fs.resizeDir(in, uint64(s.blocks), uint64(l.blocks())); err != nil {
		return err
	}
	in.raw.setFlags(in.raw.flags() &^ flIndex)
	if l.indexed() {
		in.raw.setFlags(in.raw.flags() | flIndex)
		fs.fixHashSign()
	}
	d, err := fs.openDir(in)
	if err != nil {
		return err
	}
	if err := l.write(d); err != nil {
		return err
	}
	return fs.putInode(in)
}

// fixHashSign records that names were hashed as signed bytes where the
// superblock says nothing, before a kernel on another CPU decides otherwise.
func (fs *FS) fixHashSign() {
	if f := fs.sb.flags(); f&(flagSignedHash|flagUnsignedHash) == 0 {
		fs.sb.setFlags(f | flagSignedHash)
	}
}

// resizeDir gives the directory n blocks instead of old. Blocks that an index
// does not name are errors to e2fsck, and in others old names would remain,
// so what is not needed is freed.
func (fs *FS) resizeDir(in *inode, old, n uint64) error {
	if err := fs.checkDirSize(in.ino, n); err != nil {
		return err
	}
	if in.raw.hasFlag(flInlineData) {
		if err := fs.dropInline(in); err != nil {
			return err
		}
		fs.initMapping(in)
	}
	switch {
	case n > old:
		if _, err := fs.appendBlocks(in, n-old); err != nil {
			return err
		}
	case n < old:
		if err := fs.truncateBlocks(in, image.Lblk(n)); err != nil {
			return err
		}
	}
	in.raw.setSize(n * uint64(fs.bs))
	return nil
}
