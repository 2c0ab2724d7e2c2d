package f2fs

import (
	"sync"

	"fsenc/internal/image"
)

// recentInodes are inodes that were read and verified a moment ago and are not
// being edited: whoever looks at an inode asks several questions about it. It
// is safe for concurrent use.
type recentInodes struct {
	mu sync.Mutex
	m  map[image.Ino]inode
}

// maxRecent bounds them; each takes a block.
const maxRecent = 64

func (r *recentInodes) get(ino image.Ino) *inode {
	r.mu.Lock()
	defer r.mu.Unlock()
	if in, ok := r.m[ino]; ok {
		return &in
	}
	return nil
}

func (r *recentInodes) add(in *inode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil || len(r.m) >= maxRecent {
		r.m = make(map[image.Ino]inode, maxRecent)
	}
	r.m[in.ino] = *in
}

// forget is for an inode that is going to change.
func (r *recentInodes) forget(ino image.Ino) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.m, ino)
}
