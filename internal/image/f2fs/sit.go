package f2fs

import (
	"fmt"
	"math/bits"

	"fsenc/internal/image"
)

const (
	sitEntrySize = 74
	sitPerBlock  = blockSize / sitEntrySize // 55
	sitMapLen    = segBlocks / 8
	sitTypeShift = 10
)

// sitEntry is struct f2fs_sit_entry, a view: le16 type<<10 | valid blocks, a map
// of them from the most significant bit on, le64 mtime.
type sitEntry []byte

func (e sitEntry) valid() uint32        { return uint32(le.Uint16(e)) & (1<<sitTypeShift - 1) }
func (e sitEntry) kind() int            { return int(le.Uint16(e) >> sitTypeShift) }
func (e sitEntry) bitmap() []byte       { return e[2 : 2+sitMapLen] }
func (e sitEntry) used(off uint32) bool { return bitmapTest(e.bitmap(), off) }

func (e sitEntry) set(kind int, valid uint32) {
	le.PutUint16(e, uint16(kind)<<sitTypeShift|uint16(valid))
}

// population counts the blocks that the map has in use.
func (e sitEntry) population() (n uint32) {
	for _, b := range e.bitmap() {
		n += uint32(bits.OnesCount8(b))
	}
	return n
}

// sitBlock is where block n of the SIT lies, in its first or second copy.
func (g *geometry) sitBlock(n uint32, second bool) int64 {
	at := int64(g.sit) + int64(n)
	if second {
		at += int64(g.sitSegs/2) * segBlocks
	}
	return at
}

// loadSIT reads the whole table, which has 74 bytes for 2 MiB, with its journal,
// and checks what the kernel checks at mount.
func (fs *FS) loadSIT() error {
	fs.sit = make([]byte, int(fs.geo.segs)*sitEntrySize)
	buf := make([]byte, blockSize)
	for seg := uint32(0); seg < fs.geo.segs; seg += sitPerBlock {
		n := seg / sitPerBlock
		if err := fs.readBlockAt(buf, fs.geo.sitBlock(n, bitmapTest(fs.sitBits, n))); err != nil {
			return err
		}
		copy(fs.sit[int(seg)*sitEntrySize:], buf[:sitPerBlock*sitEntrySize])
	}
	j := sumJournal(fs.ckpt.sums[logColdData])
	count := int(le.Uint16(j))
	if count > sitJournalMax {
		return packError(fs.ckpt.pack, "%d entries in the SIT journal", count)
	}
	for i := range count {
		e := j[2+i*sitJournalEntry:]
		seg := le.Uint32(e)
		if seg >= fs.geo.segs {
			return packError(fs.ckpt.pack, "segment %d in the SIT journal", seg)
		}
		fs.sitJournal = append(fs.sitJournal, seg)
		copy(fs.segment(seg), e[4:][:sitEntrySize])
	}
	return fs.checkSIT()
}

// segment is the entry of a segment as edits have left it.
func (fs *FS) segment(seg uint32) sitEntry {
	return fs.sit[int(seg)*sitEntrySize:][:sitEntrySize]
}

func (fs *FS) checkSIT() error {
	var nodes, data uint64
	for seg := range fs.geo.segs {
		e := fs.segment(seg)
		n := e.population()
		if n != e.valid() || e.kind() >= logs {
			return &image.CorruptError{What: "SIT entry", Pblk: fs.geo.blockOf(seg, 0),
				Why: fmt.Sprintf("segment %d of type %d says %d blocks, its map has %d", seg, e.kind(), e.valid(), n)}
		}
		if isNodeLog(e.kind()) {
			nodes += uint64(n)
		} else {
			data += uint64(n)
		}
	}
	if want := uint64(fs.ckpt.u32(offValidNodes)); nodes != want {
		return packError(fs.ckpt.pack, "%d nodes, segments of nodes have %d blocks", want, nodes)
	}
	if want := fs.ckpt.u64(offValidBlocks); nodes+data > want {
		return packError(fs.ckpt.pack, "%d blocks in use, segments have %d", want, nodes+data)
	}
	for log := range logs {
		if fs.sb.has(featRO) {
			break
		}
		seg, next := fs.ckpt.curSeg(log)
		if fs.segment(seg).used(uint32(next)) {
			return packError(fs.ckpt.pack, "the next block of log %d, %d of segment %d, is in use", log, next, seg)
		}
	}
	return nil
}

// inUse reports whether a block of the main area has an owner.
func (fs *FS) inUse(p image.Pblk) bool {
	seg, off := fs.geo.segOf(p)
	return fs.segment(seg).used(off)
}
