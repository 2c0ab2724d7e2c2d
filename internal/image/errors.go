package image

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that callers branch on.
var (
	// ErrUnknown: not a filesystem that fsenc knows.
	ErrUnknown = errors.New("not a known filesystem")
	// ErrCorrupt: a structure is damaged; a *CorruptError tells which.
	ErrCorrupt = errors.New("damaged")
	// ErrUnsupported: a feature or layout that fsenc does not work with.
	ErrUnsupported = errors.New("not supported")
	// ErrNeedsRecovery: a journal has to be replayed, or orphans processed.
	ErrNeedsRecovery = errors.New("needs recovery")
	// ErrInUse: mounted, locked, or marked as such by its own means.
	ErrInUse = errors.New("in use")
	// ErrUnfinished: a conversion was interrupted.
	ErrUnfinished = errors.New("unfinished conversion")
	// ErrNotExist: no such inode or name.
	ErrNotExist = errors.New("no such file or directory")
	// ErrExist: the name is taken.
	ErrExist = errors.New("file exists")
	// ErrNoSpace: not enough free blocks or inodes.
	ErrNoSpace = errors.New("no space left in the image")
	// ErrNotDir, ErrNotEmpty: as the errno of the same name.
	ErrNotDir   = errors.New("not a directory")
	ErrNotEmpty = errors.New("directory not empty")
)

// CorruptError tells which structure is damaged and where. It wraps ErrCorrupt.
type CorruptError struct {
	What string // the structure: "extent header"
	Ino  Ino    // 0 if the structure belongs to no inode
	Pblk Pblk   // 0 if unknown or in the inode
	Why  string // what was found, what was expected
}

func (e *CorruptError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "corrupt %s: ", e.What)
	if e.Ino != 0 {
		fmt.Fprintf(&b, "inode %d", e.Ino)
		if e.Pblk != 0 {
			b.WriteString(", ")
		}
	}
	if e.Pblk != 0 {
		fmt.Fprintf(&b, "block %d", e.Pblk)
	}
	if e.Ino != 0 || e.Pblk != 0 {
		b.WriteString(": ")
	}
	b.WriteString(e.Why)
	return b.String()
}

func (e *CorruptError) Unwrap() error { return ErrCorrupt }
