package txn

import "slices"

// Start begins a commit like Commit and returns before it is done. Until Join
// only reads and staging go on beside it: everything else waits for it first,
// and an error of the commit ends the transaction there. What it has staged is
// read from memory so long: home may have it or not.
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
	flight := make(chan error, 1)
	t.flight = flight
	go func() { flight <- t.carryOut(j, next) }()
	return nil
}

// Join waits for the commit that Start began, if there is one.
func (t *Tx) Join() error {
	if t.flight == nil {
		return t.broken
	}
	err := <-t.flight
	t.flight = nil
	t.landed()
	if err != nil {
		t.fail(err)
	}
	return t.broken
}

// landed takes the overlay of the commit that was carried out from below the one
// in use, and its fresh pages as spare ones.
func (t *Tx) landed() {
	t.lock.Lock()
	defer t.lock.Unlock()
	if done, ok := t.over.base.(*overlay); ok && t.asked {
		for _, p := range done.fresh {
			if len(t.spare) == maxSpare {
				break
			}
			t.spare = append(t.spare, p)
		}
	}
	t.over.base = t.home
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
	t.rewrites = nil
	return j, next
}
