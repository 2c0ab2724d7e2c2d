package convert

import (
	"errors"
	"fmt"

	"fsenc/internal/crypt"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/txn"
)

// kindEdit is the log of Edit; the others are named after their Op.
const kindEdit = "edit"

// Interrupted is a conversion that waits for its keys.
type Interrupted struct {
	tx   *txn.Tx
	fs   image.FS
	plan *Plan
	pos  position
}

// Open opens the log of an interrupted conversion and brings the image's
// metadata to its last commit, which needs no key.
//
// For an interrupted Edit, or a conversion that never touched the image or
// had already ended, there is nothing to go on with: Open finishes it, and
// what it returns is nil, with the Outcome saying what became of it.
func Open(home, log store.Store) (*Interrupted, Outcome, error) {
	tx, err := txn.Open(home, log)
	if errors.Is(err, txn.ErrLogDamaged) && unmarked(home) {
		return nil, NeverBegun, nil
	}
	if err == nil {
		err = checkImage(home, tx.Header())
	}
	if err != nil {
		return nil, 0, err
	}
	switch {
	case tx.Header().Kind == kindEdit:
		out, err := finishEdit(tx)
		return nil, out, err
	case !tx.Begun():
		return nil, NeverBegun, voidLog(tx)
	case tx.Finished():
		out, err := finishEnd(tx)
		return nil, out, err
	}
	p, pos, err := decode(tx)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", txn.ErrLogDamaged, err)
	}
	err = tx.Recover()
	if errors.Is(err, txn.ErrNeverBegun) {
		return nil, NeverBegun, tx.Wipe()
	}
	if err != nil {
		return nil, 0, recoverError(err)
	}
	fs, err := probe.Open(tx, probe.Options{Write: true, AllowUnfinished: true})
	if err != nil {
		return nil, 0, unfinished(err)
	}
	return &Interrupted{tx, fs, p, pos}, Ready, nil
}

// voidLog wipes a log that has no record, unless the image says that there was
// one.
func voidLog(tx *txn.Tx) error {
	if err := tx.Recover(); err != nil {
		return err
	}
	return tx.Wipe()
}

// checkImage makes sure that the log of another image is not taken for one that
// is void here: that image may wait for it. Where a crash tore the superblock
// nothing can be said; then the guarded record tells.
func checkImage(home store.Store, h txn.Header) error {
	fs, err := probe.Open(home, probe.Options{AllowUnfinished: true, AllowDirty: true})
	if err != nil {
		return nil
	}
	if u := fs.Super().UUID; u != h.UUID {
		return fmt.Errorf("%w: made for the filesystem %x, this is %x", txn.ErrLogForeign, h.UUID, u)
	}
	if mark := fs.Unfinished(); mark != [16]byte{} && !h.Names(mark) {
		return fmt.Errorf("%w: the image waits for the journal %x, this is %x", txn.ErrLogForeign, mark[:txn.IDLen], h.ID[:txn.IDLen])
	}
	return nil
}

// decode reads the plan and the position in it.
func decode(tx *txn.Tx) (*Plan, position, error) {
	p, err := unmarshalPlan(tx.Plan())
	if err != nil {
		return nil, position{}, err
	}
	pos, err := decodePosition(tx.Position())
	if err == nil && (pos.item > p.steps() || pos.active && pos.item == p.steps()) {
		err = fmt.Errorf("%w: position behind its end", errPlan)
	}
	return p, pos, err
}

// Plan is what was being done.
func (i *Interrupted) Plan() *Plan { return i.plan }

// Undoing reports whether it was being undone.
func (i *Interrupted) Undoing() bool { return i.pos.down }

// Done is how many of the plan's inodes have their new form.
func (i *Interrupted) Done() uint64 { return i.pos.item }

// FS is the filesystem, for finding the keys: names and metadata of trees that
// are not being converted can be read.
func (i *Interrupted) FS() image.FS { return i.fs }

// Resume brings the contents to the last commit too. Run then goes on from
// there, in either direction. Of a key that is missing or another one the
// error wraps crypt.ErrNoKey or ErrWrongKey.
func (i *Interrupted) Resume(keys *crypt.Keyring) (*Conversion, error) {
	if err := i.plan.findKeys(keys); err != nil {
		return nil, err
	}
	c := newConversion(i.tx, i.fs, i.plan, keys, i.pos)
	if err := i.tx.Recover(); err != nil {
		return nil, recoverError(err)
	}
	i.tx.SetMarker(marker(i.fs))
	return c, i.tx.Settle()
}

// unmarked reports whether the image is one that no conversion waits for: a
// log beside it that cannot be read was cut off while it was made or wiped.
func unmarked(home store.Store) bool {
	_, err := probe.Open(home, probe.Options{Write: true})
	return err == nil
}

// Outcome is what Open found.
type Outcome int

// The outcomes.
const (
	Ready      Outcome = iota // a conversion to go on with
	NeverBegun                // no conversion waits for this log: it is void
	Applied                   // everything had been done but clearing the mark
	RolledBack                // nothing had been done but setting the mark
)

// recoverError leaves an error that says that the log never reached the image
// as it is; after any other the image may be in pieces until recovery succeeds.
func recoverError(err error) error {
	if errors.Is(err, txn.ErrLogForeign) {
		return err
	}
	return unfinished(err)
}

// finishEnd is for a log whose last commit clears the mark.
func finishEnd(tx *txn.Tx) (Outcome, error) {
	if err := tx.Recover(); err != nil {
		return 0, recoverError(err)
	}
	return Applied, tx.Wipe()
}
