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
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

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
	// Content reads all contents of encrypted files, not just their ends, and
	// whatever else has checksums.
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
	Inline    uint64 // files with encrypted contents inside of their inodes
	Errors    int
	Warnings  int
	Infos     int
}

// maxPending bounds the findings that wait for the path of their inode, and
// those that wait for the turn of their directory, so that an image that is all
// wrong does not fill the memory.
const maxPending = 50000

// Check checks a filesystem. The error is ctx's, or one that ends the check;
// damage is a finding.
func Check(ctx context.Context, fs image.FS, o Options) (Result, error) {
	c := newChecker(ctx, fs, o)
	defer c.close()
	c.volume()
	if err := c.inodes(); err != nil {
		return c.res, err
	}
	if c.res.Encrypted > 0 && !c.super.Encrypt {
		c.emit(Finding{Finding: image.Finding{ID: "feature-missing", Severity: image.Error,
			Text:   "there are encrypted inodes, but the superblock does not have the encrypt feature",
			Advice: "set it with fsenc setup: without it no kernel opens encrypted files"}})
	}
	if c.res.Encrypted == 0 && c.super.Encrypt && c.super.Layout != "" {
		c.emit(Finding{Finding: image.Finding{ID: "encrypt-unused", Severity: image.Info,
			Text:   "nothing is encrypted, and the feature encrypt (" + c.super.Layout + ") makes released kernels and tools refuse the filesystem",
			Advice: "fsenc setup IMAGE --remove clears it"}})
	}
	if c.res.Inline == 0 && c.super.Inline != "" {
		c.emit(Finding{Finding: image.Finding{ID: "inline-unused", Severity: image.Info,
			Text:   "no file uses the feature encrypted_inline_data (" + c.super.Inline + "), for which kernels and tools refuse what they could read",
			Advice: "fsenc setup IMAGE --remove --feature encrypted_inline_data clears it"}})
	}
	if err := c.names(); err != nil {
		return c.res, err
	}
	c.unnamed()
	if scrubber, ok := fs.(image.Scrubber); ok && o.Content {
		err := scrubber.CheckData(ctx.Err, func(f image.Finding) { c.emit(Finding{Finding: f}) })
		if err != nil {
			return c.res, c.stopped("checksums-damaged", err)
		}
	}
	return c.res, ctx.Err()
}

// checker is one run. Its workers only read it, but for what says otherwise.
type checker struct {
	ctx    context.Context
	fs     image.FS
	layout image.Checker // nil if the filesystem package has none
	ranged image.Ranged  // likewise
	trees  []*tree.Tree  // one for each worker
	o      Options
	super  image.Super
	caps   policy.Caps
	vol    crypt.Volume

	lostFound image.Ino
	marks     marks
	numbers   policyNumbers // locks itself
	nonces    nonces

	// pending are findings about inodes whose path the walk will tell.
	pending map[image.Ino][]image.Finding
	waiting int
	res     Result

	// held counts events of directories whose turn has not come; telling locks
	// what telling of them writes, see lister.add.
	held    atomic.Int64
	telling sync.Mutex
}

func newChecker(ctx context.Context, fs image.FS, o Options) *checker {
	c := &checker{ctx: ctx, fs: fs, o: o, super: fs.Super(), marks: make(marks), pending: make(map[image.Ino][]image.Finding)}
	c.layout, _ = fs.(image.Checker)
	c.ranged, _ = fs.(image.Ranged)
	c.caps = feature.Caps(c.super)
	c.vol = crypt.Volume{UUID: c.super.UUID, BlockSize: c.super.BlockSize}
	workers := runtime.GOMAXPROCS(0)
	if len(o.Keys.Keys()) > 0 {
		// Which key a v1 descriptor means is learned on the way, by one tree.
		workers = 1
	}
	for range workers {
		c.trees = append(c.trees, tree.New(fs, o.Keys))
	}
	return c
}

func (c *checker) close() {
	for _, t := range c.trees {
		t.Close()
	}
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

// wait keeps a finding about an inode until it can be reported with its path.
func (c *checker) wait(f image.Finding) {
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
	for ino, m := range c.marks.all() {
		if m.encrypted && !c.marks.isNamed(ino) && ino != c.fs.Root() {
			inos = append(inos, ino)
		}
	}
	slices.Sort(inos)
	for _, ino := range inos {
		c.wait(image.Finding{ID: "encrypted-unreachable", Severity: image.Warning, Ino: ino,
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
