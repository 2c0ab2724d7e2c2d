package txn

import (
	"bytes"
	"errors"
	"fmt"
)

// What is wrong with two that belong together, beside ErrLogForeign.
var (
	// ErrImageOlder: the log has gone on since this copy of the image was made.
	ErrImageOlder = errors.New("the image is an older copy than its log")
	// ErrLogOlder: the image has gone on since this copy of the log was made.
	ErrLogOlder = errors.New("the log is an older copy than its image")
)

// IDLen is how much of a mark, and of Header.ID, names the log.
const IDLen = 8

// A mark is the id of the log, le32 the number of an epoch, and le32 the sequence
// of a commit. Before an epoch has its first record the mark has got its number,
// durably, after everything before it became durable. The sequence goes with
// each commit.
func (t *Tx) markOf(epoch uint32, seq uint64) [16]byte {
	m := t.head.ID
	le.PutUint32(m[IDLen:], epoch)
	le.PutUint32(m[IDLen+4:], uint32(seq))
	return m
}

// Mark is what the image carries from Begin on, before the first Commit.
func (t *Tx) Mark() [16]byte { return t.markOf(1, 1) }

// Names reports whether a mark names the log of this header.
func (h *Header) Names(mark [16]byte) bool { return bytes.Equal(mark[:IDLen], h.ID[:IDLen]) }

// Marker stages a mark: it is all that it changes.
type Marker func(mark [16]byte) error

// SetMarker says how the mark is changed. From then on it tells how far the
// image has come, and Recover finds out when image and log do not belong
// together because one of them is an older copy.
func (t *Tx) SetMarker(f Marker) { t.marker = f }

// NextMark is the mark that the next Commit carries along: whoever commits
// stages it. It reports whether there is one.
func (t *Tx) NextMark() (mark [16]byte, ok bool) {
	_ = t.Join() // whose error the next commit tells
	return t.markOf(t.number, t.state.seq+1), t.marker != nil
}

// Settle begins an epoch: home is durable as of the last commit, and says so.
// The record of the epoch before, which sets the mark as well, stays in the log
// until the new one has a record, so that a torn mark is no harm. Nothing may
// be staged.
func (t *Tx) Settle() error {
	if err := t.Join(); err != nil {
		return err
	}
	if err := t.settle(); err != nil {
		t.fail(err)
	}
	return t.broken
}

func (t *Tx) settle() error {
	if t.marker == nil || t.state.stage != stageWorking {
		return nil
	}
	if err := t.marker(t.markOf(t.number, t.state.seq)); err != nil {
		return err
	}
	for _, s := range t.over.spans() {
		if _, err := t.home.WriteAt(s.data, s.off); err != nil {
			return fmt.Errorf("write mark: %w", err)
		}
	}
	t.dropStaged()
	if err := t.sync.sync(); err != nil {
		return fmt.Errorf("sync image: %w", err)
	}
	return nil
}

// readMark reads the mark of home. It reports whether it is of this log.
func (t *Tx) readMark() (epoch, seq uint32, ours bool, err error) {
	var m [16]byte
	if _, err := t.home.ReadAt(m[:], t.head.MarkOff); err != nil {
		return 0, 0, false, err
	}
	return le.Uint32(m[IDLen:]), le.Uint32(m[IDLen+4:]), t.head.Names(m), nil
}

// checkMark refuses an image that the epoch in the log cannot bring to the last
// commit: one that lacks what came before it, or that has more.
func (t *Tx) checkMark() error {
	epoch, seq, ours, err := t.readMark()
	last := uint32(t.state.seq)
	switch {
	case err != nil:
		return err
	case !ours:
		return fmt.Errorf("%w: the image does not carry its mark", ErrLogForeign)
	case epoch < t.state.epoch:
		return fmt.Errorf("%w: %w: it has what was done up to step %d, and the log begins later", ErrLogForeign, ErrImageOlder, seq)
	case epoch > t.state.epoch+1 || seq > last:
		return fmt.Errorf("%w: %w: step %d, the image has step %d", ErrLogForeign, ErrLogOlder, last, seq)
	}
	return nil
}

// checkOther refuses an image that carries the mark of this log where a guarded
// record says that it cannot, or before there was any record.
func (t *Tx) checkOther(why error) error {
	if _, _, ours, err := t.readMark(); err != nil || !ours {
		return err
	}
	return fmt.Errorf("%w: %w", ErrLogForeign, why)
}
