package image

// Severity says how bad a finding is.
type Severity uint8

// The severities, in ascending order.
const (
	Info    Severity = iota // worth knowing, nothing to be done
	Warning                 // works, but is not as it should be
	Error                   // a kernel refuses it, or secrets or data are at risk
)

// String returns the word for messages and JSON.
func (s Severity) String() string {
	switch s {
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return "info"
}

// Finding is one thing that a check found.
type Finding struct {
	ID       string // stable, for scripts: "context-missing"
	Severity Severity
	Ino      Ino  // 0 if it belongs to no inode
	Pblk     Pblk // 0 if unknown or in the inode
	Text     string
	Advice   string // what to do, "" if that is plain
}

// Checker is what a filesystem package has beside FS to check facts of its
// layout that FS does not show.
type Checker interface {
	// CheckVolume reports on the superblock, the journal and whatever else is
	// there once.
	CheckVolume(report func(Finding))

	// CheckInode reports on the layout of one used inode.
	CheckInode(ino Ino, report func(Finding))
}

// Ranged is what a filesystem has beside FS whose inode numbers are dense, from
// 1 to Super.Inodes.
type Ranged interface {
	// InodesIn is FS.Inodes for the numbers from first up to but not including
	// end. It may be called for several ranges at a time.
	InodesIn(first, end Ino, f func(Attr, error) error) error
}

// Scrubber is what a filesystem package has beside FS where contents have
// checksums.
type Scrubber interface {
	// CheckData compares all copies of all contents with their checksums. It
	// calls goOn now and then, and ends with its first error.
	CheckData(goOn func() error, report func(Finding)) error
}

// VerityLocator is what a filesystem has beside FS that keeps fs-verity's
// descriptor in the file, where an attribute tells.
type VerityLocator interface {
	// VerityDescriptor returns the first byte of the descriptor, counted from the
	// beginning of the file, and its size.
	VerityDescriptor(ino Ino) (at, size uint64, err error)
}
