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
	last *recentInode // the one that was asked for last
	m    map[image.Ino]*recentInode
	free []rawNode // blocks of inodes that are gone, and that nobody refers to
}

// recentInode is an inode that is shared by all who ask for it.
type recentInode struct {
	inode
	users int  // that glance at it
	kept  bool // somebody has it for as long as he likes
	gone  bool // it is no recent one any more
}

// maxRecent bounds them; each takes a block.
const maxRecent = 64

// get returns an inode for keeping, nil if it is not there.
func (r *recentInodes) get(ino image.Ino) *inode {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.find(ino)
	if in == nil {
		return nil
	}
	in.kept = true
	return &in.inode
}

// enter returns an inode that the caller leaves soon, nil if it is not there.
func (r *recentInodes) enter(ino image.Ino) *recentInode {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.find(ino)
	if in != nil {
		in.users++
	}
	return in
}

// leave ends what enter or add began.
func (r *recentInodes) leave(in *recentInode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	in.users--
	r.reclaim(in)
}

func (r *recentInodes) find(ino image.Ino) *recentInode {
	if r.last == nil || r.last.ino != ino {
		in := r.m[ino]
		if in == nil {
			return nil
		}
		r.last = in
	}
	return r.last
}

// add takes an inode that was read, for keeping or for one user.
func (r *recentInodes) add(in *recentInode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = make(map[image.Ino]*recentInode, maxRecent)
	}
	if len(r.m) >= maxRecent {
		for _, old := range r.m {
			old.gone = true
			r.reclaim(old)
		}
		clear(r.m)
	}
	if old := r.m[in.ino]; old != nil { // two have read it at a time
		old.gone = true
		r.reclaim(old)
	}
	r.last, r.m[in.ino] = in, in
}

// forget is for an inode that is going to change, in the block that is here.
func (r *recentInodes) forget(ino image.Ino) {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.m[ino]
	if in == nil {
		return
	}
	in.gone, in.kept = true, true
	if r.last == in {
		r.last = nil
	}
	delete(r.m, ino)
}

// reclaim takes the block of an inode, if nobody refers to it, with the lock held.
func (r *recentInodes) reclaim(in *recentInode) {
	if in.gone && !in.kept && in.users == 0 {
		r.free = append(r.free, in.raw)
		in.raw = nil
	}
}

// giveBack returns memory of a block that nobody refers to any more.
func (r *recentInodes) giveBack(b rawNode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free = append(r.free, b)
}

// block is memory for a block to be read into, nil if there is none.
func (r *recentInodes) block() rawNode {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.free) - 1
	if n < 0 {
		return nil
	}
	b := r.free[n]
	r.free = r.free[:n]
	return b
}
