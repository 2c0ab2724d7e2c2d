package f2fs

import "fsenc/internal/store"

// A summary block (struct f2fs_summary_block) names the owner of each block of
// a segment. That of a current segment lies in the checkpoint pack, and has a
// journal between entries and footer.
const (
	sumEntrySize  = 7    // le32 nid, u8 version, le16 ofs_in_node
	sumEntriesLen = 3584 // 512 of them
	sumJournalLen = 507
	offSumFooter  = 4091 // u8 type, le32 checksum that nobody uses

	sumTypeData = 0
	sumTypeNode = 1
)

// The journals: le16 count, then entries. That of the hot data log overrides
// the NAT, that of the cold data log the SIT.
const (
	natJournalEntry = 4 + natEntrySize
	sitJournalEntry = 4 + sitEntrySize
	natJournalMax   = (sumJournalLen - 2) / natJournalEntry // 38
	sitJournalMax   = (sumJournalLen - 2) / sitJournalEntry // 6
)

func sumJournal(b []byte) []byte { return b[sumEntriesLen:][:sumJournalLen] }

// sumEntry is one entry of a summary block, a view.
type sumEntry []byte

func sumEntryAt(b []byte, off uint32) sumEntry { return b[off*sumEntrySize:][:sumEntrySize] }

func (e sumEntry) nid() uint32   { return le.Uint32(e) }
func (e sumEntry) version() byte { return e[4] }
func (e sumEntry) ofs() uint16   { return le.Uint16(e[5:]) }

func (e sumEntry) set(nid uint32, version byte, ofs uint16) {
	le.PutUint32(e, nid)
	e[4] = version
	le.PutUint16(e[5:], ofs)
}

// readSums reads the summaries of the current segments: those of the data logs
// in one of two forms, those of the node logs if the pack has them.
func (c *checkpoint) readSums(s store.Store, g *geometry) error {
	for log := range c.sums {
		c.sums[log] = make([]byte, blockSize)
	}
	start, total := g.packStart(c.pack), int64(c.u32(offPackTotal))
	nodes := c.is(ckptUmount | ckptFastboot)
	need := int64(c.u32(offPackStartSum)) + 1
	if c.is(ckptCompactSum) {
		if err := c.readCompact(s, start+int64(c.u32(offPackStartSum)), start+total); err != nil {
			return err
		}
	} else {
		at := total - 1 - 3
		if nodes {
			at -= 3
		}
		if at < need-1 {
			return packError(c.pack, "%d blocks, too few for its summaries", total)
		}
		for log := logHotData; log <= logColdData; log++ {
			if err := store.ReadFull(s, c.sums[log], (start+at+int64(log))*blockSize); err != nil {
				return err
			}
		}
	}
	if !nodes {
		return nil
	}
	if total-4 < int64(1+g.payload) {
		return packError(c.pack, "%d blocks, too few for its summaries", total)
	}
	for log := logHotNode; log <= logColdNode; log++ {
		if err := store.ReadFull(s, c.sums[log], (start+total-4+int64(log-logHotNode))*blockSize); err != nil {
			return err
		}
	}
	return nil
}

// readCompact reads the compact form from block at on: both journals, then the
// entries of the three data logs in turn. No entry crosses a block's last bytes.
func (c *checkpoint) readCompact(s store.Store, at, end int64) error {
	b := make([]byte, blockSize)
	if err := store.ReadFull(s, b, at*blockSize); err != nil {
		return err
	}
	copy(sumJournal(c.sums[logHotData]), b)
	copy(sumJournal(c.sums[logColdData]), b[sumJournalLen:])
	off := 2 * sumJournalLen
	for log := logHotData; log <= logColdData; log++ {
		_, n := c.curSeg(log)
		if c.head[offAllocType+log] != 0 {
			n = segBlocks // reused: any block of it may be in use
		}
		for i := range uint32(n) {
			if off+sumEntrySize > offSumFooter {
				if at++; at >= end-1 {
					return packError(c.pack, "too short for its compact summaries")
				}
				if err := store.ReadFull(s, b, at*blockSize); err != nil {
					return err
				}
				off = 0
			}
			copy(sumEntryAt(c.sums[log], i), b[off:])
			off += sumEntrySize
		}
	}
	return nil
}
