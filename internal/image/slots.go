package image

// Slots is what a filesystem package has beside FS if inodes lie in tables,
// each in a slot of its own.
type Slots interface {
	// Slots returns a function that tells which inode, used or free, has the
	// byte at off of the store in its slot; 0 if none has.
	Slots() (at func(off int64) Ino, err error)
}
