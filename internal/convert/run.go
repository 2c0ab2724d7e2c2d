package convert

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/txn"
)

// Direction is where Run moves the boundary.
type Direction int

// Forward finishes the conversion, Back undoes it.
const (
	Forward Direction = iota
	Back
)

// Progress is what a running conversion reports.
type Progress struct {
	Phase      string // "convert", "undo", "wipe"
	Items      uint64 // inodes done
	TotalItems uint64
	Bytes      int64 // of contents written by this run
	TotalBytes int64
}

// Conversion is a plan bound to an image, a log and keys.
type Conversion struct {
	tx     *txn.Tx
	fs     image.FS
	sb     image.Super
	vol    crypt.Volume
	keys   *crypt.Keyring
	plan   *Plan
	nonces nonces

	policies []policy.Policy // of the plan, as tags of contents count them

	pos    position
	limits limits

	ciphers sync.Pool // of *crypt.Contents

	extents image.ByExtent // nil where contents have the keys of inodes
	stored  extentContexts
	piece   []byte // of contents, see room

	// idle are the files of which some blocks were never written, if this run has
	// passed all files; nil otherwise.
	idle map[image.Ino]bool

	since uint64 // image.Gaps.Generation before the first commit of this process

	bytes  int64
	report func(Progress)
}

// Begin records the plan in log and marks the image. After an error that
// wraps txn.ErrUnfinished the way on is Open; after any other the image is as
// it was.
func Begin(home, log store.Store, p *Plan, keys *crypt.Keyring) (*Conversion, error) {
	if _, err := rand.Read(p.Seed[:]); err != nil {
		return nil, err
	}
	if err := p.noteKeys(keys); err != nil {
		return nil, err
	}
	before, err := p.checkFresh(home)
	if err != nil {
		return nil, err
	}
	m := p.Method()
	// An inode that holds its name gets a context before its directory, and with
	// it the name, is encrypted.
	plaintext := p.Op == Decrypt || p.super.NamedInodes
	h := txn.Header{Kind: p.Op.String(), Method: m, Plaintext: plaintext}
	tx, fs, err := begin(home, log, before, h, p.marshal())
	if err != nil {
		return nil, err
	}
	return newConversion(tx, fs, p, keys, position{}), nil
}

// checkFresh opens the image and makes sure that it is the one that was planned
// for: while the user was asked, somebody may have mounted it, and what is an inode
// of the tree in the plan may be another file now.
func (p *Plan) checkFresh(home store.Store) (image.FS, error) {
	if len(p.Shared) > 0 {
		return nil, fmt.Errorf("%w: %d extents are shared with others: Unshare comes first", ErrRefused, len(p.Shared))
	}
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err == nil && !reflect.DeepEqual(fs.Super(), p.super) {
		err = fmt.Errorf("%w: it was written to after the conversion had been planned", image.ErrInUse)
	}
	return fs, err
}

// BeginCopy is Begin for an image that nobody uses before it is complete, and
// that is dropped if anything fails: neither log nor mark. Metadata is written
// in the end, so that no block is written in two versions.
func BeginCopy(home store.Store, p *Plan, keys *crypt.Keyring) (*Conversion, error) {
	if _, err := rand.Read(p.Seed[:]); err != nil {
		return nil, err
	}
	tx := txn.Unlogged(home)
	fs, err := probe.Open(tx, probe.Options{Write: true})
	if err != nil {
		return nil, err
	}
	c := newConversion(tx, fs, p, keys, position{})
	c.limits.staged, c.limits.early = copyStaged, 0
	return c, nil
}

// copyStaged is how much metadata a copy keeps in memory, in bytes. Only where
// there is more, blocks may be written before all of their inodes are converted.
const copyStaged = 512 << 20

// begin makes the log and sets the mark on an image that before was opened from.
func begin(home, log store.Store, before image.FS, h txn.Header, plan []byte) (*txn.Tx, image.FS, error) {
	if _, err := rand.Read(h.ID[:txn.IDLen]); err != nil {
		return nil, nil, err
	}
	h.UUID, h.MarkOff = before.Super().UUID, before.MarkOffset()
	tx, err := txn.Create(home, log, h, plan)
	if err != nil {
		return nil, nil, err
	}
	fs, err := probe.Open(tx, probe.Options{Write: true})
	if err != nil {
		return nil, nil, err
	}
	if err := fs.SetUnfinished(tx.Mark()); err != nil {
		return nil, nil, err
	}
	if err := fs.Flush(); err != nil {
		return nil, nil, err
	}
	if err := tx.Begin(position{}.encode()); err != nil {
		return nil, nil, err
	}
	tx.SetMarker(marker(fs))
	return tx, fs, nil
}

