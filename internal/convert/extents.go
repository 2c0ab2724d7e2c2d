package convert

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/txn"
)

// Where extents have contexts of their own, an extent is encrypted once however
// many files refer to it, and each of them has the context. So the extents are
// converted first, in place, while all inodes have their old form; then the
// inodes, whose step changes contexts and marks only. Undo goes the other way.
// Hence the rule for nonces: while extents are converted their old form is what
// the inodes say, and their new one comes from the plan.

// diskItem is an extent to convert, whole as it was allocated.
type diskItem struct {
	at     image.Pblk
	len    uint32    // blocks
	policy uint8     // index into Plan.Policies
	ino    image.Ino // a file that refers to it
}

// extentContext is what is stored of a form of an extent.
func extentContext(f policy.Context) policy.ExtentContext {
	return policy.ExtentContext{Version: 1, Mode: f.Contents, Identifier: f.Identifier, Nonce: f.Nonce}
}

// extentContexts remembers the contexts that the files asked last have stored.
type extentContexts struct {
	of map[image.Ino]map[image.Pblk]string
	n  int
}

// What extentContexts keeps is bounded: a file takes the room of some contexts.
const (
	maxStoredContexts = 1 << 17
	fileContexts      = 8
)

// storedExtent is the form of an extent that the inode of its item tells.
func (c *Conversion) storedExtent(x diskItem) (form, error) {
	if c.plan.Op == Encrypt {
		return nil, nil
	}
	of, ok := c.stored.of[x.ino]
	if !ok {
		if c.stored.of == nil || c.stored.n > maxStoredContexts {
			c.stored = extentContexts{of: make(map[image.Ino]map[image.Pblk]string)}
		}
		of = make(map[image.Pblk]string)
		err := c.extents.DiskExtents(x.ino, func(e image.DiskExtent) error {
			of[e.Start] = e.Context
			return nil
		})
		if err != nil {
			return nil, err
		}
		c.stored.of[x.ino] = of
		c.stored.n += fileContexts + len(of)
	}
	e, err := policy.ParseExtentContext([]byte(of[x.at]))
	if err != nil {
		return nil, err
	}
	f := &policy.Context{Policy: c.plan.Policies[x.policy], Nonce: e.Nonce}
	return f, e.Check(f.Policy)
}

// extentForm is a form of an extent with the nonce of the plan: the new one, or
// the one it gets when the conversion is undone.
func (c *Conversion) extentForm(at image.Pblk, inode form, old bool) form {
	if inode == nil {
		return nil
	}
	return &policy.Context{Policy: inode.Policy, Nonce: c.nonces.ofExtent(at, old)}
}

// stepExtent stages an extent's contents from the boundary on, and their
// checksums, and reports whether it reached the end.
func (c *Conversion) stepExtent(d Direction, b *batch, x diskItem) (bool, error) {
	from, err := c.storedExtent(x)
	if err != nil {
		return false, err
	}
	var inode form
	switch c.plan.Op {
	case Encrypt:
		inode = &policy.Context{Policy: c.plan.Policies[x.policy]}
	case Rekey:
		inode = &policy.Context{Policy: *c.plan.Target}
	}
	to := c.extentForm(x.at, inode, false)
	whole := []image.Extent{{Pblk: x.at, Len: uint64(x.len)}}
	limit := max(1, uint64(c.limits.run/c.sb.BlockSize))
	for {
		p, ok := nextPiece(d, whole, c.pos.lblk, limit)
		if !ok {
			return true, nil
		}
		if c.full(b) || c.staged() >= c.limits.staged {
			return false, nil
		}
		if err := c.rewriteExtent(b, x.ino, p, pick(d, from, to), pick(d, to, from)); err != nil {
			return false, err
		}
		c.pos.lblk = uint64(p.Lblk)
		if d == Forward {
			c.pos.lblk += p.Len
		}
	}
}

// rewriteExtent stages the new contents of a piece of an extent, in all places
// where it lies, and its checksums. For those it is converted twice: now in
// memory, and again when the transaction writes it.
func (c *Conversion) rewriteExtent(b *batch, ino image.Ino, p image.Extent, from, to form) error {
	r := run{ino: ino, lblk: p.Lblk, inFile: int(p.Len) * c.sb.BlockSize, from: from, to: to, extent: true}
	buf := c.room(r.inFile)
	if err := c.fs.ReadBlocks(buf, p.Pblk); err != nil {
		return err
	}
	if err := c.recodeRun(&r, buf); err != nil {
		return err
	}
	if err := c.extents.SetSums(buf, p.Pblk); err != nil {
		return err
	}
	return c.fs.Places(p.Pblk, p.Len, func(skip uint64, off, n int64) error {
		part := r
		part.lblk, part.inFile = p.Lblk+image.Lblk(skip), int(n)
		c.tx.Rewrite(txn.Rewrite{Off: off, Len: int(n), Tag: c.tag(&part)})
		b.runs++
		b.bytes += n
		return nil
	})
}

// stepFileByExtent gives a file and the marks of its extents their other form.
// Contents that the plan does not name move with it: what was inside of the
// inode, and what has come out of it by this conversion.
func (c *Conversion) stepFileByExtent(d Direction, it item, from, to form) error {
	if c.pos.isNew != (d == Back) {
		return nil // the inode has the form it shall have
	}
	from, to = pick(d, from, to), pick(d, to, from)
	a, err := c.fs.Stat(it.ino)
	if err != nil {
		return err
	}
	if a.Inline {
		if done, err := c.convertWithin(a, from, to); done || err != nil {
			c.noteIdle(it.ino) // there may be extents behind what is inside
			return err
		}
		from = nil
	}
	return c.encryptExtents(it.ino, from, to, d == Back)
}

