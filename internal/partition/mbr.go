package partition

import (
	"fmt"

	"fsenc/internal/store"
)

const (
	mbrSize   = 512
	mbrSector = 512 // what the numbers of an MBR count

	offEntries = 446 // four entries of 16 bytes
	offMBRSig  = 510 // 0x55 0xaa
	entrySize  = 16

	typeProtective = 0xee
	maxLogical     = 251 // Linux numbers partitions of a disk to 255
)

// mbr is the first sector of a disk or of an extended partition's link.
type mbr []byte

// mbrEntry is one of its four entries.
type mbrEntry []byte

func (e mbrEntry) status() byte  { return e[0] }
func (e mbrEntry) kind() byte    { return e[4] }
func (e mbrEntry) start() uint64 { return uint64(le.Uint32(e[8:])) }
func (e mbrEntry) count() uint64 { return uint64(le.Uint32(e[12:])) }
func (e mbrEntry) used() bool    { return e.kind() != 0 && e.count() != 0 }

// extended reports whether the entry holds logical partitions.
func (e mbrEntry) extended() bool {
	return e.kind() == 0x05 || e.kind() == 0x0f || e.kind() == 0x85
}

func (m mbr) entry(i int) mbrEntry { return mbrEntry(m[offEntries+i*entrySize:][:entrySize]) }

// valid reports whether the sector is a partition table. Boot sectors of
// filesystems have the signature too; the status bytes tell them apart.
func (m mbr) valid() bool {
	if m[offMBRSig] != 0x55 || m[offMBRSig+1] != 0xaa {
		return false
	}
	used := false
	for i := range 4 {
		e := m.entry(i)
		if e.status()&0x7f != 0 {
			return false
		}
		used = used || e.used()
	}
	return used
}

// protective reports whether the table only announces a GPT.
func (m mbr) protective() bool {
	if !m.valid() {
		return false
	}
	for i := range 4 {
		if m.entry(i).kind() == typeProtective {
			return true
		}
	}
	return false
}

func readMBR(s store.Store, boot mbr) ([]Partition, error) {
	var parts []Partition
	var chain mbrEntry
	for i := range 4 {
		e := boot.entry(i)
		if !e.used() {
			continue
		}
		if e.extended() {
			if chain == nil {
				chain = e
			}
			continue
		}
		p, err := checked(s, Partition{Number: i + 1, Type: typeName(e)}, e.start(), e.count(), mbrSector)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	if chain == nil {
		return parts, nil
	}
	logical, err := readLogical(s, chain.start())
	return append(parts, logical...), err
}

func typeName(e mbrEntry) string { return fmt.Sprintf("%02x", e.kind()) }

// readLogical follows the links of the extended partition at sector base. A
// link holds a partition, counted from itself, and the next link, counted
// from base.
func readLogical(s store.Store, base uint64) ([]Partition, error) {
	var parts []Partition
	for at, links := base, 0; ; links++ {
		if links > maxLogical {
			return nil, fmt.Errorf("%w: the logical partitions have no end", ErrDamaged)
		}
		sector, err := readAt(s, int64(at*mbrSector), mbrSize)
		if err != nil {
			return nil, fmt.Errorf("%w: logical partition %d, sector %d: %w", ErrDamaged, len(parts)+5, at, err)
		}
		link := mbr(sector)
		if link[offMBRSig] != 0x55 || link[offMBRSig+1] != 0xaa {
			return nil, fmt.Errorf("%w: logical partition %d: no signature in sector %d", ErrDamaged, len(parts)+5, at)
		}
		if e := link.entry(0); e.used() && !e.extended() {
			p, err := checked(s, Partition{Number: len(parts) + 5, Type: typeName(e)}, at+e.start(), e.count(), mbrSector)
			if err != nil {
				return nil, err
			}
			parts = append(parts, p)
		}
		next := link.entry(1)
		if !next.used() || !next.extended() {
			return parts, nil
		}
		at = base + next.start()
	}
}
