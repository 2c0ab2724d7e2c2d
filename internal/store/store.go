// Package store is the bytes of an image: a regular file, a block device, a
// window of one, or a transaction over one.
//
// Filesystem packages read and write through a Store and cannot tell a file
// from a transaction. Offsets are bytes from the start of the filesystem, not
// of the file that holds it. The package imports nothing of fsenc.
package store

import "io"

// Store is a random-access array of bytes of fixed size.
//
// ReadAt and WriteAt follow io.ReaderAt and io.WriterAt, and may be called
// from several goroutines as long as the ranges written do not overlap
// others in use. A write is durable only after Sync has returned nil; after a
// failed Sync the state of every write since the last good one is unknown.
type Store interface {
	io.ReaderAt
	io.WriterAt

	// Size is the length in bytes.
	Size() int64

	// Sync makes all writes before it durable.
	Sync() error

	// Zero makes the n bytes at off read as zeros. A store backed by a file
	// punches a hole or asks the filesystem for zeros instead of writing
	// them, where it can; the range need not be aligned.
	Zero(off, n int64) error
}

// Fresh is what a Store has beside that stages writes.
type Fresh interface {
	// WriteFresh is WriteAt for bytes in a place that nothing refers to before
	// what is staged now is committed: a commit writes them there and makes them
	// durable first. The store keeps p: nobody may change it any more.
	WriteFresh(p []byte, off int64) error

	// WriteEarly begins to write what WriteFresh was given, so that the commit has
	// less to write. It returns before that is done, and waits for what it began
	// before.
	WriteEarly() error

	// Spare returns a page of 4096 bytes that WriteFresh was given and that is
	// written by now, nil if there is none. Only who keeps nothing of what he gives
	// to WriteFresh may ask.
	Spare() []byte
}
