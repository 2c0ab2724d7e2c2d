package partition

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"

	"fsenc/internal/store"
)

const (
	gptMagic      = "EFI PART"
	gptHeaderSize = 92
	gptEntrySize  = 128 // the least; others are this times a power of two

	offHeaderSize  = 0x0c // le32, what the checksum covers
	offHeaderCRC   = 0x10 // le32
	offMyLBA       = 0x18 // le64
	offArrayLBA    = 0x48 // le64
	offArrayCount  = 0x50 // le32
	offArrayEntry  = 0x54 // le32, bytes of an entry
	offArrayCRC    = 0x58 // le32
	offEntryFirst  = 0x20 // le64
	offEntryLast   = 0x28 // le64, inclusive
	offEntryName   = 0x38 // 36 units of UTF-16
	entryNameBytes = 72

	maxArray = 1 << 20 // bytes of the array that are believed
)

// readGPT reads the primary table or, where that is damaged, the backup in
// the last sector.
func readGPT(s store.Store) ([]Partition, error) {
	result := ErrNoTable
	for _, sector := range []int64{512, 4096} {
		for _, lba := range []int64{1, s.Size()/sector - 1} {
			parts, err := readTable(s, lba, sector)
			if err == nil {
				return parts, nil
			}
			if errors.Is(result, ErrNoTable) {
				result = err
			}
		}
	}
	return nil, result
}

// readTable reads the GPT whose header is in sector lba.
func readTable(s store.Store, lba, sector int64) ([]Partition, error) {
	h, err := readAt(s, lba*sector, sector)
	if err == io.EOF || err == nil && string(h[:8]) != gptMagic {
		return nil, ErrNoTable
	}
	if err != nil {
		return nil, err
	}
	if err := checkHeader(h, lba); err != nil {
		return nil, err
	}
	count, size := int64(le.Uint32(h[offArrayCount:])), int64(le.Uint32(h[offArrayEntry:]))
	if size < gptEntrySize || size%gptEntrySize != 0 || size > maxArray || count*size > maxArray {
		return nil, fmt.Errorf("%w: GPT of %d entries of %d bytes", ErrDamaged, count, size)
	}
	at := le.Uint64(h[offArrayLBA:])
	if at > uint64(s.Size()/sector) {
		return nil, fmt.Errorf("%w: GPT array at sector %d, past the end", ErrDamaged, at)
	}
	array, err := readAt(s, int64(at)*sector, count*size)
	if err != nil {
		return nil, fmt.Errorf("%w: GPT array: %w", ErrDamaged, err)
	}
	if got, want := crc32.ChecksumIEEE(array), le.Uint32(h[offArrayCRC:]); got != want {
		return nil, fmt.Errorf("%w: checksum %#x of the GPT array, want %#x", ErrDamaged, got, want)
	}
	return entries(s, array, int(size), uint64(sector))
}

func checkHeader(h []byte, lba int64) error {
	n := le.Uint32(h[offHeaderSize:])
	if n < gptHeaderSize || int64(n) > int64(len(h)) {
		return fmt.Errorf("%w: GPT header of %d bytes", ErrDamaged, n)
	}
	sum := append([]byte(nil), h[:n]...)
	clear(sum[offHeaderCRC : offHeaderCRC+4])
	if got, want := crc32.ChecksumIEEE(sum), le.Uint32(h[offHeaderCRC:]); got != want {
		return fmt.Errorf("%w: checksum %#x of the GPT header, want %#x", ErrDamaged, got, want)
	}
	if my := le.Uint64(h[offMyLBA:]); my != uint64(lba) {
		return fmt.Errorf("%w: GPT header of sector %d in sector %d", ErrDamaged, my, lba)
	}
	return nil
}

func entries(s store.Store, array []byte, size int, sector uint64) ([]Partition, error) {
	var parts []Partition
	for i := 0; i*size < len(array); i++ {
		e := array[i*size:][:size]
		if store.IsZero(e[:16]) {
			continue
		}
		p := Partition{Number: i + 1, Label: name(e[offEntryName:][:entryNameBytes]), Type: guid(e[:16])}
		first, last := le.Uint64(e[offEntryFirst:]), le.Uint64(e[offEntryLast:])
		if last < first || last == ^uint64(0) {
			return nil, fmt.Errorf("%w: partition %s from sector %d to %d", ErrDamaged, p, first, last)
		}
		p, err := checked(s, p, first, last-first+1, sector)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// name decodes UTF-16 up to the first NUL.
func name(b []byte) string {
	var units []uint16
	for ; len(b) >= 2 && le.Uint16(b) != 0; b = b[2:] {
		units = append(units, le.Uint16(b))
	}
	return string(utf16.Decode(units))
}

// guid writes a GUID as users know it: its first three fields are
// little-endian on disk.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}
