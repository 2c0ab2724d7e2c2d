package f2fs

import (
	"fmt"
	"sync/atomic"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

const (
	natEntrySize = 9
	natPerBlock  = blockSize / natEntrySize // 455

	// firstNid is the first number that can be given away: those below are the
	// inodes of nodes, of metadata and of the root.
	firstNid = 4
)

// natEntry is struct f2fs_nat_entry: where a node is. A free one has block 0.
type natEntry struct {
	version byte
	ino     uint32
	block   uint32
}

func natEntryOf(b []byte) natEntry { return natEntry{b[0], le.Uint32(b[1:]), le.Uint32(b[5:])} }

func (e natEntry) put(b []byte) {
	b[0] = e.version
	le.PutUint32(b[1:], e.ino)
	le.PutUint32(b[5:], e.block)
}

// bitmapTest reads bit n of a bitmap that is numbered from the most significant
// bit of each byte, as those of SIT and NAT are; bitmapFlip turns it.
func bitmapTest(b []byte, n uint32) bool { return b[n/8]>>(7-n%8)&1 == 1 }

func bitmapFlip(b []byte, n uint32) { b[n/8] ^= 1 << (7 - n%8) }

// natBlock is where block n of the NAT lies, in its first or second copy.
// Copies alternate segment by segment.
func (g *geometry) natBlock(n uint32, second bool) int64 {
	at := int64(g.nat) + int64(n/segBlocks)*2*segBlocks + int64(n%segBlocks)
	if second {
		at += segBlocks
	}
	return at
}

// natJournal reads the entries that override the table.
func (c *checkpoint) natJournal(g *geometry) (map[uint32]natEntry, error) {
	j := sumJournal(c.sums[logHotData])
	n := int(le.Uint16(j))
	if n > natJournalMax {
		return nil, packError(c.pack, "%d entries in the NAT journal", n)
	}
	m := make(map[uint32]natEntry, n)
	for i := range n {
		e := j[2+i*natJournalEntry:]
		nid := le.Uint32(e)
		if uint64(nid) >= g.nids {
			return nil, packError(c.pack, "node %d in the NAT journal, there are %d", nid, g.nids)
		}
		m[nid] = natEntryOf(e[4:])
	}
	return m, nil
}

// readNATRun reads as many blocks of the NAT from n on as buf has room for, and as
// lie one behind the other in their current copies; it returns how many. The journal
// is not in them.
func (fs *FS) readNATRun(n uint32, buf []byte) (uint32, error) {
	second, k := bitmapTest(fs.natBits, n), uint32(1)
	most := min(uint32(len(buf)/blockSize), segBlocks-n%segBlocks, uint32((fs.geo.nids-1)/natPerBlock)+1-n)
	for k < most && bitmapTest(fs.natBits, n+k) == second {
		k++
	}
	return k, store.ReadFull(fs.s, buf[:k*blockSize], fs.geo.natBlock(n, second)*blockSize)
}

// natEntry returns the entry of a node.
func (fs *FS) natEntry(nid uint32) (natEntry, error) {
	if uint64(nid) >= fs.geo.nids {
		return natEntry{}, &image.CorruptError{What: "node number", Ino: image.Ino(nid), Why: fmt.Sprintf("%d, there are %d", nid, fs.geo.nids)}
	}
	if e, ok := fs.natNew[nid]; ok {
		return e, nil
	}
	if e, ok := fs.natJournal[nid]; ok {
		return e, nil
	}
	b, err := fs.recentNAT(nid / natPerBlock)
	if err != nil {
		return natEntry{}, err
	}
	return natEntryOf(b[nid%natPerBlock*natEntrySize:]), nil
}

// natPage is a block of the NAT, which does not change.
type natPage struct {
	n uint32
	b [blockSize]byte
}

// natPages are blocks that were asked for not long ago, each in the place that the
// last bits of its number tell. They are safe for concurrent use.
type natPages [16]atomic.Pointer[natPage]

// recentNAT returns the current copy of a block of the NAT, without journal.
func (fs *FS) recentNAT(n uint32) ([]byte, error) {
	at := &fs.natPages[n%uint32(len(fs.natPages))]
	if p := at.Load(); p != nil && p.n == n {
		return p.b[:], nil
	}
	p := &natPage{n: n}
	if _, err := fs.readNATRun(n, p.b[:]); err != nil {
		return nil, err
	}
	at.Store(p)
	return p.b[:], nil
}

// nodeBlock returns where a node that must exist lies.
func (fs *FS) nodeBlock(nid uint32) (natEntry, error) {
	e, err := fs.natEntry(nid)
	if err != nil {
		return e, err
	}
	switch {
	case e.block == 0:
		return e, fmt.Errorf("inode %d: %w", nid, image.ErrNotExist)
	case e.block == newAddr && fs.dirty[nid] != nil:
	case !fs.geo.inMain(image.Pblk(e.block)):
		return e, &image.CorruptError{What: "NAT entry", Ino: image.Ino(nid), Pblk: image.Pblk(e.block), Why: "not a block of the main area"}
	}
	return e, nil
}

// nats calls f for each node in use in ascending order, inodes or all.
func (fs *FS) nats(first, end uint64, f func(nid uint32, e natEntry) error) error {
	end = min(end, fs.geo.nids)
	if first >= end {
		return nil
	}
	last := (end - 1) / natPerBlock
	buf := make([]byte, blockSize*min(natRun, last-first/natPerBlock+1))
	for n := uint32(first / natPerBlock); uint64(n) <= last; {
		k, err := fs.readNATRun(n, buf)
		if err != nil {
			return err
		}
		for i := range k {
			if err := fs.natsIn(buf[i*blockSize:], n+i, first, end, f); err != nil {
				return err
			}
		}
		n += k
	}
	return nil
}

// natRun is how many blocks of the NAT are read at once.
const natRun = 16

// natsIn does it for the nodes of block n that are among first to end.
func (fs *FS) natsIn(block []byte, n uint32, first, end uint64, f func(nid uint32, e natEntry) error) error {
	from := uint64(n) * natPerBlock
	for nid := max(first, from); nid < min(end, from+natPerBlock); nid++ {
		id := uint32(nid)
		e, ok := fs.natNew[id]
		if !ok {
			e, ok = fs.natJournal[id]
		}
		if !ok {
			e = natEntryOf(block[(nid-from)*natEntrySize:])
		}
		if e.block == 0 || nid < firstNid && nid != rootIno {
			continue
		}
		if err := f(id, e); err != nil {
			return err
		}
	}
	return nil
}
