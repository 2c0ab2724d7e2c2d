package f2fs

import (
	"bytes"
	"maps"
	"slices"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// Flush stages one checkpoint with all that was edited; nothing if nothing was.
//
// It goes into the other pack. Nothing that the last checkpoint refers to is
// overwritten but by Settle, so if only a part of this reaches the disk, what
// counts is whether the last block of the new pack is there. To a caller whose
// store stages writes and commits them as a whole that is a second safety; but
// it has to commit one checkpoint before it flushes the next, for blocks that
// the first frees are written to at once.
func (fs *FS) Flush() error {
	if err := fs.flushSupers(); err != nil {
		return err
	}
	if err := fs.flushQuotas(); err != nil {
		return err
	}
	if len(fs.dirty)+len(fs.natNew)+len(fs.segDirty)+len(fs.sums) == 0 && !fs.renew {
		return nil
	}
	if err := fs.flushData(); err != nil {
		return err
	}
	if err := fs.placeNodes(); err != nil {
		return err
	}
	if err := fs.checkTotals(); err != nil {
		return err
	}
	for _, seg := range slices.Sorted(maps.Keys(fs.sums)) {
		if err := fs.cache.Write(fs.sums[seg], (int64(fs.geo.ssa)+int64(seg))*blockSize); err != nil {
			return err
		}
	}
	if err := fs.flushNAT(); err != nil {
		return err
	}
	if err := fs.flushSIT(); err != nil {
		return err
	}
	if err := fs.writeCheckpoint(); err != nil {
		return err
	}
	if fs.twin {
		if err := fs.writePack(1 - fs.ckpt.pack); err != nil {
			return err
		}
	}
	fs.renew, fs.twin = false, false
	fs.natJournal, fs.sitJournal = nil, nil
	fs.begin()
	return nil
}

// FlushEarly implements image.Early. No checkpoint refers to these places before
// Flush.
func (fs *FS) FlushEarly(inodes bool) error {
	f, ok := fs.s.(store.Fresh)
	if !ok {
		return nil
	}
	if inodes {
		if err := fs.flushQuotas(); err != nil {
			return err
		}
		if err := fs.placeNodes(); err != nil {
			return err
		}
		fs.dirty = make(map[uint32]*dirtyNode, len(fs.dirty))
	}
	if err := fs.flushData(); err != nil {
		return err
	}
	fs.kept = make(map[image.Pblk][]byte, len(fs.kept))
	return f.WriteEarly()
}

// checkTotals makes sure that the next checkpoint is one that a kernel mounts,
// whatever damage the edits have met.
func (fs *FS) checkTotals() error {
	var nodes, all uint64
	for seg := range fs.geo.segs {
		e := fs.segment(seg)
		all += uint64(e.valid())
		if isNodeLog(e.kind()) {
			nodes += uint64(e.valid())
		}
	}
	if nodes != fs.validNodes || all > fs.validBlocks || fs.validBlocks > fs.ckpt.u64(offUserBlocks) || fs.validInodes > nodes {
		return packError(fs.ckpt.pack, "would come to %d blocks, %d nodes, %d inodes; its segments to %d blocks, %d nodes",
			fs.validBlocks, fs.validNodes, fs.validInodes, all, nodes)
	}
	return nil
}

// placeNodes gives every node that was edited its new place.
func (fs *FS) placeNodes() error {
	for _, nid := range slices.Sorted(maps.Keys(fs.dirty)) {
		d := fs.dirty[nid]
		e, err := fs.natEntry(nid)
		if err != nil {
			return err
		}
		p, err := fs.allocBlock(d.log, nid, 0, 0)
		if err != nil {
			return err
		}
		if d.old != 0 {
			fs.clearBlock(d.old)
		}
		e.block = uint32(p)
		fs.natNew[nid] = e
		le.PutUint64(d.raw[offFootVer:], fs.ckpt.nodeVersion())
		le.PutUint32(d.raw[offFootNext:], uint32(p)+1)
		if d.raw.nid() == d.raw.ino() {
			if err := fs.sealInode(d.raw); err != nil {
				return err
			}
		}
		if err := fs.cache.WriteFresh(d.raw, int64(p)*blockSize); err != nil {
			return err
		}
	}
	return nil
}

// sealInode computes the checksum of an inode, where it has one.
func (fs *FS) sealInode(r rawNode) error {
	in := &inode{ino: image.Ino(r.nid()), raw: r}
	if err := fs.measure(in); err != nil {
		return err
	}
	if fs.hasChksum(in) {
		in.set32(offInodeChksum, fs.inodeChksum(r))
	}
	return nil
}

// flushNAT writes changed entries, and those of the journal, to the other copies
// of their blocks.
func (fs *FS) flushNAT() error {
	all := make(map[uint32]natEntry, len(fs.natJournal)+len(fs.natNew))
	maps.Copy(all, fs.natJournal)
	maps.Copy(all, fs.natNew)
	nids := slices.Sorted(maps.Keys(all))
	b := make([]byte, blockSize)
	for i := 0; i < len(nids); {
		n := nids[i] / natPerBlock
		if _, err := fs.readNATRun(n, b); err != nil {
			return err
		}
		for ; i < len(nids) && nids[i]/natPerBlock == n; i++ {
			all[nids[i]].put(b[nids[i]%natPerBlock*natEntrySize:])
		}
		bitmapFlip(fs.natBits, n)
		fs.natPages[n%uint32(len(fs.natPages))].Store(nil)
		if err := fs.cache.Write(b, fs.geo.natBlock(n, bitmapTest(fs.natBits, n))*blockSize); err != nil {
			return err
		}
	}
	return nil
}

// flushSIT does the same with segments.
func (fs *FS) flushSIT() error {
	blocks := make(map[uint32]bool)
	for seg := range fs.segDirty {
		blocks[seg/sitPerBlock] = true
	}
	for _, seg := range fs.sitJournal {
		blocks[seg/sitPerBlock] = true
	}
	for _, n := range slices.Sorted(maps.Keys(blocks)) {
		b := make([]byte, blockSize)
		copy(b[:sitPerBlock*sitEntrySize], fs.sit[int(n)*sitPerBlock*sitEntrySize:])
		bitmapFlip(fs.sitBits, n)
		if err := fs.cache.Write(b, fs.geo.sitBlock(n, bitmapTest(fs.sitBits, n))*blockSize); err != nil {
			return err
		}
	}
	return nil
}

// writeCheckpoint writes the next checkpoint into the other pack.
func (fs *FS) writeCheckpoint() error {
	c := *fs.ckpt
	c.head, c.payload = bytes.Clone(c.head), bytes.Clone(c.payload)
	c.pack = 1 - c.pack
	h := c.head
	le.PutUint64(h[offCkptVer:], c.version()+1)
	le.PutUint64(h[offValidBlocks:], fs.validBlocks)
	le.PutUint32(h[offValidNodes:], uint32(fs.validNodes))
	le.PutUint32(h[offValidInodes:], uint32(fs.validInodes))
	le.PutUint32(h[offNextFreeNid:], fs.nextNid)
	le.PutUint32(h[offFreeSegs:], fs.emptySegments())
	const drop = ckptCompactSum | ckptNATBits | ckptTrimmed | ckptNoCRC | ckptFastboot
	le.PutUint32(h[offCkptFlags:], c.flags()&^drop|ckptUmount|ckptCRCRecovery)
	le.PutUint32(h[offPackTotal:], 2+fs.geo.payload+logs)
	le.PutUint32(h[offPackStartSum:], 1+fs.geo.payload)
	c.setBitmaps(fs.sitBits, fs.natBits)
	off := c.chksumOffset()
	le.PutUint32(h[off:], ckptCRC(h, int(off)))
	for _, log := range []int{logHotData, logColdData} {
		c.sums[log] = bytes.Clone(c.sums[log])
		clear(sumJournal(c.sums[log]))
	}
	fs.ckpt = &c
	return fs.writePack(c.pack)
}

// writePack writes the checkpoint into one of the two packs: its contents do not
// say which. The last block makes it valid.
func (fs *FS) writePack(pack int) error {
	c, at := fs.ckpt, fs.geo.packStart(pack)*blockSize
	parts := append([][]byte{c.head, c.payload}, c.sums[:]...)
	for _, p := range append(parts, c.head) {
		if len(p) == 0 {
			continue
		}
		if err := fs.cache.Write(p, at); err != nil {
			return err
		}
		at += int64(len(p))
	}
	return nil
}

// emptySegments is free_segment_count: without a block in use, and not current.
func (fs *FS) emptySegments() (n uint32) {
	for seg := range fs.geo.segs {
		if fs.segment(seg).valid() == 0 && !fs.current(seg) {
			n++
		}
	}
	return n
}

// flushSupers stages both superblocks if one field of them has changed.
func (fs *FS) flushSupers() error {
	if !fs.superDirty {
		return nil
	}
	fs.superDirty = false
	fs.sb.seal()
	for _, n := range []int{1 - fs.copy, fs.copy} {
		if err := fs.cache.Write(fs.sb.raw, int64(n*blockSize+superOffset)); err != nil {
			return err
		}
	}
	return nil
}
