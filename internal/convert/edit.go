package convert

import (
	"errors"
	"fmt"

	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/txn"
)

// Edit applies a small change, of features or of the metadata that keeps the
// keys, whole or not at all: after a crash Open brings the image to the old
// or the new state. The caller removes the log afterwards.
func Edit(home, log store.Store, change func(image.FS) error) error {
	return editWith(home, log, txn.Header{Kind: kindEdit}, change)
}

func editWith(home, log store.Store, h txn.Header, change func(image.FS) error) error {
	before, err := probe.Open(home, probe.Options{Write: true})
	if err != nil {
		return err
	}
	tx, fs, err := begin(home, log, before, h, nil)
	if err != nil {
		return err
	}
	if err := stageEdit(fs, change); err != nil {
		tx.Discard()
		return errors.Join(err, rollBackEdit(tx))
	}
	if err := commit(tx, fs, nil); err != nil {
		return unfinished(err)
	}
	return end(tx, fs)
}

// TryEdit stages the change and drops it: the dry run of Edit.
func TryEdit(home store.Store, change func(image.FS) error) error {
	tx := txn.Scratch(home)
	fs, err := probe.Open(tx, probe.Options{Write: true})
	if err != nil {
		return err
	}
	return stageEdit(fs, change)
}

func stageEdit(fs image.FS, change func(image.FS) error) error {
	if err := change(fs); err != nil {
		return err
	}
	return fs.Flush()
}

// rollBackEdit clears the mark of an edit that was not committed.
func rollBackEdit(tx *txn.Tx) error {
	fs, err := probe.Open(tx, probe.Options{Write: true, AllowUnfinished: true})
	if err != nil {
		return unfinished(err)
	}
	tx.SetMarker(marker(fs))
	if err := tx.Settle(); err != nil {
		return err
	}
	return end(tx, fs)
}

// finishEdit ends an interrupted edit: its one commit is there or it is not.
func finishEdit(tx *txn.Tx) (Outcome, error) {
	if !tx.Begun() {
		return NeverBegun, voidLog(tx)
	}
	if tx.Finished() {
		return finishEnd(tx)
	}
	err := tx.Recover()
	if errors.Is(err, txn.ErrNeverBegun) {
		return NeverBegun, tx.Wipe()
	}
	if err != nil {
		return 0, recoverError(err)
	}
	out := RolledBack
	if tx.Worked() {
		out = Applied
	}
	if err := rollBackEdit(tx); err != nil {
		return 0, fmt.Errorf("end interrupted edit: %w", err)
	}
	return out, nil
}
