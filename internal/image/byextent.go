package image

// ByExtent is what a filesystem has beside FS whose contents are encrypted
// extent by extent, each under a context of its own that all files which refer
// to the extent keep a copy of (btrfs).
type ByExtent interface {
	// DiskExtents calls f for each extent that a regular file refers to, whole
	// as it was allocated, once for each.
	DiskExtents(ino Ino, f func(DiskExtent) error) error

	// SetExtents marks all extents of a regular file as encrypted, each with
	// the context that pick returns for the place where it starts; with a nil
	// pick it removes the marks and the contexts. Contents stay as they are.
	SetExtents(ino Ino, pick func(start Pblk) []byte) error

	// SetSums stages the checksums of the blocks from at on, which will hold
	// p, where they have checksums.
	SetSums(p []byte, at Pblk) error
}

// DiskExtent is a run of blocks as it was allocated.
type DiskExtent struct {
	Start     Pblk
	Len       uint64 // blocks
	Context   string // as the file has it stored, "" if there is none
	Unwritten bool   // reads as zeros, and has no checksums
	Idle      bool   // what the file maps of it was not written, or not all of that
	Refs      uint64 // references that the filesystem counts, from all files
}

// Sharing is what a filesystem has beside FS in which several files, also of
// different snapshots, refer to one extent.
type Sharing interface {
	// Referers calls f for each pair of an extent that want asks for and a
	// file that refers to it, in any subvolume. It reads all metadata once, but
	// may leave out what has only inodes from first to last, if known tells that
	// the caller knows all of those; known may be nil.
	Referers(known func(first, last Ino) bool, want func(start Pblk) bool, f func(start Pblk, by Ino) error) error

	// Unshare gives the files a copy of the extent of their own, whole as it
	// was allocated, with the same contents and checksums, and drops their
	// references to the old one. It returns where the copy starts.
	Unshare(start Pblk, files []Ino) (Pblk, error)

	// Twins returns the inodes with the same number in the other subvolumes of
	// the family that snapshots make, in ascending order.
	Twins(Ino) ([]Ino, error)

	// SameFile reports whether two inodes are one file in two subvolumes of a
	// family: they may have one nonce.
	SameFile(a, b Ino) (bool, error)

	// Where tells people which file an inode is: a path by its first name, from
	// the root of all subvolumes on, as far as its names are plain.
	Where(Ino) (string, error)

	// ReadOnly reports whether the inode's subvolume is marked read-only.
	ReadOnly(Ino) (bool, error)
}
