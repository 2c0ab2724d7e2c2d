package btrfsjudge

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/crypto/blake2b"
)

// image is a whole image in memory.
type image struct {
	b      []byte
	ns, ss uint64
	kind   uint16
	uuid   []byte
	chunks []mapping
}

type mapping struct {
	at, n  uint64
	copies []uint64
}

func u16(b []byte, off int) uint64 { return uint64(binary.LittleEndian.Uint16(b[off:])) }
func u32(b []byte, off int) uint64 { return uint64(binary.LittleEndian.Uint32(b[off:])) }
func u64(b []byte, off int) uint64 { return binary.LittleEndian.Uint64(b[off:]) }

const superAt = 65536

func open(b []byte) (*image, error) {
	sb := b[superAt:][:4096]
	if string(sb[64:72]) != "_BHRfS_M" {
		return nil, fmt.Errorf("no superblock")
	}
	m := &image{b: b, ss: u32(sb, 144), ns: u32(sb, 148), kind: uint16(u16(sb, 196)), uuid: sb[32:48]}
	if u64(sb, 188)&(1<<10) != 0 {
		m.uuid = sb[571:587]
	}
	if !m.sumFits(sb) {
		return nil, fmt.Errorf("superblock: checksum")
	}
	array := sb[811:][:u32(sb, 160)]
	for len(array) > 0 {
		n := 48 + int(u16(array[17:], 44))*32
		m.addChunk(u64(array, 9), array[17:][:n])
		array = array[17+n:]
	}
	return m, m.walk(u64(sb, 88), 3, func(k tuple, data []byte) error {
		if k.kind == 228 {
			m.addChunk(k.off, data)
		}
		return nil
	})
}

func (m *image) addChunk(at uint64, item []byte) {
	for _, c := range m.chunks {
		if c.at == at {
			return
		}
	}
	c := mapping{at: at, n: u64(item, 0)}
	for i := range int(u16(item, 44)) {
		c.copies = append(c.copies, u64(item[48+i*32:], 8))
	}
	m.chunks = append(m.chunks, c)
}

// copies returns all copies of a logical range.
func (m *image) copies(at, n uint64) ([][]byte, error) {
	for _, c := range m.chunks {
		if at >= c.at && at+n <= c.at+c.n {
			var out [][]byte
			for _, p := range c.copies {
				out = append(out, m.b[p+at-c.at:][:n])
			}
			return out, nil
		}
	}
	return nil, fmt.Errorf("logical %d: in no chunk", at)
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

// tuple is a key.
type tuple struct {
	obj  uint64
	kind byte
	off  uint64
}

// walk visits all items of a tree in order.
func (m *image) walk(at, tree uint64, f func(k tuple, data []byte) error) error {
	all, err := m.copies(at, m.ns)
	if err != nil {
		return err
	}
	for _, b := range all {
		if !m.sumFits(b) || u64(b, 48) != at || !bytes.Equal(b[32:48], m.uuid) {
			return fmt.Errorf("tree %d, block %d: does not fit its header", tree, at)
		}
		if !bytes.Equal(b, all[0]) {
			return fmt.Errorf("tree %d, block %d: copies differ", tree, at)
		}
	}
	b := all[0]
	for i := range int(u32(b, 96)) {
		if b[100] > 0 {
			if err := m.walk(u64(b, 101+33*i+17), tree, f); err != nil {
				return err
			}
			continue
		}
		e := b[101+25*i:]
		k := tuple{u64(e, 0), e[8], u64(e, 9)}
		if err := f(k, b[101+u32(e, 17):][:u32(e, 21)]); err != nil {
			return err
		}
	}
	return nil
}
