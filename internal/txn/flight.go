package txn

import "slices"

// flight is a commit that is being carried out while the next one is staged. It
// alone writes until it is done. What it has staged is still read, from memory:
// home may have it or not.
type flight struct {
	done chan error
}

// Start begins a commit like Commit and returns before it is done. Until Join
// only reads and staging go on beside it: everything else waits for it first,
// and an error of the commit ends the transaction there.
func (t *Tx) Start(position []byte) error {
	if err := t.Join(); err != nil {
		return err
	}
	j, next := t.prepare(stageWorking, position)
	if t.due(j) {
		// What ends an epoch stages a mark, which cannot be beside other edits.
		return t.finish(t.carryOut(j, next))
	}
	f := &flight{done: make(chan error, 1)}
	t.setOverlay(newOverlay(t.over))
	t.flight = f
	go func() { f.done <- t.carryOut(j, next) }()
	return nil
}

// Join waits for the commit that Start began, if there is one.
func (t *Tx) Join() error {
	f := t.flight
	if f == nil {
		return t.broken
	}
	err := <-f.done
	t.flight = nil
	t.lock.Lock()
	t.over.base = t.home
	t.lock.Unlock()
	if err != nil {
		t.fail(err)
	}
	return t.broken
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

// due reports whether an epoch ends with a job.
func (t *Tx) due(j *job) bool {
	return j.guarded || t.unsynced+j.size() >= maxUnsynced || t.log != nil && t.state.epochLen+t.recordLen(j) >= maxEpoch
}
