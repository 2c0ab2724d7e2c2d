// Package fsck checks the encryption metadata of an image, read-only: every
// rule that the kernel enforces, those that e2fsck has, and those that neither
// looks at. With keys it decodes names, targets and the ends of files too.
//
// It works on image.FS and knows no layout; facts of one come from the
// filesystem package by way of image.Checker.
package fsck

import (
	"context"
	"errors"
	"slices"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/feature"
	"fsenc/internal/image"
	"fsenc/internal/tree"
)

// Finding is one thing that was found, and where.
type Finding struct {
	image.Finding
	Path string // "" if it is not about a file, or the file has no name
}

// Options say what to check.
type Options struct {
	// Keys may be nil. What a key opens is decoded.
	Keys *crypt.Keyring
	// Content reads all contents of encrypted files, not just their ends.
	Content bool
	// Report is called for each finding.
	Report func(Finding)
	// Progress is told now and then how many inodes were looked at.
	Progress func(inodes uint64)
}

// Result counts what was looked at and found.
type Result struct {
	Inodes    uint64 // in use
	Encrypted uint64 // marked encrypted
	Opened    uint64 // of those, with a key at hand
	Errors    int
	Warnings  int
	Infos     int
}

// maxPending bounds the findings that wait for the path of their inode, so
// that an image that is all wrong does not fill the memory.
const maxPending = 50000

// Check checks a filesystem. The error is ctx's, or one that ends the check;
// damage is a finding.
func Check(ctx context.Context, fs image.FS, o Options) (Result, error) {
	c := newChecker(ctx, fs, o)
	defer c.t.Close()
	c.volume()
	if err := c.fs.Inodes(c.inode); err != nil {
		if err := c.stopped("inode-table-damaged", err); err != nil {
			return c.res, err
		}
	}
	if c.res.Encrypted > 0 && !c.super.Encrypt {
		c.emit(Finding{Finding: image.Finding{ID: "feature-missing", Severity: image.Error,
			Text:   "there are encrypted inodes, but the superblock does not have the encrypt feature",
			Advice: "set it with fsenc setup: without it no kernel opens encrypted files"}})
	}
	err := c.t.Walk(c.t.Root(), c.entry)
	c.closeDir()
	if err != nil {
		return c.res, err
	}
	c.unnamed()
	return c.res, ctx.Err()
}

// checker is one run.
type checker struct {
	ctx    context.Context
	fs     image.FS
	layout image.Checker // nil if the filesystem package has none
	t      *tree.Tree
	o      Options
	super  image.Super
	caps   policy.Caps
	vol    crypt.Volume

	lostFound image.Ino
	used      bitset
	marks     map[image.Ino]mark
	policies  map[policy.Policy]uint32 // numbers that marks hold
	nonces    map[policy.Nonce]image.Ino
	dir       *dirState
	block     []byte

	// pending are findings about inodes whose path the walk will tell.
	pending map[image.Ino][]image.Finding
	waiting int
	res     Result
}

// mark is what the walk has to know of an inode that is marked encrypted or
// has a context.
type mark struct {
	policy    uint32
	kind      image.FileType
	encrypted bool // the inode's flag
	named     bool // an entry was met
}

// The first values of mark.policy; real policies have numbers from there.
const (
	noContext uint32 = iota
	badContext
	firstPolicy
)

func newChecker(ctx context.Context, fs image.FS, o Options) *checker {
	c := &checker{ctx: ctx, fs: fs, o: o, t: tree.New(fs, o.Keys), super: fs.Super(),
		marks: make(map[image.Ino]mark), policies: make(map[policy.Policy]uint32),
		nonces: make(map[policy.Nonce]image.Ino), pending: make(map[image.Ino][]image.Finding)}
	c.layout, _ = fs.(image.Checker)
	c.caps = feature.Caps(c.super)
	c.vol = crypt.Volume{UUID: c.super.UUID, BlockSize: c.super.BlockSize}
	c.block = make([]byte, c.super.BlockSize)
	return c
}

// volume checks what is there once.
func (c *checker) volume() {
	if c.layout != nil {
		c.layout.CheckVolume(func(f image.Finding) { c.emit(Finding{Finding: f}) })
	}
	var err error
	if c.lostFound, err = c.fs.LostFound(); err != nil {
		c.emit(Finding{Finding: damage("lost-found-damaged", 0, err)})
	}
}

// damage makes a finding of an error about damage.
func damage(id string, ino image.Ino, err error) image.Finding {
	f := image.Finding{ID: id, Severity: image.Error, Ino: ino, Text: err.Error(),
		Advice: "repair the filesystem with its own checker first"}
	var corrupt *image.CorruptError
	if errors.As(err, &corrupt) {
		f.Pblk = corrupt.Pblk
		if ino == 0 {
			f.Ino = corrupt.Ino
		}
	}
	return f
}

// stopped turns an error that ended a loop into a finding, unless it came from
// outside the image.
func (c *checker) stopped(id string, err error) error {
	if e := c.ctx.Err(); e != nil {
		return e
	}
	if !errors.Is(err, image.ErrCorrupt) {
		return err
	}
	c.emit(Finding{Finding: damage(id, 0, err)})
	return nil
}

// found notes a finding about an inode; it is reported with its path.
func (c *checker) found(f image.Finding) {
	if c.waiting >= maxPending || f.Ino == 0 {
		c.emit(Finding{Finding: f})
		return
	}
	c.waiting++
	c.pending[f.Ino] = append(c.pending[f.Ino], f)
}

// release reports what waited for the path of an inode.
func (c *checker) release(ino image.Ino, path string) {
	list := c.pending[ino]
	if list == nil {
		return
	}
	delete(c.pending, ino)
	c.waiting -= len(list)
	for _, f := range list {
		c.emit(Finding{f, path})
	}
}

func (c *checker) emit(f Finding) {
	switch f.Severity {
	case image.Error:
		c.res.Errors++
	case image.Warning:
		c.res.Warnings++
	default:
		c.res.Infos++
	}
	if c.o.Report != nil {
		c.o.Report(f)
	}
}

// unnamed reports on what the walk did not meet.
func (c *checker) unnamed() {
	var inos []image.Ino
	for ino, m := range c.marks {
		if m.encrypted && !m.named && ino != c.fs.Root() {
			inos = append(inos, ino)
		}
	}
	slices.Sort(inos)
	for _, ino := range inos {
		c.found(image.Finding{ID: "encrypted-unreachable", Severity: image.Warning, Ino: ino,
			Text:   "encrypted, but no directory that can be reached has a name for it",
			Advice: "run the filesystem's own checker"})
	}
	inos = inos[:0]
	for ino := range c.pending {
		inos = append(inos, ino)
	}
	slices.Sort(inos)
	for _, ino := range inos {
		c.release(ino, "")
	}
}

// bitset holds a bit for each inode number up to the greatest one in use.
type bitset []uint64

func (b *bitset) set(ino image.Ino) {
	for uint64(len(*b)) <= uint64(ino)/64 {
		*b = append(*b, 0)
	}
	(*b)[ino/64] |= 1 << (ino % 64)
}

func (b bitset) has(ino image.Ino) bool {
	return uint64(ino)/64 < uint64(len(b)) && b[ino/64]>>(ino%64)&1 == 1
}
