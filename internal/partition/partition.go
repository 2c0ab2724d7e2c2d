// Package partition finds the filesystem inside a disk image: partitions of
// a GPT or an MBR, and the layers that something else has to remove first.
//
// Offsets and sizes are bytes from the start of the disk. All integers of
// both tables are little-endian; they count logical sectors, of 512 bytes in
// an MBR and of 512 or 4096 in a GPT. GPT is as in UEFI 2.10, chapter 5; the
// MBR follows what Linux accepts, logical partitions included.
package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"fsenc/internal/store"
)

var le = binary.LittleEndian

// Errors that callers branch on.
var (
	// ErrNoTable: the disk has neither a GPT nor an MBR.
	ErrNoTable = errors.New("no partition table")
	// ErrNotFound: no partition, or more than one, answers to the name.
	ErrNotFound = errors.New("no such partition")
	// ErrDamaged: a partition table whose checksums or ranges are wrong.
	ErrDamaged = errors.New("damaged partition table")
)

// Partition is one partition of a disk.
type Partition struct {
	Number int    // as in /dev/sda5
	Label  string // GPT only
	Type   string // GUID of a GPT, two hex digits of an MBR
	Off    int64  // bytes from the start of the disk
	Size   int64  // bytes
}

// String returns what a user can choose by: "2 (userdata)".
func (p Partition) String() string {
	if p.Label == "" {
		return strconv.Itoa(p.Number)
	}
	return fmt.Sprintf("%d (%s)", p.Number, p.Label)
}

// Read returns the partitions of a disk in order of their numbers. It fails
// with ErrNoTable or ErrDamaged.
func Read(s store.Store) ([]Partition, error) {
	sector, err := readAt(s, 0, mbrSize)
	if errors.Is(err, io.EOF) {
		return nil, ErrNoTable
	}
	if err != nil {
		return nil, err
	}
	boot := mbr(sector)
	if boot.valid() && !boot.protective() {
		return readMBR(s, boot)
	}
	parts, err := readGPT(s)
	if errors.Is(err, ErrNoTable) && boot.protective() {
		return nil, fmt.Errorf("%w: the MBR announces a GPT that is not there", ErrDamaged)
	}
	return parts, err
}

// Find returns the partition with a number or, failing that, a label.
func Find(s store.Store, spec string) (Partition, error) {
	parts, err := Read(s)
	if err != nil {
		return Partition{}, err
	}
	var named []Partition
	for _, p := range parts {
		if strconv.Itoa(p.Number) == spec {
			return p, nil
		}
		if p.Label != "" && p.Label == spec {
			named = append(named, p)
		}
	}
	switch len(named) {
	case 1:
		return named[0], nil
	case 0:
		return Partition{}, fmt.Errorf("%w: %q; there are %s", ErrNotFound, spec, list(parts))
	}
	return Partition{}, fmt.Errorf("%w: several are called %q: %s", ErrNotFound, spec, list(named))
}

// list names partitions for a message.
func list(parts []Partition) string {
	if len(parts) == 0 {
		return "none"
	}
	var words []string
	for _, p := range parts {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

// checked returns a partition of count sectors from lba, or why it cannot be.
func checked(s store.Store, p Partition, lba, count, sector uint64) (Partition, error) {
	end := uint64(s.Size()) / sector
	if lba > end || count > end-lba {
		return p, fmt.Errorf("%w: partition %s ends at sector %d, the image at %d", ErrDamaged, p, lba+count, end)
	}
	p.Off, p.Size = int64(lba*sector), int64(count*sector)
	return p, nil
}

// readAt reads n bytes at off, or fails with io.EOF where the disk ends.
func readAt(s store.Store, off, n int64) ([]byte, error) {
	if off < 0 || off > s.Size()-n {
		return nil, io.EOF
	}
	p := make([]byte, n)
	if _, err := s.ReadAt(p, off); err != nil && err != io.EOF {
		return nil, err
	}
	return p, nil
}
