package f2fs

import (
	"fmt"

	"fsenc/internal/image"
)

// ownership asks summaries for the owners of blocks.
type ownership struct {
	fs   *FS
	sums map[uint32][]byte // by segment
	err  error             // of reading
}

// keptSums bounds the summaries that are kept, 4 KiB each.
const keptSums = 64

func (fs *FS) newOwnership() *ownership {
	return &ownership{fs: fs, sums: make(map[uint32][]byte)}
}

// summary is that of a segment, nil where there is none: with the feature ro,
// and for current segments of nodes in an image that was not unmounted.
func (o *ownership) summary(seg uint32) []byte {
	c := o.fs.ckpt
	if o.fs.sb.has(featRO) {
		return nil
	}
	for log := range logs {
		if cur, _ := c.curSeg(log); cur != seg {
			continue
		}
		if isNodeLog(log) && !c.is(ckptUmount|ckptFastboot) {
			return nil
		}
		return c.sums[log]
	}
	if b := o.sums[seg]; b != nil {
		return b
	}
	b := make([]byte, blockSize)
	if err := o.fs.cache.Read(b, (int64(o.fs.geo.ssa)+int64(seg))*blockSize); err != nil {
		o.err = err
		return nil
	}
	if len(o.sums) >= keptSums {
		clear(o.sums)
	}
	o.sums[seg] = b
	return b
}

// node tells what is wrong with the place of a node, "" if nothing is. The
// inodes' own places are verified when they are read.
func (o *ownership) node(nid uint32, e natEntry) (id, why string) {
	p := image.Pblk(e.block)
	if !o.fs.geo.inMain(p) {
		if nid == e.ino {
			return "", ""
		}
		return "node-address", "not a block of the main area"
	}
	if !o.fs.inUse(p) {
		return "node-free", "the SIT has it free: it will be overwritten"
	}
	if why := o.check(p, nid, 0, 0, false); why != "" {
		return "summary-wrong", why
	}
	return "", ""
}

// data tells what is wrong with the summary of a block of contents.
func (o *ownership) data(s slot) string {
	e, err := o.fs.natEntry(s.nid)
	if err != nil {
		return err.Error()
	}
	return o.check(image.Pblk(s.addr), s.nid, e.version, s.ofs, true)
}

func (o *ownership) check(p image.Pblk, nid uint32, version byte, ofs uint16, versions bool) string {
	seg, off := o.fs.geo.segOf(p)
	b := o.summary(seg)
	if b == nil {
		return ""
	}
	e := sumEntryAt(b, off)
	switch {
	case e.nid() != nid || e.ofs() != ofs:
		return fmt.Sprintf("its summary says node %d at %d, it is node %d at %d", e.nid(), e.ofs(), nid, ofs)
	case versions && e.version() != version:
		return fmt.Sprintf("its summary says version %d of node %d, the NAT version %d", e.version(), nid, version)
	}
	return ""
}
