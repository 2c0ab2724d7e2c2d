package txn

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"

	"fsenc/internal/store"
)

// ErrNeverBegun: the log holds a plan, but the image was changed by something
// else before the first commit reached it.
var ErrNeverBegun = errors.New("the image was never touched by this log")

// maxPlan bounds the plan of a log: 64 bytes for each of 2^28 inodes.
const maxPlan = 1 << 34

// Open reads a log and finds its last commit. Home is not touched, and not
// fit to be read, before Recover.
func Open(home, log store.Store) (*Tx, error) {
	b := make([]byte, pageSize)
	if log.Size() < planOff {
		return nil, fmt.Errorf("%w: %d bytes long", ErrLogDamaged, log.Size())
	}
	if _, err := log.ReadAt(b, headerOff); err != nil {
		return nil, fmt.Errorf("read log header: %w", err)
	}
	h, planLen, planSum, err := decodeHeader(b)
	if err != nil {
		return nil, err
	}
	if h.ImageSize != home.Size() {
		return nil, fmt.Errorf("%w: made for one of %d bytes, this has %d", ErrLogForeign, h.ImageSize, home.Size())
	}
	if planLen < 0 || planLen > maxPlan || planOff+planLen > log.Size() {
		return nil, fmt.Errorf("%w: plan cut short", ErrLogDamaged)
	}
	plan := make([]byte, planLen)
	if _, err := log.ReadAt(plan, planOff); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	if xxhash.Sum64(plan) != planSum {
		return nil, fmt.Errorf("%w: plan checksum", ErrLogDamaged)
	}
	t := &Tx{home: home, log: log, head: h, plan: plan, over: newOverlay(home)}
	t.recBase = roundUp(planOff+planLen, pageSize)
	return t, t.findState()
}

// findState picks the newest state page whose record is whole.
func (t *Tx) findState() error {
	var found []state
	for i := range int64(2) {
		b := make([]byte, pageSize)
		if _, err := t.log.ReadAt(b, stateOff+i*pageSize); err != nil {
			return fmt.Errorf("read log state: %w", err)
		}
		if s, ok := decodeState(b, t.head.ID); ok && verifyRecord(t.log, &s) {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return fmt.Errorf("%w: no whole record", ErrLogDamaged)
	}
	t.state = found[0]
	if len(found) == 2 && found[1].seq > found[0].seq {
		t.state = found[1]
	}
	return nil
}

// Torn is a rewritten range as a crash left it.
type Torn struct {
	Off int64
	Cur []byte // what the range holds now: Recover's callback completes it
	Old []bool // for each sector: it still has its old contents
	Tag Tag
}

// Recover brings home to the state of the last commit. complete turns the old
// sectors of a range into new ones, in place; it is only called where there
// are any, and only for the Checksum method. With a nil complete such ranges
// stay as they are, and Recover has to be called again; everything else,
// metadata above all, is in the state of the last commit already.
func (t *Tx) Recover(complete func(*Torn) error) error {
	if t.state.recLen == 0 {
		return nil
	}
	ours, err := t.imageIsOurs()
	if err != nil || !ours {
		return err
	}
	r := newRecordReader(t.log, &t.state)
	for {
		e, body, err := r.next(t.home.Size())
		if err == io.EOF {
			return t.home.Sync()
		}
		if err != nil {
			return fmt.Errorf("read log record: %w", err)
		}
		if err := t.replay(e, body, complete); err != nil {
			return fmt.Errorf("replay log record: %w", err)
		}
	}
}

func (t *Tx) replay(e entryHeader, body []byte, complete func(*Torn) error) error {
	switch e.kind {
	case entryGuarded:
		body = body[e.size:]
	case entrySums:
		return t.replaySums(e, body, complete)
	}
	_, err := t.home.WriteAt(body, e.off)
	return err
}

func (t *Tx) replaySums(e entryHeader, sums []byte, complete func(*Torn) error) error {
	torn := Torn{Off: e.off, Cur: make([]byte, e.size), Old: make([]bool, e.size/SectorSize), Tag: e.tag}
	if _, err := t.home.ReadAt(torn.Cur, e.off); err != nil {
		return err
	}
	cur := Sums(nil, torn.Cur)
	some := false
	for i := range torn.Old {
		torn.Old[i] = bytes.Equal(cur[i*8:][:8], sums[i*8:][:8])
		some = some || torn.Old[i]
	}
	if !some || complete == nil {
		return nil
	}
	if err := complete(&torn); err != nil {
		return err
	}
	_, err := t.home.WriteAt(torn.Cur, e.off)
	return err
}

// imageIsOurs tells whether the last record may be replayed over home. A log
// whose End has reached the image may be left over from long ago: then there
// is nothing to do.
func (t *Tx) imageIsOurs() (bool, error) {
	if t.state.stage == stageWorking {
		id := make([]byte, len(t.head.ID))
		if _, err := t.home.ReadAt(id, t.head.MarkOff); err != nil {
			return false, err
		}
		if [16]byte(id) != t.head.ID {
			return false, fmt.Errorf("%w: the image does not carry its mark", ErrLogForeign)
		}
		return true, nil
	}
	holds, err := t.guardsHold()
	if err != nil || holds {
		return holds, err
	}
	if t.state.stage == stageFinished {
		return false, nil
	}
	return false, fmt.Errorf("%w: %w", ErrLogForeign, ErrNeverBegun)
}

func (t *Tx) guardsHold() (bool, error) {
	r := newRecordReader(t.log, &t.state)
	for {
		e, body, err := r.next(t.home.Size())
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if e.kind != entryGuarded {
			return false, fmt.Errorf("%w: guarded record", ErrLogDamaged)
		}
		if ok, err := guardHolds(t.home, e.off, body[:e.size], body[e.size:]); !ok || err != nil {
			return false, err
		}
	}
}
