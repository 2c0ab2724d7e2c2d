package btrfs

import (
	"errors"
	"fmt"
	"sync/atomic"

	"fsenc/internal/image"
)

// tree is where a tree begins.
type tree struct {
	id    uint64
	addr  uint64
	level int
	gen   uint64

	lastSnapshot uint64 // of a file tree: older blocks may be shared
	rootKey      key    // of its root item; obj is 0 for the root and chunk trees
	readonly     bool
	changed      bool // in the transaction
	recent       atomic.Pointer[recentLeaf]
	grown        int64 // bytes of blocks that it has more since its root item was stored
}

// recentLeaf is the leaf that was searched or changed last: what is not below its
// first key, but below end, is in it or nowhere.
type recentLeaf struct {
	*block
	end key
}

// lastKey is behind all keys.
var lastKey = key{^uint64(0), ^uint8(0), ^uint64(0)}

// visited notes the leaf that a search came to.
func (t *tree) visited(b *block, end key) {
	if r := t.recent.Load(); r == nil || r.block != b || r.end != end {
		t.recent.Store(&recentLeaf{b, end})
	}
}

// path is the way from the root to an item: path[0] is the leaf.
type path struct {
	t    *tree
	node [maxLevel]*block
	slot [maxLevel]int
	top  int // level of the root
}

func (p *path) leaf() *block { return p.node[0] }

// valid reports whether the path is at an item.
func (p *path) valid() bool { return p.node[0] != nil && p.slot[0] < p.node[0].items() }

func (p *path) key() key     { return p.leaf().key(p.slot[0]) }
func (p *path) data() []byte { return p.leaf().data(p.slot[0]) }

// search goes to the first item whose key is not below k; found tells whether it
// is k. The path may be behind the last item of a leaf: settle moves on.
func (fs *FS) search(t *tree, k key) (p *path, found bool, err error) {
	p = &path{t: t, top: t.level}
	end := lastKey
	b, err := fs.readBlock(t.addr, expect{tree: t.id, level: t.level, gen: t.gen})
	for err == nil {
		p.node[b.level()] = b
		i, hit := b.find(k)
		if b.level() == 0 {
			p.slot[0] = i
			t.visited(b, end)
			return p, hit, nil
		}
		if !hit && i > 0 {
			i--
		}
		p.slot[b.level()], end = i, b.end(i, end)
		b, err = fs.descend(t, b, i)
	}
	return nil, false, err
}

// descend reads child i of a node.
func (fs *FS) descend(t *tree, b *block, i int) (*block, error) {
	return fs.readBlock(b.below(i, t.id))
}

// spans returns the leaf that was searched last if all items from low to high are
// in it: as long as nothing else is searched for or changed, that is where they are.
func (t *tree) spans(low, high key) *block {
	r := t.recent.Load()
	if r == nil || r.items() == 0 || low.less(r.key(0)) || !high.less(r.end) {
		return nil
	}
	return r.block
}

// own finds a key by spans, if the leaf is of the transaction: what changes the leaf
// but for its first key, and has room in it, needs no path to it. b is nil if it
// is not so.
func (t *tree) own(k key) (b *block, i int, found bool) {
	if b = t.spans(k, k); b == nil || !b.dirty {
		return nil, 0, false
	}
	i, found = b.find(k)
	return b, i, found
}

// settle moves a path that is behind the last item of its leaf to the next leaf.
func (fs *FS) settle(p *path) error {
	if p.valid() {
		return nil
	}
	for l := 1; l <= p.top; l++ {
		if p.slot[l]+1 >= p.node[l].items() {
			continue
		}
		p.slot[l]++
		for ; l > 0; l-- {
			b, err := fs.descend(p.t, p.node[l], p.slot[l])
			if err != nil {
				return err
			}
			p.node[l-1], p.slot[l-1] = b, 0
		}
		return nil
	}
	return nil
}

