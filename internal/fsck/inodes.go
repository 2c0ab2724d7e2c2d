package fsck

import (
	"errors"
	"fmt"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/tree"
)

// rangeInodes is how many inode numbers are examined in one piece.
const rangeInodes = 4096

// examiner is a worker on inodes.
type examiner struct {
	*checker
	t        *tree.Tree
	block    []byte
	verdicts map[policy.Policy]*verdict
	out      *examined
	found    func(image.Finding) // notes a finding in out
}

// examined is what a range of inodes gave.
type examined struct {
	marks    []markOf
	nonces   []nonceOf
	findings []image.Finding
	res      Result // inodes counted by kind
	err      error  // why the range was left
}

type markOf struct {
	ino image.Ino
	mark
}

func (c *checker) newExaminer(t *tree.Tree) *examiner {
	x := &examiner{checker: c, t: t, block: make([]byte, c.super.BlockSize), verdicts: make(map[policy.Policy]*verdict)}
	x.found = func(f image.Finding) { x.out.findings = append(x.out.findings, f) }
	return x
}

// inodes examines all inodes, by ranges if the filesystem package has them.
func (c *checker) inodes() error {
	var workers []*examiner
	for _, t := range c.trees {
		workers = append(workers, c.newExaminer(t))
	}
	var err error
	if c.ranged != nil {
		err = inOrder(len(workers), upTo(c.super.Inodes/rangeInodes+1), func(w int, i uint64) *examined {
			first := image.Ino(i) * rangeInodes
			return workers[w].examine(func(f func(image.Attr, error) error) error { return c.ranged.InodesIn(first, first+rangeInodes, f) })
		}, c.take)
	} else {
		err = inOrder(len(workers), c.batches, func(w int, b *batch) *examined { return workers[w].examine(b.inodes) }, c.take)
	}
	if err != nil {
		return c.stopped("inode-table-damaged", err)
	}
	c.reportReuse()
	return nil
}

// batch is some inodes, as FS.Inodes gave them.
type batch struct {
	attrs []image.Attr
	errs  []error
	end   error // of FS.Inodes, after the last of them
}

// inodes is FS.Inodes for those in the batch.
func (b *batch) inodes(f func(image.Attr, error) error) error {
	for i, a := range b.attrs {
		if err := f(a, b.errs[i]); err != nil {
			return err
		}
	}
	return b.end
}

var errNoMore = errors.New("no more inodes are wanted")

// batches yields all inodes where there are no ranges.
func (c *checker) batches(yield func(*batch) bool) {
	b := new(batch)
	err := c.fs.Inodes(func(a image.Attr, err error) error {
		b.attrs, b.errs = append(b.attrs, a), append(b.errs, err)
		if len(b.attrs) < rangeInodes {
			return nil
		}
		full := b
		b = new(batch)
		if !yield(full) {
			return errNoMore
		}
		return nil
	})
	if !errors.Is(err, errNoMore) {
		b.end = err
		yield(b)
	}
}

// examine looks at inodes that list lists.
func (x *examiner) examine(list func(func(image.Attr, error) error) error) *examined {
	x.out = new(examined)
	x.out.err = list(x.inode)
	return x.out
}

// take adds what was found in the next range.
func (c *checker) take(r *examined) error {
	for _, m := range r.marks {
		c.marks.set(m.ino, m.mark)
	}
	c.nonces.add(r.nonces)
	c.res.Inodes += r.res.Inodes
	c.res.Encrypted += r.res.Encrypted
	c.res.Inline += r.res.Inline
	c.res.Opened += r.res.Opened
	for _, f := range r.findings {
		c.wait(f)
	}
	if c.o.Progress != nil && r.res.Inodes > 0 {
		c.o.Progress(c.res.Inodes)
	}
	return r.err
}

func (c *checker) reportReuse() {
	sharing, _ := c.fs.(image.Sharing)
	for _, r := range c.nonces.reused(len(c.trees)) {
		if sharing != nil {
			if same, err := sharing.SameFile(r.ino, r.first); err == nil && same {
				continue
			}
		}
		c.wait(image.Finding{ID: "nonce-reused", Severity: image.Error, Ino: r.ino,
			Text:   fmt.Sprintf("has the nonce of inode %d", r.first),
			Advice: "one of the two cannot be read, or both are encrypted alike: restore the context, or write one anew"})
	}
}
