package txn

import (
	"fmt"
	"maps"
	"slices"
)

// WriteFresh implements store.Fresh. Where a crash finds these bytes they belong
// to no one: the last commit does not refer to them. If the image carries the
// mark by now they need no log: the commit writes them, and makes them durable
// before it counts. What a record of the epoch has bytes for goes by way of the log again,
// for a replay would bring those back.
func (t *Tx) WriteFresh(p []byte, off int64) error {
	whole := off%pageSize == 0 && len(p)%pageSize == 0
	if t.broken != nil || !t.marked() || !whole || off+int64(len(p)) > t.Size() || t.over.covers(off, int64(len(p))) || t.isLogged(off, int64(len(p))) {
		_, err := t.WriteAt(p, off)
		return err
	}
	t.keepFresh(p, off/pageSize)
	if len(t.over.fresh) < maxFresh {
		return nil
	}
	if err := t.WriteEarly(); err != nil {
		return err
	}
	return t.joinEarly()
}

// marked reports whether the image carries the mark by now, or needs none.
func (t *Tx) marked() bool {
	return t.log == nil || t.flight != nil || t.state.stage == stageBegun || t.state.stage == stageWorking
}

// keepFresh keeps whole pages from number no on.
func (t *Tx) keepFresh(p []byte, no int64) {
	t.lock.Lock()
	defer t.lock.Unlock()
	for ; len(p) > 0; p, no = p[pageSize:], no+1 {
		t.over.fresh[no] = p[:pageSize:pageSize]
	}
}

// early is what becomes of pages that are written before their commit.
type early struct {
	done    chan error
	written bool
}

// WriteEarly implements store.Fresh.
func (t *Tx) WriteEarly() error {
	join := t.joinEarly
	if t.log == nil {
		// Nothing tells what the commit before is still going to write.
		join = t.Join
	}
	if err := join(); err != nil {
		return err
	}
	if t.broken != nil || len(t.over.fresh) == 0 {
		return nil
	}
	pages := t.over.fresh
	t.lock.Lock()
	t.over.early, t.over.fresh = pages, make(map[int64][]byte, len(pages))
	t.lock.Unlock()
	t.spilled = true
	e, f := &early{done: make(chan error, 1)}, t.flight
	t.early = e
	go func() {
		if f != nil {
			// Until it counts, the commit before may refer to these places.
			if <-f.decide; !f.stands {
				e.done <- nil
				return
			}
		}
		e.written = true
		err := t.writePages(pages)
		t.sync.begin()
		e.done <- err
	}()
	return nil
}

// joinEarly waits for what WriteEarly writes. What it has left because the commit
// failed that it waits for stays in memory: Join tells that.
func (t *Tx) joinEarly() error {
	e := t.early
	if e == nil {
		return nil
	}
	t.early = nil
	if err := <-e.done; err != nil {
		t.fail(fmt.Errorf("write what is new to the image: %w", err))
		return t.broken
	}
	if !e.written {
		return t.Join()
	}
	t.lock.Lock()
	defer t.lock.Unlock()
	t.keepSpare(t.over.early)
	t.over.early = nil
	return nil
}

// isLogged reports whether a record of the epoch may hold some of n bytes at off.
func (t *Tx) isLogged(off, n int64) bool {
	for no := off / pageSize; no*pageSize < off+n; no++ {
		if t.logged[no] {
			return true
		}
	}
	return false
}

// noteLogged keeps which pages the record of a job holds bytes of. Of contents
// with checksums it holds none: a replay leaves alone what is not old.
func (t *Tx) noteLogged(j *job) {
	if t.log == nil {
		return
	}
	if t.logged == nil {
		t.logged = make(map[int64]bool)
	}
	note := func(off, n int64) {
		for no := off / pageSize; no*pageSize < off+n; no++ {
			t.logged[no] = true
		}
	}
	for _, s := range j.spans {
		note(s.off, int64(len(s.data)))
	}
	if t.head.Method != Journal {
		return
	}
	for i := range j.groups {
		note(j.groups[i].off(), int64(j.groups[i].size))
	}
}

// freshRun is how many pages of what is fresh are written in one piece.
const freshRun = 1 << 20 / pageSize

// maxFresh is how many pages of it are kept in memory.
var maxFresh = 32 << 20 / pageSize

// writeFresh writes what is fresh to its places and makes it durable.
func (t *Tx) writeFresh(j *job) error {
	if len(j.fresh) == 0 && !j.spilled {
		return nil
	}
	if err := t.writePages(j.fresh); err != nil {
		return err
	}
	return t.sync.sync()
}

// writePages writes pages home, those that adjoin together.
func (t *Tx) writePages(pages map[int64][]byte) error {
	run := make([][]byte, 0, freshRun)
	var at int64
	for _, no := range slices.Sorted(maps.Keys(pages)) {
		if off := no * pageSize; off != at+int64(len(run))*pageSize || len(run) == freshRun {
			if err := t.writeRun(run, at); err != nil {
				return err
			}
			at, run = off, run[:0]
		}
		run = append(run, pages[no])
	}
	t.unsynced.Add(int64(len(pages)) * pageSize)
	return t.writeRun(run, at)
}

// vectorWriter is a store that writes what lies scattered in memory in one piece.
type vectorWriter interface {
	WriteVector(parts [][]byte, off int64) error
}

// writeRun writes pages one behind the other.
func (t *Tx) writeRun(pages [][]byte, off int64) error {
	v, ok := t.home.(vectorWriter)
	if !ok || len(pages) < 2 {
		return t.writeData(slices.Concat(pages...), off)
	}
	n := int64(len(pages)) * pageSize
	if err := v.WriteVector(pages, off); err != nil {
		return err
	}
	t.startWriteback(off, n)
	return nil
}
