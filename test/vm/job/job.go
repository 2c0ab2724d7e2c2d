// Package job is what the test machine is asked to do, and what it answers.
//
// The job lies in the initial file system of the machine as JSON. The answer
// is written to the last disk: 8 bytes little-endian length, then JSON.
package job

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/linux"
)

// Path is where the machine finds its job.
const Path = "/job.json"

// Modules is where the machine finds the modules to load, in order, a file
// name a line.
const Modules = "/modules/order"

// Job is the whole work of one boot.
type Job struct {
	Disks  int // images; the disk after them takes the answer
	Mounts []Mount
}

// Mount is one time that a disk is mounted.
type Mount struct {
	Disk     int // the first is 0
	Type     string
	Options  string
	ReadOnly bool
	Keys     [][]byte // raw master keys to add before anything else
	KeysV1   [][]byte // the same for v1 policies
	Fill     []Fill
	Before   bool     // record the tree before anything is added
	Add      []string // directories that linux.Add writes into
	Walk     bool     // record the tree
	// Crash leaves the filesystem in a state that needs recovery.
	Crash linux.Crash
	// Attributes are values for files of the filesystem's directory in sysfs.
	Attributes map[string]string
	// Refused says that the mount is to fail: the result holds the error.
	Refused bool
}

// Fill asks for a tree of linux.Fill.
type Fill struct {
	Dir  string // relative to the root of the disk
	Tree linux.Tree
}

// Answer has one result for each mount, as far as the machine got.
type Answer struct {
	Kernel  string // uname -r
	Results []Result
}

// Result is what became of a mount.
type Result struct {
	Err         string
	Identifiers [][16]byte // of Keys
	Before      []manifest.Entry
	Tree        []manifest.Entry
	Log         []string // warnings and errors of the kernel meanwhile
}

const headerSize = 8

// WriteAnswer writes a to the answer disk.
func WriteAnswer(w io.Writer, a *Answer) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(b))), b...))
	return err
}

// ReadAnswer reads the answer disk. A length of 0 says that the machine did
// not get to the end.
func ReadAnswer(r io.ReaderAt, size int64) (*Answer, error) {
	header := make([]byte, headerSize)
	if _, err := r.ReadAt(header, 0); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(header)
	if n == 0 {
		return nil, errors.New("the machine gave no answer")
	}
	if n > uint64(size-headerSize) {
		return nil, fmt.Errorf("answer of %d bytes on a disk of %d", n, size)
	}
	b := make([]byte, n)
	if _, err := r.ReadAt(b, headerSize); err != nil {
		return nil, err
	}
	var a Answer
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, err
	}
	for i := range a.Results {
		for _, tree := range [][]manifest.Entry{a.Results[i].Before, a.Results[i].Tree} {
			if err := manifest.Complete(tree); err != nil {
				return nil, err
			}
		}
	}
	return &a, nil
}
