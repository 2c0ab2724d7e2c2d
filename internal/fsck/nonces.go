package fsck

import (
	"cmp"
	"encoding/binary"
	"slices"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// nonceOf is a nonce as two numbers and the inode that has it.
type nonceOf struct {
	high, low uint64
	ino       image.Ino
}

func newNonceOf(n policy.Nonce, ino image.Ino) nonceOf {
	return nonceOf{binary.BigEndian.Uint64(n[:8]), binary.BigEndian.Uint64(n[8:]), ino}
}

func (n nonceOf) compare(o nonceOf) int {
	if n.high != o.high { // nearly always
		return cmp.Compare(n.high, o.high)
	}
	return cmp.Or(cmp.Compare(n.low, o.low), cmp.Compare(n.ino, o.ino))
}

// nonces holds all nonces of an image by their first byte: they are random.
type nonces [256][]nonceOf

func (n *nonces) add(all []nonceOf) {
	for _, x := range all {
		n[x.high>>56] = append(n[x.high>>56], x)
	}
}

// reuse is an inode whose nonce an earlier one has.
type reuse struct{ ino, first image.Ino }

// reused returns the inodes whose nonce is that of one with a smaller number,
// in ascending order. It sorts with several workers, and empties n.
func (n *nonces) reused(workers int) []reuse {
	var all []reuse
	find := func(_ int, i uint64) []reuse { return reusedIn(n[i]) }
	// Collecting has no errors.
	_ = inOrder(workers, upTo(uint64(len(n))), find, func(r []reuse) error {
		all = append(all, r...)
		return nil
	})
	*n = nonces{}
	slices.SortFunc(all, func(a, b reuse) int { return cmp.Compare(a.ino, b.ino) })
	return all
}

func reusedIn(part []nonceOf) []reuse {
	slices.SortFunc(part, nonceOf.compare)
	var found []reuse
	first := 0
	for i := range part {
		if part[i].high != part[first].high || part[i].low != part[first].low {
			first = i
		}
		if i > first {
			found = append(found, reuse{part[i].ino, part[first].ino})
		}
	}
	return found
}
