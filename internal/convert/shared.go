package convert

import (
	"context"
	"fmt"
	"slices"

	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/txn"
)

// Shared says what a plan does about extents that files outside of the trees
// refer to as well.
type Shared int

// RefuseShared lists them; UnshareShared gives the trees copies of them.
const (
	RefuseShared Shared = iota
	UnshareShared
)

// SharedExtent is an extent of the trees that others refer to, too.
type SharedExtent struct {
	Start image.Pblk
	Len   uint64      // blocks
	Files []image.Ino // of the trees
}

// maxReferers is how many files outside of the trees a plan names for an extent.
const maxReferers = 4

// checkShared finds the extents that others refer to. They are refused, or
// listed to be unshared before the plan is made anew.
func (s *scanner) checkShared() error {
	sharing, ok := s.fs.(image.Sharing)
	if !ok || len(s.plan.extents) == 0 {
		return nil
	}
	inside := make(map[image.Ino]bool, len(s.files))
	for _, f := range s.files {
		inside[f.ino] = true
	}
	outside := make(map[image.Pblk][]image.Ino)
	want := func(start image.Pblk) bool { return s.known[start] != nil }
	err := sharing.Referers(want, func(start image.Pblk, by image.Ino) error {
		if l := outside[start]; !inside[by] && len(l) < maxReferers && !slices.Contains(l, by) {
			outside[start] = append(l, by)
		}
		return s.ctx.Err()
	})
	if err != nil || len(outside) == 0 {
		return err
	}
	if s.opt.Shared == RefuseShared {
		s.refuseShared(outside)
		return nil
	}
	return s.listShared(sharing, outside, inside)
}

func (s *scanner) refuseShared(outside map[image.Pblk][]image.Ino) {
	s.refused.Shared = true
	for _, x := range s.plan.extents {
		if l := outside[x.at]; l != nil {
			s.refuse(s.known[x.at], x.ino, "", "shares the extent at block %d with inodes outside of the tree: %v", x.at, l)
		}
	}
}

func (s *scanner) listShared(sharing image.Sharing, outside map[image.Pblk][]image.Ino, inside map[image.Ino]bool) error {
	files := make(map[image.Pblk][]image.Ino, len(outside))
	want := func(start image.Pblk) bool { return outside[start] != nil }
	err := sharing.Referers(want, func(start image.Pblk, by image.Ino) error {
		if inside[by] && !slices.Contains(files[start], by) {
			files[start] = append(files[start], by)
		}
		return s.ctx.Err()
	})
	if err != nil {
		return err
	}
	for _, x := range s.plan.extents {
		if l := files[x.at]; l != nil {
			s.plan.Shared = append(s.plan.Shared, SharedExtent{x.at, uint64(x.len), l})
			n := int64(x.len) * int64(s.sb.BlockSize)
			s.plan.Totals.SharedBytes += n
			s.plan.Totals.NeedBytes += n
		}
	}
	return nil
}

// unshareBatch is how much one step of Unshare copies, in bytes: it passes
// through memory and the log.
const unshareBatch = 32 << 20

// Unshare gives the trees of a plan copies of what they share with others, in
// steps that are each whole: after a crash Open ends the one under way. The
// plan is void then, and to be made anew. newLog makes the log of a step, which
// is given to done; with a nil newLog home is one that is dropped on failure.
func Unshare(ctx context.Context, home store.Store, p *Plan, newLog func() (store.Store, error), done func(log store.Store, err error) error) error {
	bs := int64(p.blockSize)
	for list := p.Shared; len(list) > 0; {
		n, size := 0, int64(0)
		for n < len(list) && (n == 0 || size+int64(list[n].Len)*bs <= unshareBatch) {
			size += int64(list[n].Len) * bs
			n++
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := unshareSome(home, list[:n], newLog, done); err != nil {
			return fmt.Errorf("unshare extents: %w", err)
		}
		list = list[n:]
	}
	return nil
}

func unshareSome(home store.Store, list []SharedExtent, newLog func() (store.Store, error), done func(store.Store, error) error) error {
	change := func(fs image.FS) error {
		sharing, ok := fs.(image.Sharing)
		if !ok {
			return fmt.Errorf("%w: shared extents", image.ErrUnsupported)
		}
		for _, x := range list {
			if _, err := sharing.Unshare(x.Start, x.Files); err != nil {
				return fmt.Errorf("block %d: %w", x.Start, err)
			}
		}
		return nil
	}
	if newLog == nil {
		tx := txn.Unlogged(home)
		fs, err := probe.Open(tx, probe.Options{Write: true})
		if err != nil {
			return err
		}
		if err := stageEdit(fs, change); err != nil {
			return err
		}
		return tx.Commit(nil)
	}
	log, err := newLog()
	if err != nil {
		return err
	}
	return done(log, editWith(home, log, txn.Header{Kind: kindEdit, Plaintext: true}, change))
}
