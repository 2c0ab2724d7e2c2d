package txn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cespare/xxhash/v2"

	"fsenc/internal/store"
)

// ErrNeverBegun: the log holds a plan, but the image was changed by something
// else before the first commit reached it.
var ErrNeverBegun = errors.New("the image was never touched by this log")

// maxPlan bounds the plan of a log: 64 bytes for each of 2^28 inodes.
const maxPlan = 1 << 34

// Open reads a log and finds its last commit. Home is not touched, and not
// fit to be read, before Recover. The error wraps ErrNotLog, ErrLogForeign,
// ErrLogVersion or ErrLogDamaged.
func Open(home, log store.Store) (*Tx, error) {
	b := make([]byte, min(planOff, log.Size()))
	if _, err := log.ReadAt(b, headerOff); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read log header: %w", err)
	}
	if err := checkKind(b); err != nil {
		return nil, err
	}
	if log.Size() < planOff {
		return nil, fmt.Errorf("%w: %d bytes long", ErrLogDamaged, log.Size())
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
	t := newTx(home, log, h, plan)
	t.recBase = roundUp(planOff+planLen, pageSize)
	return t, t.findState()
}

// findState picks the newest state page whose epoch is whole.
func (t *Tx) findState() error {
	var found []state
	for i := range int64(2) {
		b := make([]byte, pageSize)
		if _, err := t.log.ReadAt(b, stateOff+i*pageSize); err != nil {
			return fmt.Errorf("read log state: %w", err)
		}
		if s, ok := decodeState(b, t.head.ID); ok && verifyEpoch(t.log, &s, t.home.Size()) {
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

// Recover brings home to the state of the last commit. The transform completes
// ranges that a crash left partly old: it gets the range as it is, and what it
// makes of the old sectors is taken. With a nil transform such ranges stay as
// they are, and Recover has to be called again with one; everything else,
// metadata above all, is in the state of the last commit already.
func (t *Tx) Recover() error {
	if t.state.stage == stageCreated {
		return t.checkOther(ErrLogOlder)
	}
	ours, err := t.imageIsOurs()
	if err != nil || !ours {
		return err
	}
	r := newEpochReader(t.log, &t.state, t.home.Size())
	for {
		e, body, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read log record: %w", err)
		}
		if err := t.replay(e, body); err != nil {
			return fmt.Errorf("replay log record: %w", err)
		}
	}
	if err := t.sync.sync(); err != nil {
		return err
	}
	t.last, t.number = t.state, t.state.epoch+1
	return nil
}

func (t *Tx) replay(e entryHeader, body []byte) error {
	switch e.kind {
	case entryGuarded:
		body = body[e.size:]
	case entrySums:
		return t.replaySums(e, body)
	}
	_, err := t.home.WriteAt(body, e.off)
	return err
}

// replaySums completes a range. A sector that still has its old checksum is
// old, any other is new.
func (t *Tx) replaySums(e entryHeader, sums []byte) error {
	cur := make([]byte, e.size)
	if _, err := t.home.ReadAt(cur, e.off); err != nil {
		return err
	}
	now := Sums(nil, cur)
	isOld := func(i int) bool { return bytes.Equal(now[i*8:][:8], sums[i*8:][:8]) }
	some := false
	for i := range len(now) / 8 {
		some = some || isOld(i)
	}
	if !some || t.transform == nil {
		return nil
	}
	new := slices.Clone(cur)
	if err := t.transform(e.tag, new); err != nil {
		return err
	}
	for i := range len(now) / 8 {
		if isOld(i) {
			copy(cur[i*SectorSize:][:SectorSize], new[i*SectorSize:])
		}
	}
	_, err := t.home.WriteAt(cur, e.off)
	return err
}

// imageIsOurs tells whether the last record may be replayed over home. A log
// whose End has reached the image may be left over from long ago: then there
// is nothing to do.
func (t *Tx) imageIsOurs() (bool, error) {
	if t.state.stage == stageWorking {
		err := t.checkMark()
		return err == nil, err
	}
	holds, err := t.guardsHold()
	if err != nil || holds {
		return holds, err
	}
	if t.state.stage == stageFinished {
		return false, t.checkOther(ErrImageOlder)
	}
	if err := t.checkOther(ErrLogOlder); err != nil {
		return false, err
	}
	return false, fmt.Errorf("%w: %w", ErrLogForeign, ErrNeverBegun)
}

func (t *Tx) guardsHold() (bool, error) {
	r := newEpochReader(t.log, &t.state, t.home.Size())
	for {
		e, body, err := r.next()
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
