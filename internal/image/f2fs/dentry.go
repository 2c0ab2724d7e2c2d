package f2fs

import (
	"fmt"

	"fsenc/internal/image"
)

// A block of entries, and the inline area of a directory in the same form: a
// bitmap of slots, reserved bytes, entries, names. A name takes as many slots
// of 8 bytes as it needs; the entry of the first counts.
const (
	dentrySize = 11 // le32 hash, le32 ino, le16 name_len, u8 file_type
	slotLen    = 8

	dentriesInBlock = 214
	bitmapInBlock   = 27
	reservedInBlock = 3
)

// dentryArea is a view of a block, or of an inline area.
type dentryArea struct {
	b       []byte
	slots   int
	bitmap  int // its length in bytes
	entries int // where they begin
	names   int
}

func blockArea(b []byte) dentryArea {
	return dentryArea{b, dentriesInBlock, bitmapInBlock, bitmapInBlock + reservedInBlock,
		bitmapInBlock + reservedInBlock + dentriesInBlock*dentrySize}
}

// inlineDentries is the view of an inline area.
func inlineDentries(b []byte) dentryArea {
	n := len(b) * 8 / ((dentrySize+slotLen)*8 + 1)
	bitmap := (n + 7) / 8
	names := len(b) - n*slotLen
	return dentryArea{b, n, bitmap, names - n*dentrySize, names}
}

// used and use know bitmaps that count from the least significant bit.
func (d *dentryArea) used(slot int) bool { return d.b[slot/8]>>(slot%8)&1 == 1 }
func (d *dentryArea) use(slot int)       { d.b[slot/8] |= 1 << (slot % 8) }

func (d *dentryArea) entry(slot int) []byte  { return d.b[d.entries+slot*dentrySize:][:dentrySize] }
func (d *dentryArea) nameAt(slot int) []byte { return d.b[d.names+slot*slotLen:] }

// slotsFor is how many slots a name takes.
func slotsFor(n int) int { return (n + slotLen - 1) / slotLen }

// dentry is an entry with its place.
type dentry struct {
	image.Dirent
	slot int
}

// each calls f for each entry, the dots too. Names point into the area.
func (d *dentryArea) each(f func(dentry) error) error {
	for slot := 0; slot < d.slots; {
		if !d.used(slot) {
			slot++
			continue
		}
		e := d.entry(slot)
		n := int(le.Uint16(e[8:]))
		ino, kind := le.Uint32(e[4:]), image.FileType(e[10])
		if n == 0 || n > maxNameLen || slot+slotsFor(n) > d.slots {
			return fmt.Errorf("slot %d: name of %d bytes", slot, n)
		}
		for i := range slotsFor(n) {
			if !d.used(slot + i) {
				return fmt.Errorf("slot %d: part of a name of %d bytes, marked free", slot+i, n)
			}
		}
		if kind > image.TypeSymlink {
			return fmt.Errorf("slot %d: file type %d", slot, kind)
		}
		err := f(dentry{image.Dirent{Name: d.nameAt(slot)[:n], Ino: image.Ino(ino), Type: kind, Hash: le.Uint32(e)}, slot})
		if err != nil {
			return &stopError{err}
		}
		slot += slotsFor(n)
	}
	return nil
}

// stopError is an error of the caller's function, not of the area.
type stopError struct{ error }

// put stores an entry in slots that are free.
func (d *dentryArea) put(slot int, e *image.Dirent) {
	b := d.entry(slot)
	le.PutUint32(b, e.Hash)
	le.PutUint32(b[4:], uint32(e.Ino))
	le.PutUint16(b[8:], uint16(len(e.Name)))
	b[10] = byte(e.Type)
	copy(d.nameAt(slot), e.Name)
	for i := range slotsFor(len(e.Name)) {
		d.use(slot + i)
	}
}

// room finds n free slots in a row, -1 if there are none.
func (d *dentryArea) room(n int) int {
	free := 0
	for slot := range d.slots {
		if free++; d.used(slot) {
			free = 0
		}
		if free == n {
			return slot - n + 1
		}
	}
	return -1
}

// wipe clears what no entry covers: free slots, the rest of the last slot of
// each name, the entries of further slots, reserved bytes. It reports whether
// there was anything.
func (d *dentryArea) wipe() (found bool, err error) {
	fresh := make([]byte, len(d.b))
	to := *d
	to.b = fresh
	err = d.each(func(e dentry) error {
		to.put(e.slot, &e.Dirent)
		return nil
	})
	if err != nil {
		return false, err
	}
	if string(fresh) != string(d.b) {
		copy(d.b, fresh)
		return true, nil
	}
	return false, nil
}
