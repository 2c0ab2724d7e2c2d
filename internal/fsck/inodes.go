package fsck

import (
	"fmt"
	"maps"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/tree"
)

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
	marks    marks
	nonces   []nonceOf
	findings []image.Finding
	res      Result // inodes counted by kind
	err      error  // why the range was left
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
	ranges := 1
	if c.ranged != nil {
		ranges = int(c.super.Inodes/pageInodes) + 1
	}
	err := inOrder(len(workers), ranges, func(w, i int) *examined { return workers[w].examine(i) }, c.take)
	if err != nil {
		return c.stopped("inode-table-damaged", err)
	}
	c.reportReuse()
	return nil
}

// examine looks at the inodes that share page i of the marks.
func (x *examiner) examine(i int) *examined {
	x.out = &examined{marks: make(marks)}
	if x.ranged == nil {
		x.out.err = x.fs.Inodes(x.inode)
	} else {
		first := image.Ino(i) * pageInodes
		x.out.err = x.ranged.InodesIn(first, first+pageInodes, x.inode)
	}
	return x.out
}

// take adds what was found in the next range.
func (c *checker) take(r *examined) error {
	maps.Copy(c.marks, r.marks)
	c.nonces.add(r.nonces)
	c.res.Inodes += r.res.Inodes
	c.res.Encrypted += r.res.Encrypted
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
	for _, r := range c.nonces.reused(len(c.trees)) {
		c.wait(image.Finding{ID: "nonce-reused", Severity: image.Error, Ino: r.ino,
			Text:   fmt.Sprintf("has the nonce of inode %d", r.first),
			Advice: "one of the two cannot be read, or both are encrypted alike: restore the context, or write one anew"})
	}
}