// each calls f for each item from key from on as long as f wants more.
func (fs *FS) each(t *tree, from key, f func(k key, data []byte) (more bool, err error)) error {
	if b := t.spans(from, from); b != nil {
		for i, _ := b.find(from); i < b.items(); i++ {
			k := b.key(i)
			if more, err := f(k, b.data(i)); err != nil || !more {
				return err
			}
			from = k.next()
		}
	}
	p, _, err := fs.search(t, from)
	if err != nil {
		return err
	}
	for {
		if err := fs.settle(p); err != nil {
			return err
		}
		if !p.valid() {
			return nil
		}
		more, err := f(p.key(), p.data())
		if err != nil || !more {
			return err
		}
		p.slot[0]++
	}
}

// eachOf calls f for each item of an object with one type.
func (fs *FS) eachOf(t *tree, obj uint64, kind uint8, f func(off uint64, data []byte) error) error {
	return fs.each(t, key{obj, kind, 0}, func(k key, data []byte) (bool, error) {
		if k.obj != obj || k.kind != kind {
			return false, nil
		}
		return true, f(k.off, data)
	})
}

// item returns the body of one item, nil if it is not there.
func (fs *FS) item(t *tree, k key) ([]byte, error) {
	if b := t.spans(k, k); b != nil {
		if i, found := b.find(k); found {
			return b.data(i), nil
		}
		return nil, nil
	}
	p, found, err := fs.search(t, k)
	if err != nil || !found {
		return nil, err
	}
	return p.data(), nil
}

// floor goes to the item with the greatest key not above k; ok is false if there
// is none.
func (fs *FS) floor(t *tree, k key) (p *path, ok bool, err error) {
	p, found, err := fs.search(t, k)
	if err != nil {
		return nil, false, err
	}
	if !found {
		if p.slot[0] == 0 {
			if ok, err := fs.stepBack(p); err != nil || !ok {
				return p, false, err
			}
		}
		p.slot[0]--
	}
	return p, true, nil
}

// last returns the item with the greatest key not above k; ok is false if there
// is none.
func (fs *FS) last(t *tree, k key) (got key, data []byte, ok bool, err error) {
	if b := t.spans(k, k); b != nil {
		i, found := b.find(k)
		if !found {
			i-- // the first is not above k
		}
		return b.key(i), b.data(i), true, nil
	}
	p, ok, err := fs.floor(t, k)
	if err != nil || !ok {
		return got, nil, false, err
	}
	return p.key(), p.data(), true, nil
}

// stepBack moves a path that is at the first slot behind the last of the leaf
// before.
func (fs *FS) stepBack(p *path) (bool, error) {
	for l := 1; l <= p.top; l++ {
		if p.slot[l] == 0 {
			continue
		}
		p.slot[l]--
		for ; l > 0; l-- {
			b, err := fs.descend(p.t, p.node[l], p.slot[l])
			if err != nil {
				return false, err
			}
			p.node[l-1], p.slot[l-1] = b, b.items()
			if l > 1 {
				p.slot[l-1]--
			}
		}
		return p.node[0].items() > 0, nil
	}
	return false, nil
}

// errStop ends a walk early.
var errStop = errors.New("stop")

// itemError tells of damage in an item.
func (fs *FS) itemError(t *tree, k key, format string, a ...any) error {
	ino := image.Ino(0)
	if t.isFile() {
		ino = inoOf(t.id, k.obj)
	}
	return &image.CorruptError{What: fmt.Sprintf("item %v of tree %d", k, int64(t.id)), Ino: ino, Why: fmt.Sprintf(format, a...)}
}

// isFile reports whether the tree is a subvolume.
func (t *tree) isFile() bool { return isFileTree(t.id) }

// isFileTree reports whether a number is that of a subvolume, whose blocks other
// subvolumes may share.
func isFileTree(id uint64) bool { return id == treeFS || id >= firstFree && id <= lastFree }

func isNotExist(err error) bool { return errors.Is(err, image.ErrNotExist) }
