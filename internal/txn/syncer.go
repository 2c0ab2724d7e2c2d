package txn

import (
	"sync"

	"fsenc/internal/store"
)

// syncer makes home durable, also beside other work: the more has been synced
// before, the less a commit has to wait for.
type syncer struct {
	home store.Store
	mu   sync.Mutex // held while it syncs
	err  error      // the first failure: a later sync would not tell what was lost
}

// begin starts a sync and returns, unless one is under way.
func (s *syncer) begin() {
	if !s.mu.TryLock() {
		return
	}
	go func() {
		defer s.mu.Unlock()
		_ = s.try() // its error comes with the next one
	}()
}

// sync makes all durable that was written before.
func (s *syncer) sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.try()
}

func (s *syncer) try() error {
	if s.err == nil {
		s.err = s.home.Sync()
	}
	return s.err
}
