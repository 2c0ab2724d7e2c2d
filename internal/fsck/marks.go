package fsck

import (
	"iter"
	"sync"
	"sync/atomic"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// mark is what the walk has to know of an inode.
type mark struct {
	policy    uint32 // noContext, badContext or the number of its policy
	kind      image.FileType
	used      bool
	encrypted bool // the inode's flag
}

// special reports whether the inode is marked encrypted or has a context.
func (m mark) special() bool { return m.encrypted || m.policy != noContext }

// The first values of mark.policy; real policies have numbers from there.
const (
	noContext uint32 = iota
	badContext
	firstPolicy
)

// pageInodes is how many inodes share a page of marks. An image with few inodes
// far from one another must not take much more memory than they take of it.
const pageInodes = 64

// marks are kept in pages, by inode number / pageInodes.
type marks map[uint64]*markPage

type markPage struct {
	marks [pageInodes]mark
	named atomic.Uint64 // a bit for each inode: an entry was met; workers set it
}

func (m marks) set(ino image.Ino, v mark) {
	p := m[uint64(ino)/pageInodes]
	if p == nil {
		p = new(markPage)
		m[uint64(ino)/pageInodes] = p
	}
	p.marks[ino%pageInodes] = v
}

// get is the zero mark for an inode that is not in use.
func (m marks) get(ino image.Ino) mark {
	if p := m[uint64(ino)/pageInodes]; p != nil {
		return p.marks[ino%pageInodes]
	}
	return mark{}
}

// met notes that an entry leads to the inode.
func (m marks) met(ino image.Ino) {
	p := m[uint64(ino)/pageInodes]
	if p == nil {
		return
	}
	// Most have one name: a look first would only cost.
	p.named.Or(1 << (ino % pageInodes))
}

// all yields each inode in use with its mark, in no order.
func (m marks) all() iter.Seq2[image.Ino, mark] {
	return func(yield func(image.Ino, mark) bool) {
		for n, p := range m {
			for i, v := range p.marks {
				if v.used && !yield(image.Ino(n*pageInodes)+image.Ino(i), v) {
					return
				}
			}
		}
	}
}

// isNamed reports whether an entry was met that leads to the inode.
func (m marks) isNamed(ino image.Ino) bool {
	p := m[uint64(ino)/pageInodes]
	return p != nil && p.named.Load()>>(ino%pageInodes)&1 == 1
}

// policyNumbers give each policy a number.
type policyNumbers struct {
	mu      sync.Mutex
	numbers map[policy.Policy]uint32
}

func (n *policyNumbers) of(p policy.Policy) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.numbers == nil {
		n.numbers = make(map[policy.Policy]uint32)
	}
	num, ok := n.numbers[p]
	if !ok {
		num = firstPolicy + uint32(len(n.numbers))
		n.numbers[p] = num
	}
	return num
}
