package convert

import (
	"fmt"

	"fsenc/internal/store"
	"fsenc/internal/txn"
)

// LogState is what a log says, without a look at keys.
type LogState struct {
	Header txn.Header

	Begun    bool // the image carries the mark, or may carry it
	Finished bool // only the log is left to be removed

	// Of a conversion; Plan is nil for the log of an Edit.
	Plan     *Plan
	Done     uint64 // extents and inodes that have their new form
	Total    uint64
	Undoing  bool
	Boundary uint64 // blocks of the one under way that are done
}

// Describe reads a log and changes nothing, neither it nor the image. The
// error is one of txn.Open, or wraps txn.ErrLogDamaged.
func Describe(home, log store.Store) (*LogState, error) {
	tx, err := txn.Open(home, log)
	if err != nil {
		return nil, err
	}
	s := &LogState{Header: tx.Header(), Begun: tx.Begun(), Finished: tx.Finished()}
	if s.Header.Kind == kindEdit {
		return s, nil
	}
	p, pos, err := decode(tx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", txn.ErrLogDamaged, err)
	}
	s.Plan, s.Done, s.Total, s.Undoing = p, pos.item, p.steps(), pos.down
	if pos.active && pos.lblk != ^uint64(0) {
		s.Boundary = pos.lblk
	}
	return s, nil
}
