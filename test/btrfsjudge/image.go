package btrfsjudge

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/crypto/blake2b"
)

// image is all devices of a filesystem in memory.
type image struct {
	devices    map[uint64][]byte
	first      []byte // superblock
	ns, ss     uint64
	generation uint64
	features   uint64
	kind       uint64
	uuid       []byte // of tree blocks
	chunks     []chunk
}

// chunk is a range of logical addresses.
type chunk struct {
	at, n, profile uint64
	sub            uint64 // copies in RAID10
	stripes        []stripe
}

type stripe struct{ device, at uint64 }

func u16(b []byte, off int) uint64 { return uint64(binary.LittleEndian.Uint16(b[off:])) }
func u32(b []byte, off int) uint64 { return uint64(binary.LittleEndian.Uint32(b[off:])) }
func u64(b []byte, off int) uint64 { return binary.LittleEndian.Uint64(b[off:]) }

const (
	superAt     = 64 << 10
	superAgain  = 64 << 20
	superSize   = 4096
	encrypts    = 1 << 15
	inlines     = 1 << 60
	unfinished  = 1 << 61
	stripeBytes = 64 << 10
)

// supers returns the superblocks of a device.
func supers(device []byte) [][]byte {
	all := [][]byte{device[superAt:][:superSize]}
	if len(device) >= superAgain+superSize {
		all = append(all, device[superAgain:][:superSize])
	}
	return all
}

// open reads superblocks and chunks.
func open(devices ...[]byte) (*image, error) {
	m := &image{devices: make(map[uint64][]byte), first: supers(devices[0])[0]}
	sb := m.first
	m.ss, m.ns, m.kind, m.uuid = u32(sb, 144), u32(sb, 148), u16(sb, 196), sb[32:48]
	m.generation, m.features = u64(sb, 72), u64(sb, 188)
	if m.features&(1<<10) != 0 {
		m.uuid = sb[571:587]
	}
	if u64(sb, 96) != 0 {
		return nil, errors.New("there is a log")
	}
	for _, d := range devices {
		for i, s := range supers(d) {
			switch {
			case string(s[64:72]) != "_BHRfS_M" || !m.sumFits(s):
				return nil, fmt.Errorf("superblock %d: magic %q or checksum", i, s[64:72])
			case u64(s, 48) != []uint64{superAt, superAgain}[i]:
				return nil, fmt.Errorf("superblock %d says that it is at %d", i, u64(s, 48))
			case !bytes.Equal(s[56:201], sb[56:201]) || !bytes.Equal(s[56:], supers(d)[0][56:]):
				return nil, fmt.Errorf("superblock %d differs from the first", i)
			}
		}
		m.devices[u64(supers(d)[0], 201)] = d
	}
	array := sb[811:][:u32(sb, 160)]
	for len(array) > 0 {
		n := 48 + int(u16(array[17:], 44))*32
		m.addChunk(u64(array, 9), array[17:][:n])
		array = array[17+n:]
	}
	return m, m.readChunks()
}

// readChunks reads the chunk tree, which the chunks of the superblock lead to.
// No two overlap.
func (m *image) readChunks() error {
	at := block{u64(m.first, 88), int(m.first[199]), u64(m.first, 164)}
	err := m.walk(at, 3, nil, func(i item) error {
		if i.kind == 228 {
			m.addChunk(i.off, i.data)
		}
		return nil
	})
	slices.SortFunc(m.chunks, func(a, b chunk) int { return int(int64(a.at - b.at)) })
	for i := 1; i < len(m.chunks) && err == nil; i++ {
		if a, b := m.chunks[i-1], m.chunks[i]; a.at+a.n > b.at {
			err = fmt.Errorf("chunk %d reaches into chunk %d", a.at, b.at)
		}
	}
	return err
}

func (m *image) addChunk(at uint64, b []byte) {
	if slices.ContainsFunc(m.chunks, func(c chunk) bool { return c.at == at }) {
		return
	}
	c := chunk{at: at, n: u64(b, 0), profile: u64(b, 24) &^ 7, sub: u16(b, 46)}
	for i := range int(u16(b, 44)) {
		c.stripes = append(c.stripes, stripe{u64(b[48+i*32:], 0), u64(b[48+i*32:], 8)})
	}
	m.chunks = append(m.chunks, c)
}

// place finds the copies of a byte, and how many bytes from there are beside it.
func (c *chunk) place(at uint64) (where []stripe, n uint64, err error) {
	off := at - c.at
	row, in := off/stripeBytes, off%stripeBytes
	count := uint64(len(c.stripes))
	move := func(all []stripe, by uint64) (moved []stripe) {
		for _, s := range all {
			moved = append(moved, stripe{s.device, s.at + by})
		}
		return moved
	}
	switch c.profile {
	case 0, 0x10, 0x20, 0x200, 0x400:
		return move(c.stripes, off), c.n - off, nil
	case 0x8:
		i := row % count
		return move(c.stripes[i:i+1], row/count*stripeBytes+in), stripeBytes - in, nil
	case 0x40:
		groups := count / c.sub
		i := row % groups * c.sub
		return move(c.stripes[i:i+c.sub], row/groups*stripeBytes+in), stripeBytes - in, nil
	}
	return nil, 0, fmt.Errorf("chunk %d: profile %#x", c.at, c.profile)
}

// copies returns all copies of a logical range. A range within one stripe comes
// as it lies in the image, for changing it.
func (m *image) copies(at, n uint64) ([][]byte, error) {
	i := slices.IndexFunc(m.chunks, func(c chunk) bool { return at >= c.at && at+n <= c.at+c.n && at+n > at })
	if i < 0 {
		return nil, fmt.Errorf("logical %d: %d bytes are in no chunk", at, n)
	}
	var out [][]byte
	for done := uint64(0); done < n; {
		where, room, err := m.chunks[i].place(at + done)
		if err != nil {
			return nil, err
		}
		room = min(room, n-done)
		for j, s := range where {
			d := m.devices[s.device]
			if s.at+room > uint64(len(d)) {
				return nil, fmt.Errorf("logical %d: device %d has no byte %d", at+done, s.device, s.at+room)
			}
			switch {
			case done == 0:
				out = append(out, d[s.at:][:room:room])
			default:
				out[j] = append(out[j], d[s.at:][:room]...)
			}
		}
		done += room
	}
	return out, nil
}

// sum is the checksum of the image's kind.
func (m *image) sum(p []byte) []byte {
	switch m.kind {
	case 0:
		return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)))
	case 1:
		return binary.LittleEndian.AppendUint64(nil, xxhash.Sum64(p))
	case 2:
		s := sha256.Sum256(p)
		return s[:]
	}
	s := blake2b.Sum256(p)
	return s[:]
}

func (m *image) sumFits(b []byte) bool { return bytes.HasPrefix(b, m.sum(b[32:])) }

func (m *image) seal(b []byte) { copy(b, append(m.sum(b[32:]), make([]byte, 32)...)[:32]) }