// encryptExtents converts the extents of a file that the plan does not name, and
// gives inode and extents their marks and contexts.
func (c *Conversion) encryptExtents(ino image.Ino, from, to form, old bool) error {
	if err := c.convertStrays(ino, from, to, old); err != nil {
		return err
	}
	if err := c.setForm(ino, to); err != nil {
		return err
	}
	if to == nil {
		return c.extents.SetExtents(ino, nil)
	}
	return c.extents.SetExtents(ino, func(start image.Pblk) []byte {
		return extentContext(*c.extentForm(start, to, old)).Bytes()
	})
}

// convertStrays converts the extents of a file that the plan does not name.
// They are small and pass through the staged metadata.
func (c *Conversion) convertStrays(ino image.Ino, from, to form, old bool) error {
	var strays []image.DiskExtent
	err := c.extents.DiskExtents(ino, func(e image.DiskExtent) error {
		if e.Idle {
			c.noteIdle(ino)
		}
		if !e.Unwritten && !c.plan.hasExtent(e.Start) {
			strays = append(strays, e)
		}
		return nil
	})
	for _, e := range strays {
		if err == nil {
			err = c.convertStray(ino, e, from, c.extentForm(e.Start, to, old))
		}
	}
	return err
}

// noteIdle remembers a file for wipeUnwritten.
func (c *Conversion) noteIdle(ino image.Ino) {
	if c.idle != nil {
		c.idle[ino] = true
	}
}

func (c *Conversion) convertStray(ino image.Ino, e image.DiskExtent, inode, to form) error {
	r := run{ino: ino, inFile: int(e.Len) * c.sb.BlockSize, extent: true, to: to}
	if inode != nil {
		x, err := policy.ParseExtentContext([]byte(e.Context))
		if err != nil {
			return err
		}
		r.from = &policy.Context{Policy: inode.Policy, Nonce: x.Nonce}
	}
	buf := c.room(r.inFile)
	if err := c.fs.ReadBlocks(buf, e.Start); err != nil {
		return err
	}
	if err := c.recodeRun(&r, buf); err != nil {
		return err
	}
	return c.fs.WriteBlocks(buf, e.Start)
}

func (p *Plan) hasExtent(at image.Pblk) bool {
	_, ok := slices.BinarySearchFunc(p.extents, at, func(x diskItem, at image.Pblk) int { return cmp.Compare(x.at, at) })
	return ok
}

// appendExtents encodes the extents of a plan.
func appendExtents(b []byte, list []diskItem) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	at, ino := image.Pblk(0), image.Ino(0)
	for _, x := range list {
		b = append(b, x.policy)
		b = binary.AppendUvarint(b, uint64(x.at-at))
		b = binary.AppendUvarint(b, uint64(x.len))
		b = binary.AppendVarint(b, int64(x.ino-ino))
		at, ino = x.at, x.ino
	}
	return b
}

// extents decodes what appendExtents wrote.
func (r *planReader) extents(p *Plan) {
	n := r.count(4)
	at, ino := image.Pblk(0), image.Ino(0)
	for i := range n {
		x := diskItem{policy: r.byte()}
		step, size := r.uvarint(), r.uvarint()
		ino += image.Ino(r.varint())
		if int(x.policy) >= len(p.Policies) || size == 0 || size > maxExtentBlocks || i > 0 && step == 0 {
			r.bad = true
			return
		}
		at += image.Pblk(step)
		x.at, x.len, x.ino = at, uint32(size), ino
		p.extents = append(p.extents, x)
	}
}

// maxExtentBlocks is more than any extent has.
const maxExtentBlocks = 1 << 24

// addExtents plans the extents of a file with contexts of their own, each once.
func (s *scanner) addExtents(a image.Attr, by image.ByExtent, p *place, index uint8) error {
	err := by.DiskExtents(a.Ino, func(e image.DiskExtent) error {
		switch {
		case s.starts.has(e.Start, 1):
			return nil
		case e.Unwritten && e.Len > 0 && e.Len <= maxExtentBlocks:
			if !s.reading {
				s.idle[e.Start] = placedExtent{diskItem{at: e.Start, len: uint32(e.Len), ino: a.Ino}, p}
			}
			return nil
		case s.plan.Op != Encrypt && e.Context == "":
			if s.target != nil {
				s.refuse(p, a.Ino, "", "an extent at block %d is not encrypted, in an encrypted file: run fsenc fsck", e.Start)
			}
			return nil
		}
		if e.Len == 0 || e.Len > maxExtentBlocks || !s.claimed.add(e.Start, e.Len) {
			return &image.CorruptError{What: "extent", Ino: a.Ino, Pblk: e.Start,
				Why: fmt.Sprintf("%d blocks, of which some belong to another extent of the tree", e.Len)}
		}
		s.starts.add(e.Start, 1)
		if !s.reading {
			s.found = append(s.found, placedExtent{diskItem{at: e.Start, len: uint32(e.Len), policy: index, ino: a.Ino}, p})
		}
		s.plan.Totals.Bytes += int64(e.Len) * int64(s.sb.BlockSize)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	return nil
}
