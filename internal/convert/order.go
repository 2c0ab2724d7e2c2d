package convert

import (
	"cmp"
	"slices"

	"fsenc/internal/image"
)

// placed is a file with the place of its first block, or a symlink, and the
// directory that it was met in.
type placed struct {
	item
	at     image.Pblk
	within image.Ino // 0 if it may have names in others
}

func (s *scanner) placed(a image.Attr, policyIndex uint8) placed {
	p := placed{item: item{ino: a.Ino, kind: a.Type, policy: policyIndex}, within: s.within}
	if a.Links > 1 {
		p.within = 0
	}
	return p
}

// ordered puts what was found in an order in which every inode follows what lies
// below it: files as they lie in the image, symlinks, and then the directories,
// children before parents. Where inodes hold their names each is written for its
// context and for its name, so there they come with their directory: one
// commit will mostly do for both.
func (s *scanner) ordered() []item {
	items := make([]item, 0, len(s.files)+len(s.links)+len(s.folded))
	for _, list := range [][]placed{s.files, s.links} {
		if !s.sb.NamedInodes {
			for i := range list {
				list[i].within = 0
			}
		}
		slices.SortFunc(list, func(a, b placed) int {
			return cmp.Or(cmp.Compare(a.within, b.within), cmp.Compare(a.at, b.at), cmp.Compare(a.ino, b.ino))
		})
	}
	add := func(dir image.Ino) {
		for _, list := range [][]placed{s.files, s.links} {
			first, _ := slices.BinarySearchFunc(list, dir, func(p placed, dir image.Ino) int { return cmp.Compare(p.within, dir) })
			for _, p := range list[first:] {
				if p.within != dir {
					break
				}
				items = append(items, p.item)
			}
		}
	}
	add(0)
	for _, d := range s.folded {
		add(d.ino)
		items = append(items, d)
	}
	s.files, s.links, s.folded = nil, nil, nil
	return items
}
