package audit

import (
	"bytes"

	"github.com/cespare/xxhash/v2"
)

// sectorSize is the unit in which contents are compared.
const sectorSize = 512

// maxSectors bounds the table of sectors: 2^22 slots of 12 bytes.
const maxSectors = 1 << 22

// sectorSet maps the hash of a sector to the file it is from. When it is full
// only the hashes that end in one more zero bit stay: what is left is an even
// sample of all sectors, and the same one whatever their order.
type sectorSet struct {
	keys  []uint64 // open addressing; 0 is an empty slot
	files []uint32
	n     int
	max   int    // slots at most, a power of two
	mask  uint64 // hashes with one of these bits are not in the sample
}

func newSectorSet(max int) *sectorSet {
	s := &sectorSet{max: max}
	s.resize(min(1<<12, max))
	return s
}

// resize makes room for a number of slots.
func (s *sectorSet) resize(slots int) {
	keys, files := s.keys, s.files
	s.keys, s.files, s.n = make([]uint64, slots), make([]uint32, slots), 0
	for i, k := range keys {
		if k != 0 {
			s.insert(k, files[i])
		}
	}
}

// halve drops every other hash of the sample.
func (s *sectorSet) halve() {
	s.mask = s.mask<<1 | 1
	var keys []uint64
	var files []uint32
	for i, k := range s.keys {
		if k != 0 && k&s.mask == 0 {
			keys, files = append(keys, k), append(files, s.files[i])
		}
	}
	clear(s.keys)
	s.n = 0
	for i, k := range keys {
		s.insert(k, files[i])
	}
}

// slot is where a hash is, or would be put. The upper bits choose it: the
// lower ones are alike in a sample.
func (s *sectorSet) slot(h uint64) int {
	i := int(h>>32) & (len(s.keys) - 1)
	for s.keys[i] != 0 && s.keys[i] != h {
		i = (i + 1) & (len(s.keys) - 1)
	}
	return i
}

func (s *sectorSet) insert(h uint64, file uint32) {
	if i := s.slot(h); s.keys[i] == 0 {
		s.keys[i], s.files[i] = h, file
		s.n++
	}
}

// add puts the sector of a file into the set. Of equal sectors the first stays.
func (s *sectorSet) add(h uint64, file uint32) {
	if h&s.mask != 0 {
		return
	}
	if s.n >= len(s.keys)/4*3 {
		if len(s.keys) < s.max {
			s.resize(2 * len(s.keys))
		} else {
			s.halve()
		}
		if h&s.mask != 0 {
			return
		}
	}
	s.insert(h, file)
}

// find returns the file that a sector is from.
func (s *sectorSet) find(h uint64) (file uint32, ok bool) {
	if h&s.mask != 0 {
		return 0, false
	}
	i := s.slot(h)
	return s.files[i], s.keys[i] != 0
}

// sectorHash never is 0.
func sectorHash(p []byte) uint64 { return max(xxhash.Sum64(p), 1<<32) }

// constant tells whether all bytes of p are alike.
func constant(p []byte) bool { return len(p) < 2 || bytes.Equal(p[1:], p[:len(p)-1]) }
