package txn

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"fsenc/internal/store"
)

// ErrUnfinished is wrapped by errors after which home holds a part of a
// conversion: the way on is Open and Recover.
var ErrUnfinished = errors.New("interrupted after writing began")

// Tx is a store over home that stages writes until Commit.
//
// Edits and commits come from one goroutine; ReadAt may be called from
// several while nothing is edited.
type Tx struct {
	home store.Store
	log  store.Store
	head Header
	plan []byte

	over     *overlay
	rewrites []Rewrite
	state    state // of the last commit
	recBase  int64 // where records begin
	broken   error // set once a commit failed: nothing may be written after it
}

// Create records header and plan in log, durably, and leaves home alone.
func Create(home, log store.Store, h Header, plan []byte) (*Tx, error) {
	h.ImageSize = home.Size()
	t := &Tx{home: home, log: log, head: h, plan: plan, over: newOverlay(home)}
	t.recBase = roundUp(planOff+int64(len(plan)), pageSize)
	if _, err := log.WriteAt(h.encode(plan), headerOff); err != nil {
		return nil, fmt.Errorf("write log header: %w", err)
	}
	if _, err := log.WriteAt(plan, planOff); err != nil {
		return nil, fmt.Errorf("write plan to log: %w", err)
	}
	for i := range int64(2) {
		if _, err := log.WriteAt(t.state.encode(h.ID), stateOff+i*pageSize); err != nil {
			return nil, fmt.Errorf("write log state: %w", err)
		}
	}
	if err := log.Sync(); err != nil {
		return nil, fmt.Errorf("sync log: %w", err)
	}
	return t, nil
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// Plan is what was given to Create.
func (t *Tx) Plan() []byte { return t.plan }

// Header is what was given to Create.
func (t *Tx) Header() Header { return t.head }

// Position is what was given to the last commit, empty before the first.
func (t *Tx) Position() []byte { return t.state.position }

// Begun reports whether the image carries the mark or may carry it.
func (t *Tx) Begun() bool { return t.state.stage != stageCreated }

// Finished reports whether the mark has been taken away: only the log is left.
func (t *Tx) Finished() bool { return t.state.stage == stageFinished }

// Home is the store below, for reading contents past the overlay and for
// zeroing what no committed structure refers to.
func (t *Tx) Home() store.Store { return t.home }

// ReadAt reads what is staged over home.
func (t *Tx) ReadAt(p []byte, off int64) (int, error) { return t.over.readAt(p, off) }

// WriteAt stages p.
func (t *Tx) WriteAt(p []byte, off int64) (int, error) { return t.over.writeAt(p, off) }

// Size is that of home.
func (t *Tx) Size() int64 { return t.home.Size() }

// Sync does nothing: what is staged becomes durable with Commit.
func (t *Tx) Sync() error { return nil }

// Zero stages zeros.
func (t *Tx) Zero(off, n int64) error {
	zeros := make([]byte, min(n, 1<<16))
	for n > 0 {
		c := min(n, int64(len(zeros)))
		if _, err := t.WriteAt(zeros[:c], off); err != nil {
			return err
		}
		off, n = off+c, n-c
	}
	return nil
}

// Rewrite stages file contents. The range must not overlap staged metadata.
// New is kept until the commit.
func (t *Tx) Rewrite(r Rewrite) { t.rewrites = append(t.rewrites, r) }

// StagedBytes is the memory that staged metadata takes.
func (t *Tx) StagedBytes() int64 { return t.over.stagedBytes() }

// Discard drops what is staged.
func (t *Tx) Discard() {
	t.over = newOverlay(t.home)
	t.rewrites = nil
}

// Begin commits the change that sets the mark.
func (t *Tx) Begin(position []byte) error { return t.commit(stageBegun, position) }

// Commit makes everything staged durable, whole or not at all, with position.
func (t *Tx) Commit(position []byte) error { return t.commit(stageWorking, position) }

// End commits the change that clears the mark.
func (t *Tx) End(position []byte) error { return t.commit(stageFinished, position) }

func (t *Tx) commit(to stage, position []byte) error {
	if t.broken != nil {
		return t.broken
	}
	if len(position) > maxPosition {
		panic("txn: position too long")
	}
	slices.SortFunc(t.rewrites, func(a, b Rewrite) int { return cmp.Compare(a.Off, b.Off) })
	next := state{seq: t.state.seq + 1, stage: to, position: slices.Clone(position)}
	// Home is untouched so far: after a crash in here the last commit stands.
	if err := t.writeLog(&next); err != nil {
		t.broken = fmt.Errorf("%w: write log: %w", ErrUnfinished, err)
		return t.broken
	}
	t.state = next
	// From here on recovery replays the record; a second time changes nothing.
	if err := t.writeHome(); err != nil {
		t.broken = fmt.Errorf("%w: write image: %w", ErrUnfinished, err)
		return t.broken
	}
	t.Discard()
	return nil
}

// writeLog writes record and state page and syncs once: the commit point.
func (t *Tx) writeLog(next *state) error {
	guarded := next.stage != stageWorking
	next.recOff = t.place(t.recordLen(guarded))
	w := newRecordWriter(t.log, next.recOff)
	if err := t.writeEntries(w, guarded); err != nil {
		return err
	}
	if err := w.w.Flush(); err != nil {
		return err
	}
	next.recLen, next.recSum = w.n, w.sum.Sum64()
	if _, err := t.log.WriteAt(next.encode(t.head.ID), stateOff+int64(next.seq%2)*pageSize); err != nil {
		return err
	}
	return t.log.Sync()
}

// place returns where a record of n bytes can lie without touching the record
// of the last commit, which must survive until the new one is whole.
func (t *Tx) place(n int64) int64 {
	last := t.state
	if last.recLen == 0 || t.recBase+n <= last.recOff {
		return t.recBase
	}
	return roundUp(last.recOff+last.recLen, pageSize)
}

func (t *Tx) writeEntries(w *recordWriter, guarded bool) error {
	for _, s := range t.over.spans() {
		e := entryHeader{kind: entryData, size: uint32(len(s.data)), off: s.off}
		if !guarded {
			if err := w.entry(e, s.data); err != nil {
				return err
			}
			continue
		}
		old := make([]byte, len(s.data))
		if _, err := t.home.ReadAt(old, s.off); err != nil {
			return err
		}
		e.kind = entryGuarded
		if err := w.entry(e, old, s.data); err != nil {
			return err
		}
	}
	for _, r := range t.rewrites {
		e := entryHeader{kind: entryData, size: uint32(len(r.New)), off: r.Off, tag: r.Tag}
		body := r.New
		if t.head.Method == Checksum {
			e.kind, body = entrySums, r.Sums
		}
		if err := w.entry(e, body); err != nil {
			return err
		}
	}
	return nil
}

// recordLen is the exact length of the record that writeEntries will write.
func (t *Tx) recordLen(guarded bool) int64 {
	var n int64
	for _, s := range t.over.spans() {
		n += int64(entryHeaderLen) + int64(len(s.data))
		if guarded {
			n += int64(len(s.data))
		}
	}
	for _, r := range t.rewrites {
		n += int64(entryHeaderLen)
		if t.head.Method == Checksum {
			n += int64(len(r.Sums))
		} else {
			n += int64(len(r.New))
		}
	}
	return n
}

// writeHome writes what is staged to its place, neighbours in one write, and
// syncs.
func (t *Tx) writeHome() error {
	for _, s := range t.over.spans() {
		if _, err := t.home.WriteAt(s.data, s.off); err != nil {
			return err
		}
	}
	for i := 0; i < len(t.rewrites); {
		r := t.rewrites[i]
		buf := r.New
		for i++; i < len(t.rewrites); i++ {
			n := t.rewrites[i]
			if n.Off != r.Off+int64(len(buf)) || !follows(buf, n.New) {
				break
			}
			buf = buf[:len(buf)+len(n.New)]
		}
		if _, err := t.home.WriteAt(buf, r.Off); err != nil {
			return err
		}
	}
	return t.home.Sync()
}

// follows reports whether b lies in memory right behind a, in a's capacity.
func follows(a, b []byte) bool {
	return len(b) > 0 && cap(a)-len(a) >= len(b) && &a[:len(a)+1][len(a)] == &b[0]
}

// Wipe overwrites the log after End, or of a transaction that never began: all
// of it if it held plaintext, else what names the image and the plan.
func (t *Tx) Wipe() error {
	n := t.log.Size()
	if !t.head.Plaintext {
		n = min(n, t.recBase)
	}
	zeros := make([]byte, min(n, 1<<20))
	for off := int64(0); off < n; off += int64(len(zeros)) {
		c := min(int64(len(zeros)), n-off)
		if _, err := t.log.WriteAt(zeros[:c], off); err != nil && err != io.EOF {
			return fmt.Errorf("wipe log: %w", err)
		}
	}
	return t.log.Sync()
}

// Scratch is a transaction that can only be dropped, for trying an edit.
func Scratch(home store.Store) *Tx {
	return &Tx{home: home, over: newOverlay(home), broken: errors.New("a scratch transaction cannot be committed")}
}

// Worked reports whether a Commit came after Begin.
func (t *Tx) Worked() bool { return t.state.stage == stageWorking }
