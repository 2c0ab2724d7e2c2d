package image

// Owning is what a filesystem has beside FS if each block of a file belongs to
// one inode only, and nothing in it counts the owners.
type Owning interface {
	// Owned calls f for each run of blocks that an inode holds: contents,
	// written or not, mapping and attributes. shared tells that other inodes
	// may hold the run too. Of a damaged inode f gets what can be told; the
	// error is one of reading.
	Owned(ino Ino, f func(at Pblk, n uint64, shared bool)) error
}

// FreeCounting is what a filesystem has beside FS if Super.FreeBytes is just
// what somebody wrote there.
type FreeCounting interface {
	// CountFree counts the bytes that can be allocated, by what allocations
	// will go by, and stops when there are enough.
	CountFree(enough int64) (int64, error)
}
