package txn

// WriteFresh implements store.Fresh. Where a crash finds these bytes they belong
// to no one: the last commit does not refer to them. They go home at once if the
// image carries the mark by now, and need no log. What a record of the epoch has
// bytes for goes by way of the log again, for a replay would bring those back.
func (t *Tx) WriteFresh(p []byte, off int64) error {
	begun := t.log == nil || t.state.stage == stageBegun || t.state.stage == stageWorking
	if t.broken != nil || !begun || t.over.covers(off, int64(len(p))) || t.isLogged(off, int64(len(p))) {
		_, err := t.WriteAt(p, off)
		return err
	}
	t.fresh = true
	t.unsynced += int64(len(p))
	_, err := t.home.WriteAt(p, off)
	return err
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