// marker stages a mark, and nothing else, by way of the filesystem.
func marker(fs image.FS) txn.Marker {
	return func(mark [16]byte) error {
		if err := fs.SetUnfinished(mark); err != nil {
			return err
		}
		return fs.Flush()
	}
}

func newConversion(tx *txn.Tx, fs image.FS, p *Plan, keys *crypt.Keyring, pos position) *Conversion {
	sb := fs.Super()
	c := &Conversion{
		tx: tx, fs: fs, sb: sb, keys: keys, plan: p, pos: pos,
		vol:    crypt.Volume{UUID: sb.UUID, BlockSize: sb.BlockSize},
		nonces: newNonces(p.Seed), policies: p.AllPolicies(),
		limits: defaultLimits,
		report: func(Progress) {},
	}
	c.extents, _ = fs.(image.ByExtent)
	if g, ok := fs.(image.Gaps); ok {
		c.since = g.Generation()
	}
	if sb.NamedInodes || c.extents != nil {
		c.limits.staged = wholeInodes
	}
	if _, ok := fs.(image.Early); ok {
		c.limits.early = earlyInodes
	}
	tx.SetTransform(c.recode)
	return c
}

// Plan is what is being done.
func (c *Conversion) Plan() *Plan { return c.plan }

// OnProgress sets what is called after each commit.
func (c *Conversion) OnProgress(f func(Progress)) { c.report = f }

// Run moves the boundary to one end and finishes: wipes, clears the mark and
// the log's contents. The caller then removes the log. An interruption is
// honoured between commits; any error wraps txn.ErrUnfinished, and Open
// and Resume go on from there.
func (c *Conversion) Run(ctx context.Context, d Direction) error {
	if c.extents != nil && d == Forward && c.pos == (position{}) {
		c.idle = make(map[image.Ino]bool)
	}
	if err := c.batches(ctx, d); err != nil {
		return c.unfinished(err)
	}
	if c.wipes(d) {
		if err := c.wipe(ctx); err != nil {
			return c.unfinished(err)
		}
	}
	if c.tx.Header().Method == txn.None {
		return c.tx.Checkpoint()
	}
	return end(c.tx, c.fs)
}

// wipes reports whether remains are wiped in the end: where blocks are copied to
// be changed, also those of a decryption that was undone.
func (c *Conversion) wipes(d Direction) bool {
	if d == Forward {
		return c.plan.Wipe
	}
	_, moves := c.fs.(image.Moving)
	return c.plan.Op == Decrypt && (moves || c.extents != nil)
}

// batches moves the boundary to one end. While a commit is carried out the next
// one is staged.
func (c *Conversion) batches(ctx context.Context, d Direction) error {
	var last Progress // of the commit that is under way
	for !c.atEnd(d) {
		err := ctx.Err()
		if err == nil {
			err = c.batch(d)
		}
		if err != nil {
			return errors.Join(err, c.tx.Join())
		}
		if last.Phase != "" {
			c.report(last)
		}
		last = c.progress(d)
	}
	if err := c.tx.Join(); err != nil {
		return err
	}
	if last.Phase != "" {
		c.report(last)
	}
	return nil
}

// unfinished says that the way on is Open, but of a copy, which is dropped.
func (c *Conversion) unfinished(err error) error {
	if c.tx.Header().Method == txn.None {
		return err
	}
	return unfinished(err)
}

func unfinished(err error) error {
	if errors.Is(err, txn.ErrUnfinished) {
		return err
	}
	return fmt.Errorf("%w: %w", txn.ErrUnfinished, err)
}

// end clears the mark, and then what the log says.
func end(tx *txn.Tx, fs image.FS) error {
	if err := tx.Checkpoint(); err != nil {
		return err
	}
	if err := fs.SetUnfinished([16]byte{}); err != nil {
		return unfinished(err)
	}
	if err := fs.Flush(); err != nil {
		return unfinished(err)
	}
	if err := tx.End(tx.Position()); err != nil {
		return err
	}
	if err := tx.Wipe(); err != nil {
		return fmt.Errorf("%w: %w", ErrLogLeft, err)
	}
	return nil
}

// ErrLogLeft: everything is done, but the log could not be overwritten.
var ErrLogLeft = errors.New("the image is complete, its log was not wiped")

