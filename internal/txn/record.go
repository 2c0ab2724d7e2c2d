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
	// None logs nothing: for a copy that is dropped when something fails.
	None
)

// String returns the word of --resilience.
func (m Method) String() string {
	return [...]string{"checksum", "journal", "none"}[min(m, None)]
}

// Tag tells a Transform what a rewritten range is. txn does not look into it.
type Tag [56]byte

// Rewrite is a range of file contents that a Transform gives new bytes.
type Rewrite struct {
	Off int64
	Len int // a multiple of SectorSize, at most MaxRewrite
	Tag Tag
}

// MaxRewrite bounds the length of a Rewrite in bytes.
const MaxRewrite = 1 << 20

// Transform turns the old bytes of a range into the new ones, in place. It is
// called from several goroutines, and again during recovery.
type Transform func(tag Tag, b []byte) error

// Sums appends to dst the checksum of each sector of old, 8 bytes each.
func Sums(dst, old []byte) []byte {
	for ; len(old) > 0; old = old[SectorSize:] {
		dst = le.AppendUint64(dst, xxhash.Sum64(old[:SectorSize]))
	}
	return dst
}

// A record is a sequence of entries. Each has a header of 80 bytes: u32 kind,
// u32 length of the range, u64 offset, u64 checksum of the body, and the tag.
// Then follows the body:
//
//	entryData     the new bytes
//	entryGuarded  the old bytes and the new bytes
//	entrySums     8 bytes for each sector of the range
//
// The records between two syncs of home lie one behind the other and are one
// epoch; its checksum is over the headers.
const (
	entryData    = 1
	entryGuarded = 2
	entrySums    = 3

	entryHeaderLen = 24 + len(Tag{})
)

type entryHeader struct {
	kind uint32
	size uint32
	off  int64
	sum  uint64
	tag  Tag
}

func (e *entryHeader) append(b []byte) []byte {
	b = le.AppendUint32(b, e.kind)
	b = le.AppendUint32(b, e.size)
	b = le.AppendUint64(b, uint64(e.off))
	b = le.AppendUint64(b, e.sum)
	return append(b, e.tag[:]...)
}

func decodeEntryHeader(b []byte) entryHeader {
	return entryHeader{
		kind: le.Uint32(b[0:]),
		size: le.Uint32(b[4:]),
		off:  int64(le.Uint64(b[8:])),
		sum:  le.Uint64(b[16:]),
		tag:  Tag(b[24:]),
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

// epochReader reads the entries of the records in an epoch.
type epochReader struct {
	r    *bufio.Reader
	left int64
	home int64 // size of the image
	body []byte
	sum  *xxhash.Digest // of the headers so far
}

func newEpochReader(log store.Store, s *state, home int64) *epochReader {
	r := bufio.NewReaderSize(io.NewSectionReader(log, s.epochOff, s.epochLen), 1<<20)
	return &epochReader{r: r, left: s.epochLen, home: home, sum: xxhash.New()}
}

// next returns the next entry and its body, which is valid until the next
// call; io.EOF after the last.
func (r *epochReader) next() (entryHeader, []byte, error) {
	if r.left == 0 {
		return entryHeader{}, nil, io.EOF
	}
	b := make([]byte, entryHeaderLen)
	if r.left < int64(len(b)) {
		return entryHeader{}, nil, fmt.Errorf("%w: record cut short", ErrLogDamaged)
	}
	if _, err := io.ReadFull(r.r, b); err != nil {
		return entryHeader{}, nil, err
	}
	r.sum.Write(b)
	e := decodeEntryHeader(b)
	r.left -= int64(len(b))
	if e.kind < entryData || e.kind > entrySums || e.size > MaxRewrite || e.bodyLen() > r.left ||
		e.off < 0 || e.off > r.home-int64(e.size) {
		return entryHeader{}, nil, fmt.Errorf("%w: record entry", ErrLogDamaged)
	}
	if int64(cap(r.body)) < e.bodyLen() {
		r.body = make([]byte, e.bodyLen())
	}
	r.body = r.body[:e.bodyLen()]
	if _, err := io.ReadFull(r.r, r.body); err != nil {
		return entryHeader{}, nil, err
	}
	if xxhash.Sum64(r.body) != e.sum {
		return entryHeader{}, nil, fmt.Errorf("%w: record body", ErrLogDamaged)
	}
	r.left -= int64(len(r.body))
	return e, r.body, nil
}

// verifyEpoch reports whether the epoch that s names is whole.
func verifyEpoch(log store.Store, s *state, home int64) bool {
	if s.epochLen == 0 {
		return true
	}
	if s.epochOff < planOff || s.epochLen < 0 || s.epochOff > log.Size()-s.epochLen {
		return false
	}
	r := newEpochReader(log, s, home)
	for {
		_, _, err := r.next()
		if err == io.EOF {
			return r.sum.Sum64() == s.epochSum
		}
		if err != nil {
			return false
		}
	}
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
