package f2fs

import (
	"sync"

	"fsenc/internal/image"
)

// recentInodes are inodes that were read and verified a moment ago and are not
// being edited: whoever looks at an inode asks several questions about it. It
// is safe for concurrent use.
type recentInodes struct {
	mu   sync.Mutex
	last inode // the one that was asked for last, its number 0 if it is gone
	m    map[image.Ino]inode
}

// maxRecent bounds them; each takes a block.
const maxRecent = 64

// get returns a view of its own of an inode, nil if it is not there.
func (r *recentInodes) get(ino image.Ino) *inode {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last.ino != ino {
		in, ok := r.m[ino]
		if !ok {
			return nil
		}
		r.last = in
	}
	in := r.last
	return &in
}

func (r *recentInodes) add(in *inode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = make(map[image.Ino]inode, maxRecent)
	}
	if len(r.m) >= maxRecent {
		clear(r.m)
	}
	r.last, r.m[in.ino] = *in, *in
}

// forget is for an inode that is going to change.
func (r *recentInodes) forget(ino image.Ino) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last.ino == ino {
		r.last = inode{}
	}
	delete(r.m, ino)
}
