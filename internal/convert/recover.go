package convert

import (
	"encoding/binary"
	"errors"
	"fmt"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
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
	if err != nil {
		return nil, 0, err
	}
	switch {
	case tx.Header().Kind == kindEdit:
		out, err := finishEdit(tx)
		return nil, out, err
	case !tx.Begun():
		return nil, NeverBegun, tx.Wipe()
	case tx.Finished():
		out, err := finishEnd(tx)
		return nil, out, err
	}
	p, pos, err := decode(tx)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", txn.ErrLogDamaged, err)
	}
	err = tx.Recover(nil)
	if errors.Is(err, txn.ErrNeverBegun) {
		return nil, NeverBegun, tx.Wipe()
	}
	if err != nil {
		return nil, 0, recoverError(err)
	}
	fs, err := probe.Open(tx, probe.Options{Write: true, AllowUnfinished: true})
	if err != nil {
		return nil, 0, err
	}
	return &Interrupted{tx, fs, p, pos}, Ready, nil
}

// decode reads the plan and the position in it.
func decode(tx *txn.Tx) (*Plan, position, error) {
	p, err := unmarshalPlan(tx.Plan())
	if err != nil {
		return nil, position{}, err
	}
	pos, err := decodePosition(tx.Position())
	if err == nil && (pos.item > uint64(len(p.items)) || pos.active && pos.item == uint64(len(p.items))) {
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
// there, in either direction.
func (i *Interrupted) Resume(keys *crypt.Keyring) (*Conversion, error) {
	for _, pol := range i.plan.AllPolicies() {
		if _, err := keys.For(pol); err != nil {
			return nil, err
		}
	}
	c := newConversion(i.tx, i.fs, i.plan, keys, i.pos)
	if err := i.tx.Recover(c.complete); err != nil {
		return nil, recoverError(err)
	}
	return c, nil
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
	if err := tx.Recover(nil); err != nil {
		return 0, recoverError(err)
	}
	return Applied, tx.Wipe()
}

// Tag of a rewritten run, by offset: 0 u64 inode, 8 u64 lblk, 16 u32 inFile,
// 20 u8 and 21 u8 one more than the index of the old and the new policy (0:
// plaintext), 24 nonce of the old and 40 nonce of the new context.
func (c *Conversion) tag(r *run) txn.Tag {
	var t txn.Tag
	binary.LittleEndian.PutUint64(t[0:], uint64(r.ino))
	binary.LittleEndian.PutUint64(t[8:], uint64(r.lblk))
	binary.LittleEndian.PutUint32(t[16:], uint32(r.inFile))
	for i, f := range []form{r.from, r.to} {
		if f == nil {
			continue
		}
		for k, p := range c.policies {
			if p == f.Policy {
				t[20+i] = byte(k + 1)
			}
		}
		copy(t[24+16*i:], f.Nonce[:])
	}
	return t
}

func (c *Conversion) runOf(t txn.Tag) (*run, error) {
	r := &run{
		ino:    image.Ino(binary.LittleEndian.Uint64(t[0:])),
		lblk:   image.Lblk(binary.LittleEndian.Uint64(t[8:])),
		inFile: int(binary.LittleEndian.Uint32(t[16:])),
	}
	for i, f := range []*form{&r.from, &r.to} {
		k := int(t[20+i])
		if k > len(c.policies) {
			return nil, fmt.Errorf("%w: tag of inode %d", txn.ErrLogDamaged, r.ino)
		}
		if k > 0 {
			*f = &policy.Context{Policy: c.policies[k-1], Nonce: policy.Nonce(t[24+16*i:][:16])}
		}
	}
	return r, nil
}

// complete computes the new contents of sectors that a crash left old. The
// range as it is goes through the ciphers whole; with a mode that allows it
// (see method) what comes out for an old sector does not depend on the others,
// and what comes out for a new one is dropped.
func (c *Conversion) complete(t *txn.Torn) error {
	r, err := c.runOf(t.Tag)
	if err != nil {
		return err
	}
	if r.inFile > len(t.Cur) || len(t.Cur)%c.vol.BlockSize != 0 {
		return fmt.Errorf("%w: tag of inode %d", txn.ErrLogDamaged, r.ino)
	}
	r.buf = append([]byte(nil), t.Cur...)
	if err := c.recodeRun(r); err != nil {
		return fmt.Errorf("inode %d: %w", r.ino, err)
	}
	for i, old := range t.Old {
		if old {
			copy(t.Cur[i*txn.SectorSize:][:txn.SectorSize], r.buf[i*txn.SectorSize:])
		}
	}
	return nil
}
