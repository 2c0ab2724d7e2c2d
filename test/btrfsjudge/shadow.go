package btrfsjudge

import (
	"bytes"
	"encoding/binary"
)

// Shadow takes from an image, in place, all marks of encryption that today's
// btrfs check and kernels refuse: the features, the flag of inodes, the bit of
// directory entries and the byte of extents. Names, contexts and contents stay.
func Shadow(b []byte) error {
	m, err := open(b)
	if err != nil {
		return err
	}
	for _, c := range m.chunks {
		for _, p := range c.copies {
			for off := p; off+m.ns <= p+c.n && off+m.ns <= uint64(len(b)); off += m.ss {
				if off == superAt || off == 64<<20 {
					continue
				}
				m.maskLeaf(b[off:][:m.ns])
			}
		}
	}
	for _, at := range []int{superAt, 64 << 20} {
		if at+4096 > len(b) {
			break
		}
		sb := b[at:][:4096]
		word := u64(sb, 188) &^ (1<<15 | 1<<60 | 1<<61)
		binary.LittleEndian.PutUint64(sb[188:], word)
		m.seal(sb)
	}
	return nil
}

func (m *image) seal(b []byte) { copy(b, append(m.sum(b[32:]), make([]byte, 32)...)[:32]) }

// maskLeaf changes a leaf; what is none does not look like one.
func (m *image) maskLeaf(b []byte) {
	if !bytes.Equal(b[32:48], m.uuid) || b[100] != 0 || !m.sumFits(b) {
		return
	}
	changed := false
	clear := func(p []byte, bits byte) {
		changed = changed || p[0]&bits != 0
		p[0] &^= bits
	}
	for i := range int(u32(b, 96)) {
		e := b[101+25*i:]
		d := b[101+u32(e, 17):][:u32(e, 21)]
		switch e[8] {
		case 1:
			clear(d[65:], 0x10) // bit 12 of the flags at 64
		case 84, 96:
			for len(d) > 0 {
				clear(d[29:], 0x80)
				d = d[30+u16(d, 25)+u16(d, 27):]
			}
		case 108:
			clear(d[17:], 0xff)
		}
	}
	if changed {
		m.seal(b)
	}
}
