package txn

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"fsenc/internal/store"
)

// ErrUnfinished is wrapped by errors after which home holds a part of a
// conversion: the way on is Open and Recover.
var ErrUnfinished = errors.New("interrupted after writing began")

// Tx is a store over home that stages writes until Commit.
//
// Edits and commits come from one goroutine; ReadAt may be called from several
// at any time. With Start a commit is carried out while the next one is staged.
type Tx struct {
	home store.Store
	log  store.Store // nil for Method None
	sync syncer      // of home
	head Header
	plan []byte

	transform Transform
	marker    Marker
	lock      sync.RWMutex // of the overlays
	over      *overlay
	rewrites  []Rewrite
	state     state // of the last commit
	recBase   int64 // where records begin

	epoch    *xxhash.Digest // over the headers of the epoch, nil before its first
	number   uint32         // of the epoch that the next record belongs to
	last     state          // of the last commit of the epoch before
	unsynced atomic.Int64   // bytes written home since its last sync
	logged   map[int64]bool // pages that records of the epoch hold bytes of
	early    *early         // the pages that WriteEarly writes, nil if there are none
	spilled  bool           // something fresh went home before its commit
	spare    [][]byte       // pages that were fresh, see Spare
	asked    bool           // somebody has use for them
	scratch  []*scratch     // of the workers that contents pass through
	flight   *flight        // the commit that Start began, nil if there is none
	broken   error          // set once a commit failed: nothing may be written after it
}

func newTx(home, log store.Store, h Header, plan []byte) *Tx {
	return &Tx{home: home, log: log, head: h, plan: plan, sync: syncer{home: home}, over: newOverlay(home)}
}

