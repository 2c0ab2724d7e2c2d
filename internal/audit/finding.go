package audit

import "fsenc/internal/image"

// Finding is one thing that was found, and where.
type Finding struct {
	image.Finding
	Path   string // of the inode, "" if it has none
	Region Region // of a match, "" otherwise
	Match  Match  // of a match
}

// Region is what a place in the image is used for.
type Region string

// The regions.
const (
	FreeBlock  Region = "free block"
	FreeSlot   Region = "free inode slot"
	Journal    Region = "journal"
	Unwritten  Region = "unwritten block" // allocated to a file, reads as zeros
	FileTail   Region = "file tail"       // behind the end, in the last block
	Directory  Region = "directory"       // a block of one
	InodeSlot  Region = "inode"           // the slot of one in use
	File       Region = "file"            // contents
	SystemFile Region = "system file"     // of the filesystem itself
	Metadata   Region = "metadata"        // the rest: attributes, mappings, superblocks
)

// Kind is what of the source a match is.
type Kind string

// The kinds.
const (
	Contents Kind = "contents" // sectors, or the beginning of a short file
	Name     Kind = "name"
	Target   Kind = "target" // of a symlink
)

// Match is a piece of the source that was found in the image.
type Match struct {
	Kind   Kind
	Source string // path below the source
	Text   []byte // the name or target; nil for sectors
	Bytes  int64  // how much matches
}

// Result counts what was reported.
type Result struct {
	Errors, Warnings, Infos int
}

func (r *Result) count(s image.Severity) {
	switch s {
	case image.Error:
		r.Errors++
	case image.Warning:
		r.Warnings++
	default:
		r.Infos++
	}
}