func (c *Conversion) atEnd(d Direction) bool {
	if d == Back {
		return c.pos.item == 0 && !c.pos.active
	}
	return c.pos.item == c.plan.steps()
}

func (c *Conversion) progress(d Direction) Progress {
	p := Progress{Phase: "convert", Items: c.pos.item, TotalItems: c.plan.steps(),
		Bytes: c.bytes, TotalBytes: c.plan.Totals.Bytes}
	if d == Back {
		p.Phase = "undo"
	}
	return p
}

// batch stages as much as fits and begins to commit it.
func (c *Conversion) batch(d Direction) error {
	b := &batch{}
	pos := c.pos
	for !c.atEnd(d) {
		more, err := c.makeRoom(b)
		if err == nil && more {
			err = c.step(d, b)
		}
		if err != nil {
			c.tx.Discard()
			c.pos = pos
			return err
		}
		if !more {
			break
		}
	}
	c.bytes += b.bytes
	c.pos.down = d == Back
	if err := flush(c.tx, c.fs); err != nil {
		return err
	}
	return c.tx.Start(c.pos.encode())
}

// commit makes what is staged durable, with the position.
func (c *Conversion) commit() error { return commit(c.tx, c.fs, c.pos.encode()) }

func commit(tx *txn.Tx, fs image.FS, position []byte) error {
	if err := flush(tx, fs); err != nil {
		return err
	}
	return tx.Commit(position)
}

// flush stages what the filesystem keeps, and the mark of the next commit.
func flush(tx *txn.Tx, fs image.FS) error {
	if mark, ok := tx.NextMark(); ok {
		if err := fs.SetUnfinished(mark); err != nil {
			return err
		}
	}
	return fs.Flush()
}

// staged is how many bytes of metadata the next commit will write.
func (c *Conversion) staged() int64 {
	n := c.tx.StagedBytes()
	if f, ok := c.fs.(image.Caching); ok {
		n += f.Pending()
	}
	return n
}

// step stages the next item, or as much of it as fits.
func (c *Conversion) step(d Direction, b *batch) error {
	if !c.pos.active {
		c.enter(d)
	}
	done, err := c.stepItem(d, b)
	if done && err == nil {
		c.leave(d)
	}
	return err
}

// stepItem stages what is under way, or as much of it as fits.
func (c *Conversion) stepItem(d Direction, b *batch) (done bool, err error) {
	n := uint64(len(c.plan.extents))
	if c.pos.item < n {
		x := c.plan.extents[c.pos.item]
		if done, err = c.stepExtent(d, b, x); err != nil {
			err = fmt.Errorf("extent at block %d, of inode %d: %w", x.at, x.ino, err)
		}
		return done, err
	}
	it := c.plan.items[c.pos.item-n]
	from, to, err := c.forms(it)
	switch {
	case err != nil:
	case it.kind == image.TypeRegular && c.extents != nil:
		done, err = true, c.stepFileByExtent(d, it, from, to)
	case it.kind == image.TypeRegular:
		done, err = c.stepFile(d, b, it, from, to)
	default:
		done = true
		if c.pos.isNew == (d == Back) {
			err = c.convertMeta(it, pick(d, from, to), pick(d, to, from))
		}
	}
	if err != nil {
		err = fmt.Errorf("inode %d: %w", it.ino, err)
	}
	return done, err
}

// enter puts the boundary into the next item of the direction.
func (c *Conversion) enter(d Direction) {
	c.pos.active = true
	c.pos.isNew, c.pos.lblk = false, 0
	if d == Back {
		c.pos.item--
		c.pos.isNew, c.pos.lblk = true, ^uint64(0)
	}
}

// leave takes the boundary out of an item that is done.
func (c *Conversion) leave(d Direction) {
	c.pos.active, c.pos.isNew, c.pos.lblk = false, false, 0
	if d == Forward {
		c.pos.item++
	}
}

// forms tells the old and the new form of the item under way. The inode still
// has the one that it was entered with; the other comes from the plan.
func (c *Conversion) forms(it item) (from, to form, err error) {
	stored, err := c.storedForm(it.ino)
	if err != nil {
		return nil, nil, err
	}
	if c.pos.isNew {
		return c.oldForm(it), stored, nil
	}
	return stored, c.newForm(it), nil
}

func pick(d Direction, forward, back form) form {
	if d == Forward {
		return forward
	}
	return back
}
