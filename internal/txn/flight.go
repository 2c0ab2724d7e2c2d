package txn

import "slices"

// flight is a commit that is carried out beside what is staged next.
type flight struct {
	done   chan error    // gets what has become of it
	decide chan struct{} // is closed once it counts, or never will
	stands bool          // which of the two, from then on
}

// Start begins a commit like Commit and returns before it is done. Until Join
// only reads, staging and WriteEarly go on beside it: everything else waits for
// it first, and an error of the commit ends the transaction there. What it has
// staged is read from memory so long: home may have it or not.
func (t *Tx) Start(position []byte) error {
	if err := t.Join(); err != nil {
		return err
	}
	j, next := t.prepare(stageWorking, position)
	if t.endsEpoch(j) {
		// What ends an epoch stages a mark, which cannot be beside other edits.
		return t.complete(j, next)
	}
	over := newOverlay(t.over)
	over.fresh = make(map[int64][]byte, len(t.over.fresh)) // the next commit is about as large
	t.setOverlay(over)
	t.noteLogged(j)
	f := &flight{done: make(chan error, 1), decide: make(chan struct{})}
	t.flight = f
	go func() {
		err := t.carryOut(j, next, func() {
			f.stands = true
			close(f.decide)
		})
		if !f.stands {
			close(f.decide)
		}
		f.done <- err
	}()
	return nil
}

// Join waits for the commit that Start began, and for what WriteEarly writes, if
// there is any.
func (t *Tx) Join() error {
	_ = t.joinEarly() // its error is kept
	if t.flight != nil {
		err := <-t.flight.done
		t.flight = nil
		t.landed()
		if err != nil {
			t.fail(err)
		}
	}
	return t.broken
}

// landed takes the overlay of the commit that was carried out from below the one
// in use, and its fresh pages as spare ones.
func (t *Tx) landed() {
	t.lock.Lock()
	defer t.lock.Unlock()
	if done, ok := t.over.base.(*overlay); ok {
		t.keepSpare(done.fresh)
	}
	t.over.base = t.home
}

// keepSpare keeps pages that are written, with the lock held, if there is use for
// them.
func (t *Tx) keepSpare(written map[int64][]byte) {
	if !t.asked {
		return
	}
	for _, p := range written {
		if len(t.spare) == maxSpare {
			return
		}
		t.spare = append(t.spare, p)
	}
}

// maxSpare is how many pages are kept to be used again.
const maxSpare = 8 << 20 / pageSize

// Spare implements store.Fresh.
func (t *Tx) Spare() []byte {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.asked = true
	n := len(t.spare) - 1
	if n < 0 {
		return nil
	}
	p := t.spare[n]
	t.spare = t.spare[:n]
	return p
}

func (t *Tx) setOverlay(o *overlay) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.over = o
}

// prepare takes what is staged as a job, and what the log is going to say.
func (t *Tx) prepare(to stage, position []byte) (*job, *state) {
	if len(position) > maxPosition {
		panic("txn: position too long")
	}
	next := &state{seq: t.state.seq + 1, stage: to, position: slices.Clone(position)}
	j := t.newJob(to != stageWorking)
	t.rewrites, t.spilled = nil, false
	return j, next
}