// Create records header and plan in log, durably, and leaves home alone.
func Create(home, log store.Store, h Header, plan []byte) (*Tx, error) {
	h.ImageSize = home.Size()
	t := newTx(home, log, h, plan)
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
func (t *Tx) Position() []byte {
	_ = t.Join()
	return t.state.position
}

// Begun reports whether the image carries the mark or may carry it.
func (t *Tx) Begun() bool { return t.state.stage != stageCreated }

// Finished reports whether the mark has been taken away: only the log is left.
func (t *Tx) Finished() bool { return t.state.stage == stageFinished }

// Home is the store below, for reading contents past the overlay and for
// zeroing what no committed structure refers to.
func (t *Tx) Home() store.Store { return t.home }

// ReadAt reads what is staged over home.
func (t *Tx) ReadAt(p []byte, off int64) (int, error) {
	t.lock.RLock()
	defer t.lock.RUnlock()
	return t.over.ReadAt(p, off)
}

// WriteAt stages p.
func (t *Tx) WriteAt(p []byte, off int64) (int, error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	return t.over.writeAt(p, off)
}

// Size is that of home.
func (t *Tx) Size() int64 { return t.home.Size() }

// Sync does nothing: what is staged becomes durable by way of Commit.
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

// SetTransform says what gives rewritten ranges their new bytes.
func (t *Tx) SetTransform(f Transform) { t.transform = f }

// Rewrite stages file contents: home's bytes of the range at the commit become
// what the transform makes of them. The range must not overlap others, nor
// staged metadata.
func (t *Tx) Rewrite(r Rewrite) { t.rewrites = append(t.rewrites, r) }

// StagedBytes is the memory that staged metadata takes.
func (t *Tx) StagedBytes() int64 { return t.over.stagedBytes() }

// Discard drops what is staged.
func (t *Tx) Discard() {
	_ = t.Join() // its error is kept, and comes with the next commit
	t.dropStaged()
}

func (t *Tx) dropStaged() {
	t.setOverlay(newOverlay(t.home))
	t.rewrites = nil
}

// Begin commits the change that sets the mark. After it and after End home is
// durable; after Commit it is what recovery would make of it.
func (t *Tx) Begin(position []byte) error { return t.commit(stageBegun, position) }

// Commit makes everything staged durable, whole or not at all, with position.
func (t *Tx) Commit(position []byte) error { return t.commit(stageWorking, position) }

// End commits the change that clears the mark.
func (t *Tx) End(position []byte) error { return t.commit(stageFinished, position) }

func (t *Tx) commit(to stage, position []byte) error {
	if err := t.Join(); err != nil {
		return err
	}
	return t.complete(t.prepare(to, position))
}

// carryOut makes a job durable. It calls stands once the commit counts.
func (t *Tx) carryOut(j *job, next *state, stands func()) error {
	if j.guarded {
		// Its old bytes are those of home, and it is an epoch of its own.
		if err := t.syncHome(); err != nil {
			return err
		}
		j.spilled = false
	}
	// What is new belongs to no one and the record counts for nothing before the
	// state says so: both are written side by side, and after a crash in here the
	// last commit stands.
	fresh := make(chan error, 1)
	go func() { fresh <- t.writeFresh(j) }()
	err := t.writeRecord(j, next)
	if e := <-fresh; e != nil {
		return errors.Join(fmt.Errorf("write what is new to the image: %w", e), err)
	}
	if err == nil {
		err = t.writeState(next)
	}
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	t.state = *next
	stands()
	// From here on recovery replays the record; a second time changes nothing.
	if err := t.writeHome(j); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return nil
}

// complete carries a job out that nothing was staged beside, and ends the epoch
// if it is long enough then.
func (t *Tx) complete(j *job, next *state) error {
	ends := t.endsEpoch(j)
	err := t.carryOut(j, next, func() {})
	if err == nil {
		t.noteLogged(j)
		t.dropStaged()
		if ends {
			err = t.checkpoint()
		}
	}
	if err != nil {
		t.fail(err)
	}
	return t.broken
}

// endsEpoch reports whether an epoch ends with a job.
func (t *Tx) endsEpoch(j *job) bool {
	if j.guarded || t.unsynced.Load()+j.size() >= maxUnsynced {
		return true
	}
	if t.log == nil {
		return false
	}
	n := t.recordLen(j)
	if t.epoch != nil {
		n += t.state.epochLen
	}
	return n >= maxEpoch
}

// What may be written between two syncs of home, in bytes: to home, and to the
// log. After a crash recovery looks at that much.
const (
	maxUnsynced = 512 << 20 // two syncs each, the second for the mark
	maxEpoch    = 64 << 20
)

// Checkpoint makes home durable as of the last commit. Nothing may be staged.
func (t *Tx) Checkpoint() error {
	if err := t.Join(); err != nil {
		return err
	}
	if err := t.checkpoint(); err != nil {
		t.fail(err)
	}
	return t.broken
}

// fail ends the transaction: only what has a log can be recovered.
func (t *Tx) fail(err error) {
	t.broken = err
	if t.log != nil {
		t.broken = fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
}

// checkpoint syncs home, and the epoch ends.
func (t *Tx) checkpoint() error {
	if t.epoch == nil && t.unsynced.Load() == 0 {
		return nil
	}
	if err := t.syncHome(); err != nil {
		return err
	}
	return t.settle()
}

func (t *Tx) syncHome() error {
	if t.epoch == nil && t.unsynced.Load() == 0 {
		return nil
	}
	if err := t.sync.sync(); err != nil {
		return fmt.Errorf("sync image: %w", err)
	}
	t.last, t.epoch, t.spilled = t.state, nil, false
	t.unsynced.Store(0)
	t.number++
	clear(t.logged)
	return nil
}

// Wipe overwrites the log after End, or of a transaction that never began: all
// of it if it held plaintext, else what names the image and the plan. The header
// goes first, and for good: with it, a crash could leave an older state than the
// one that says that all is done.
func (t *Tx) Wipe() error {
	if t.log == nil {
		return nil
	}
	n := t.log.Size()
	if !t.head.Plaintext {
		n = min(n, t.recBase)
	}
	zeros := make([]byte, min(max(n, stateOff), 1<<20))
	if _, err := t.log.WriteAt(zeros[:stateOff], headerOff); err != nil && err != io.EOF {
		return fmt.Errorf("wipe log: %w", err)
	}
	if err := t.log.Sync(); err != nil {
		return err
	}
	for off := int64(0); off < n; off += int64(len(zeros)) {
		c := min(int64(len(zeros)), n-off)
		if _, err := t.log.WriteAt(zeros[:c], off); err != nil && err != io.EOF {
			return fmt.Errorf("wipe log: %w", err)
		}
	}
	return t.log.Sync()
}

// Unlogged is a transaction without a log, over a home that is dropped when
// anything fails.
func Unlogged(home store.Store) *Tx {
	return newTx(home, nil, Header{Method: None}, nil)
}

// Scratch is a transaction that can only be dropped, for trying an edit.
func Scratch(home store.Store) *Tx {
	t := newTx(home, nil, Header{}, nil)
	t.broken = errors.New("a scratch transaction cannot be committed")
	return t
}

// Worked reports whether a Commit came after Begin.
func (t *Tx) Worked() bool { return t.state.stage == stageWorking }
