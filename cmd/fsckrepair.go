package cmd

import (
	"fmt"

	"fsenc/internal/convert"
	"fsenc/internal/fsck"
	"fsenc/internal/image"
)

// repair puts right what a filesystem package can put right by itself, whole or
// not at all, and returns how much that was.
func (a *app) repair(o *fsckOptions, path string) (int, error) {
	x, err := a.openWriting(path, &o.keys)
	if err != nil {
		return 0, err
	}
	defer x.Close()
	x.silent = !o.keys.passphraseGiven() && o.keys.keyID == "" && o.keys.protector == ""
	if err := x.unlockAll(); err != nil {
		return 0, err
	}
	var done []image.Finding
	change := func(fs image.FS) error {
		done = nil
		r, ok := fs.(image.Repairer)
		if !ok {
			return nil
		}
		return r.Repair(fsck.Fits(fs, x.ring), func(f image.Finding) { done = append(done, f) })
	}
	if err := convert.TryEdit(x.home, change); err != nil || len(done) == 0 {
		return 0, err
	}
	for _, f := range done {
		if err := a.tellRepair(f); err != nil {
			return 0, err
		}
	}
	if a.flags.dryRun {
		return len(done), nil
	}
	if err := a.confirm(fmt.Sprintf("Make %s?", plural(uint64(len(done)), "repair"))); err != nil {
		return 0, err
	}
	return len(done), a.edit(x.opened, change)
}

// tellRepair prints one repair.
func (a *app) tellRepair(f image.Finding) error {
	word := "repaired"
	if a.flags.dryRun {
		word = "repairable"
	}
	if a.json() {
		return a.emit(jsonFinding{header: headerOf("fsck"), Event: word, ID: f.ID, Severity: f.Severity.String(), Inode: f.Ino, Text: f.Text})
	}
	_, err := fmt.Fprintf(a.out, "%s: %s: inode %d: %s\n", word, f.ID, f.Ino, f.Text)
	return err
}
