package txn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"
)

var le = binary.LittleEndian

// Errors about the log itself.
var (
	// ErrLogDamaged: a part of the log that must be whole is not.
	ErrLogDamaged = errors.New("log damaged")
	// ErrLogForeign: the log belongs to another image, or the image has
	// changed since the log was written.
	ErrLogForeign = errors.New("log does not belong to this image")
	// ErrNotLog: what was named is a file of another kind.
	ErrNotLog = errors.New("not a log of fsenc")
	// ErrLogVersion: written by a newer fsenc.
	ErrLogVersion = errors.New("log version not known")
)

const (
	logMagic   = "fsenclog"
	logVersion = 2

	headerOff  = 0
	stateOff   = pageSize
	planOff    = 3 * pageSize
	stateMagic = "fsencpos"

	// maxPosition bounds what a caller may keep in a state page.
	maxPosition = 1024
)

// Header says what a log belongs to.
type Header struct {
	ID        [16]byte // also in the image while it is marked; zeros from IDLen on
	ImageSize int64    // bytes of the filesystem's store
	UUID      [16]byte // of the filesystem
	MarkOff   int64    // where in the image ID lies while it is marked
	Kind      string   // what wrote it, at most 32 bytes: "encrypt", "edit"
	Method    Method   // how contents are protected
	Plaintext bool     // records hold plaintext: Finish wipes them
}

// The header page, by offset:
//
//	0   8  magic
//	8   4  version
//	12  4  method
//	16  16 id
//	32  8  size of the image
//	40  16 uuid
//	56  8  offset of the mark
//	64  32 kind, NUL padded
//	96  8  length of the plan
//	104 8  checksum of the plan
//	112 8  flags: 1 records hold plaintext
//	120 8  checksum of bytes 0 to 119
func (h *Header) encode(plan []byte) []byte {
	b := make([]byte, pageSize)
	copy(b, logMagic)
	le.PutUint32(b[8:], logVersion)
	le.PutUint32(b[12:], uint32(h.Method))
	copy(b[16:32], h.ID[:])
	le.PutUint64(b[32:], uint64(h.ImageSize))
	copy(b[40:56], h.UUID[:])
	le.PutUint64(b[56:], uint64(h.MarkOff))
	copy(b[64:96], h.Kind)
	le.PutUint64(b[96:], uint64(len(plan)))
	le.PutUint64(b[104:], xxhash.Sum64(plan))
	if h.Plaintext {
		b[112] = 1
	}
	le.PutUint64(b[120:], xxhash.Sum64(b[:120]))
	return b
}

// checkKind refuses a file that no crash can have made of a log, and that must
// not be treated as one, whatever name led to it. b is how it begins, at most
// up to the plan. Sectors that were never written, or wiped, are zeros: so the
// header page, but for its first sector, always is.
func checkKind(b []byte) error {
	for off, magic := range map[int]string{headerOff: logMagic, stateOff: stateMagic, stateOff + pageSize: stateMagic} {
		start := b[min(off, len(b)):min(off+len(magic), len(b))]
		if len(bytes.Trim(start, "\x00")) > 0 && !strings.HasPrefix(magic, string(start)) {
			return ErrNotLog
		}
	}
	if len(b) > SectorSize && len(bytes.Trim(b[SectorSize:min(pageSize, len(b))], "\x00")) > 0 {
		return ErrNotLog
	}
	return nil
}

// decodeHeader returns the header with the length and checksum of the plan.
func decodeHeader(b []byte) (h Header, planLen int64, planSum uint64, err error) {
	if string(b[:8]) != logMagic {
		return h, 0, 0, fmt.Errorf("%w: no header", ErrLogDamaged)
	}
	if v := le.Uint32(b[8:]); v != logVersion {
		return h, 0, 0, fmt.Errorf("%w: version %d, this fsenc knows %d", ErrLogVersion, v, logVersion)
	}
	if le.Uint64(b[120:]) != xxhash.Sum64(b[:120]) {
		return h, 0, 0, fmt.Errorf("%w: header checksum", ErrLogDamaged)
	}
	h.Method = Method(le.Uint32(b[12:]))
	copy(h.ID[:], b[16:32])
	h.ImageSize = int64(le.Uint64(b[32:]))
	copy(h.UUID[:], b[40:56])
	h.MarkOff = int64(le.Uint64(b[56:]))
	h.Kind = trimNUL(b[64:96])
	h.Plaintext = b[112]&1 != 0
	return h, int64(le.Uint64(b[96:])), le.Uint64(b[104:]), nil
}

func trimNUL(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// state is what a state page holds.
type state struct {
	seq      uint64
	epoch    uint32 // its number
	stage    stage
	position []byte
	epochOff int64 // the records since the last sync of home
	epochLen int64 // 0: none
	epochSum uint64
}

// stage tells which commit a state page belongs to.
type stage uint32

const (
	stageCreated  stage = iota // plan recorded, image untouched
	stageBegun                 // the commit that sets the mark
	stageWorking               // any commit in between
	stageFinished              // the commit that clears the mark
)

// A state page, by offset:
//
//	0   8  magic
//	8   16 id
//	24  8  sequence
//	32  4  stage
//	36  4  length of the position
//	40  8  offset of the epoch's first record
//	48  8  length of the epoch up to this commit
//	56  8  checksum of its headers
//	64  4  number of the epoch
//	72     position
//	4088 8 checksum of bytes 0 to 4087
func (s *state) encode(id [16]byte) []byte {
	b := make([]byte, pageSize)
	copy(b, stateMagic)
	copy(b[8:24], id[:])
	le.PutUint64(b[24:], s.seq)
	le.PutUint32(b[32:], uint32(s.stage))
	le.PutUint32(b[36:], uint32(len(s.position)))
	le.PutUint64(b[40:], uint64(s.epochOff))
	le.PutUint64(b[48:], uint64(s.epochLen))
	le.PutUint64(b[56:], s.epochSum)
	le.PutUint32(b[64:], s.epoch)
	copy(b[72:], s.position)
	le.PutUint64(b[pageSize-8:], xxhash.Sum64(b[:pageSize-8]))
	return b
}

func decodeState(b []byte, id [16]byte) (state, bool) {
	var s state
	if string(b[:8]) != stateMagic || [16]byte(b[8:24]) != id ||
		le.Uint64(b[pageSize-8:]) != xxhash.Sum64(b[:pageSize-8]) {
		return s, false
	}
	n := le.Uint32(b[36:])
	if n > maxPosition {
		return s, false
	}
	s.seq = le.Uint64(b[24:])
	s.stage = stage(le.Uint32(b[32:]))
	s.epoch = le.Uint32(b[64:])
	s.position = append([]byte(nil), b[72:72+n]...)
	s.epochOff = int64(le.Uint64(b[40:]))
	s.epochLen = int64(le.Uint64(b[48:]))
	s.epochSum = le.Uint64(b[56:])
	return s, true
}
