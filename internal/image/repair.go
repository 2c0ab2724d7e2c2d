package image

// Repairer is what a filesystem package has beside FS that can put encryption
// metadata right by itself.
type Repairer interface {
	// Repair stages every repair that can be made without a doubt, and calls
	// done for each. fits is asked whether an extent of a file, with a context
	// that was found with another reference to the same blocks, decrypts as it
	// should; it is false where there is no key.
	Repair(fits func(ino Ino, x Extent) (bool, error), done func(Finding)) error
}
