package convert

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

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

// placedExtent is an extent with the place of a file that has it.
type placedExtent struct {
	diskItem
	place *place
}

// maxReferers is how many files outside of the trees a plan names for a file.
const maxReferers = 4

// shareable lists the extents of the trees by where they start, also those that
// have nothing written: they get contexts, too, which all who refer to an
// extent have to have.
func (s *scanner) shareable() []placedExtent {
	if len(s.idle) == 0 {
		return s.found
	}
	all := slices.Clone(s.found)
	for at, x := range s.idle {
		if !s.starts.has(at, 1) {
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(a, b placedExtent) int { return cmp.Compare(a.at, b.at) })
	return all
}

// checkShared finds the extents that others refer to. They are refused, or
// listed to be unshared before the plan is made anew.
func (s *scanner) checkShared() error {
	sharing, ok := s.fs.(image.Sharing)
	if !ok || s.reading {
		return nil
	}
	all := s.shareable()
	if len(all) == 0 {
		return nil
	}
	inside := s.members()
	known := func(first, last image.Ino) bool {
		return inside.next(uint64(first), uint64(last)+1, false) > uint64(last)
	}
	outside := make(map[image.Pblk][]image.Ino)
	want := func(start image.Pblk) bool { return s.starts.has(start, 1) || s.idle[start].place != nil }
	err := sharing.Referers(known, want, func(start image.Pblk, by image.Ino) error {
		if l := outside[start]; !inside.has(image.Pblk(by), 1) && !slices.Contains(l, by) {
			outside[start] = append(l, by)
		}
		return s.ctx.Err()
	})
	if err != nil || len(outside) == 0 {
		return err
	}
	if s.opt.Shared == RefuseShared {
		return s.refuseShared(sharing, all, outside)
	}
	return s.listShared(sharing, all, outside, inside)
}

// members are the inodes of the trees.
func (s *scanner) members() claims {
	all := make(claims)
	for _, list := range [][]placed{s.files, s.links} {
		for i := range list {
			all.add(image.Pblk(list[i].ino), 1)
		}
	}
	for ino := range s.dirs {
		all.add(image.Pblk(ino), 1)
	}
	return all
}

// refuseShared names for each file of the trees who shares extents with it.
func (s *scanner) refuseShared(sharing image.Sharing, all []placedExtent, outside map[image.Pblk][]image.Ino) error {
	s.refused.Shared = true
	type others struct {
		extents int
		by      []image.Ino
	}
	files := make(map[image.Ino]*others)
	for _, x := range all {
		if outside[x.at] == nil {
			continue
		}
		o := files[x.ino]
		if o == nil {
			o = &others{}
			files[x.ino] = o
		}
		o.extents++
		o.by = append(o.by, outside[x.at]...)
	}
	for _, x := range all {
		o := files[x.ino]
		if o == nil {
			continue
		}
		delete(files, x.ino)
		slices.Sort(o.by)
		o.by = slices.Compact(o.by)
		var names []string
		for _, ino := range o.by[:min(len(o.by), maxReferers)] {
			where, err := sharing.Where(ino)
			if err != nil {
				return err
			}
			names = append(names, where)
		}
		more := ""
		if n := len(o.by) - len(names); n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		s.refuse(x.place, x.ino, "", "shares %d of its extents, the first at block %d, with files outside of the tree: %s%s", o.extents, x.at, strings.Join(names, ", "), more)
	}
	return nil
}

func (s *scanner) listShared(sharing image.Sharing, all []placedExtent, outside map[image.Pblk][]image.Ino, inside claims) error {
	files := make(map[image.Pblk][]image.Ino, len(outside))
	want := func(start image.Pblk) bool { return outside[start] != nil }
	err := sharing.Referers(nil, want, func(start image.Pblk, by image.Ino) error {
		if inside.has(image.Pblk(by), 1) && !slices.Contains(files[start], by) {
			files[start] = append(files[start], by)
		}
		return s.ctx.Err()
	})
	if err != nil {
		return err
	}
	for _, x := range all {
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
