package txn

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"

	"fsenc/internal/store"
)

// SectorSize is the number of bytes that reach a disk whole or not at all.
const SectorSize = 512

// Method is how a Rewrite is protected.
type Method uint32

const (
	// Checksum logs a checksum of each old sector.
	Checksum Method = iota
	// Journal logs the new bytes.
	Journal
)

// String returns the word of --resilience.
func (m Method) String() string {
	if m == Journal {
		return "journal"
	}
	return "checksum"
}

// Tag tells the caller at recovery what a rewritten range is and how its new
// bytes are computed. txn does not look into it.
type Tag [56]byte

// Rewrite is a range of file contents with its new bytes.
type Rewrite struct {
	Off  int64
	New  []byte // a multiple of SectorSize; written home as it is by Commit
	Sums []byte // Sums of the old bytes, for Checksum; not used by Journal
	Tag  Tag
}

// Sums appends to dst the checksum of each sector of old.
func Sums(dst, old []byte) []byte {
	for ; len(old) > 0; old = old[SectorSize:] {
		dst = le.AppendUint64(dst, xxhash.Sum64(old[:SectorSize]))
	}
	return dst
}

// A record is a sequence of entries. Each has a header of 72 bytes: u32 kind,
// u32 length of the range, u64 offset, and the tag; then follow:
//
//	entryData     the new bytes
//	entryGuarded  the old bytes and the new bytes
//	entrySums     8 bytes for each sector of the range
const (
	entryData    = 1
	entryGuarded = 2
	entrySums    = 3

	entryHeaderLen = 16 + len(Tag{})
	maxEntryLen    = 64 << 20
)

type entryHeader struct {
	kind uint32
	size uint32
	off  int64
	tag  Tag
}

func (e *entryHeader) encode(b *[entryHeaderLen]byte) {
	le.PutUint32(b[0:], e.kind)
	le.PutUint32(b[4:], e.size)
	le.PutUint64(b[8:], uint64(e.off))
	copy(b[16:], e.tag[:])
}

func decodeEntryHeader(b *[entryHeaderLen]byte) entryHeader {
	return entryHeader{
		kind: le.Uint32(b[0:]),
		size: le.Uint32(b[4:]),
		off:  int64(le.Uint64(b[8:])),
		tag:  Tag(b[16:]),
	}
}

func (e *entryHeader) bodyLen() int64 {
	switch e.kind {
	case entryGuarded:
		return 2 * int64(e.size)
	case entrySums:
		return int64(e.size) / SectorSize * 8
	}
	return int64(e.size)
}

// recordWriter writes a record to the log from a given offset on.
type recordWriter struct {
	w   *bufio.Writer
	sum *xxhash.Digest
	n   int64
}

func newRecordWriter(log store.Store, off int64) *recordWriter {
	d := xxhash.New()
	return &recordWriter{w: bufio.NewWriterSize(io.NewOffsetWriter(log, off), 1<<20), sum: d}
}

func (r *recordWriter) write(b []byte) error {
	r.sum.Write(b)
	r.n += int64(len(b))
	_, err := r.w.Write(b)
	return err
}

func (r *recordWriter) entry(e entryHeader, bodies ...[]byte) error {
	var b [entryHeaderLen]byte
	e.encode(&b)
	if err := r.write(b[:]); err != nil {
		return err
	}
	for _, body := range bodies {
		if err := r.write(body); err != nil {
			return err
		}
	}
	return nil
}

// recordReader reads the entries of a record.
type recordReader struct {
	r    *bufio.Reader
	left int64
}

func newRecordReader(log store.Store, s *state) *recordReader {
	return &recordReader{bufio.NewReaderSize(io.NewSectionReader(log, s.recOff, s.recLen), 1<<20), s.recLen}
}

// next returns the next entry and its body, io.EOF after the last.
func (r *recordReader) next(home int64) (entryHeader, []byte, error) {
	if r.left == 0 {
		return entryHeader{}, nil, io.EOF
	}
	var b [entryHeaderLen]byte
	if r.left < int64(entryHeaderLen) {
		return entryHeader{}, nil, fmt.Errorf("%w: record cut short", ErrLogDamaged)
	}
	if _, err := io.ReadFull(r.r, b[:]); err != nil {
		return entryHeader{}, nil, err
	}
	e := decodeEntryHeader(&b)
	r.left -= int64(entryHeaderLen)
	if e.kind < entryData || e.kind > entrySums || e.size > maxEntryLen || e.bodyLen() > r.left ||
		e.off < 0 || e.off > home-int64(e.size) {
		return entryHeader{}, nil, fmt.Errorf("%w: record entry", ErrLogDamaged)
	}
	body := make([]byte, e.bodyLen())
	if _, err := io.ReadFull(r.r, body); err != nil {
		return entryHeader{}, nil, err
	}
	r.left -= int64(len(body))
	return e, body, nil
}

// verifyRecord reports whether the record that s names is whole.
func verifyRecord(log store.Store, s *state) bool {
	if s.recLen == 0 {
		return true
	}
	if s.recOff < planOff || s.recLen < 0 || s.recOff > log.Size()-s.recLen {
		return false
	}
	d := xxhash.New()
	if _, err := io.Copy(d, io.NewSectionReader(log, s.recOff, s.recLen)); err != nil {
		return false
	}
	return d.Sum64() == s.recSum
}

// guardHolds reports whether each sector of home's [off, off+len(old)) equals
// the same part of old or of new.
func guardHolds(home store.Store, off int64, old, new []byte) (bool, error) {
	cur := make([]byte, len(old))
	if _, err := home.ReadAt(cur, off); err != nil {
		return false, err
	}
	for i := 0; i < len(cur); {
		end := min(i+SectorSize-int((off+int64(i))%SectorSize), len(cur))
		if !bytes.Equal(cur[i:end], old[i:end]) && !bytes.Equal(cur[i:end], new[i:end]) {
			return false, nil
		}
		i = end
	}
	return true, nil
}
