package convert

import (
	"fmt"

	"fsenc/internal/image"
)

// owners are the blocks of what is going to be converted, where the filesystem
// tells which inode has which. Nothing else may hold one of them: its contents
// would be encrypted along.
type owners struct {
	fs      image.Owning
	blocks  claims // contents, mappings, directories, targets
	shared  claims // what several inodes may hold
	members claims // inode numbers
}

// claim notes the blocks of an inode of the tree.
func (s *scanner) claim(ino image.Ino, p *place) error {
	if s.owners == nil {
		return nil
	}
	o := s.owners
	o.members.add(image.Pblk(ino), 1)
	var twice error
	err := o.fs.Owned(ino, func(at image.Pblk, n uint64, shared bool) {
		switch {
		case shared:
			o.shared.add(at, n)
		case !o.blocks.add(at, n) && twice == nil:
			twice = fmt.Errorf("%s: %w", p, &image.CorruptError{What: "block mapping", Ino: ino, Pblk: at,
				Why: "blocks that another inode of the tree holds too"})
		}
	})
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	return twice
}

// checkOwners looks through all other inodes once. What the tree's inodes may
// share with them must not be anybody's contents: only for that the inodes of the
// tree are looked at again.
func (s *scanner) checkOwners() error {
	if s.owners == nil || len(s.owners.members) == 0 {
		return nil
	}
	o := s.owners
	others := o.members
	if len(o.shared) > 0 {
		others = nil
	}
	return inodesBut(s.fs, others, func(a image.Attr, _ error) error {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		member := o.members.has(image.Pblk(a.Ino), 1)
		var held error
		err := o.fs.Owned(a.Ino, func(at image.Pblk, n uint64, shared bool) {
			mine := (shared || !member) && o.blocks.has(at, n) || !shared && o.shared.has(at, n)
			if mine && held == nil {
				held = &image.CorruptError{What: "block mapping", Ino: a.Ino, Pblk: at,
					Why: "holds blocks of a file that is to be converted: run the filesystem's own checker"}
			}
		})
		if err != nil {
			return err
		}
		return held
	})
}

// inodesBut is fs.Inodes, and leaves out most of some inodes where that spares
// reading them.
func inodesBut(fs image.FS, some claims, f func(image.Attr, error) error) error {
	ranged, ok := fs.(image.Ranged)
	if !ok {
		return fs.Inodes(f)
	}
	return some.gaps(fs.Super().Inodes+1, func(first, end uint64) error {
		return ranged.InodesIn(image.Ino(first), image.Ino(end), f)
	})
}
