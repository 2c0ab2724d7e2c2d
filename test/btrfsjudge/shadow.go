package btrfsjudge

import "encoding/binary"

// Shadow takes from an image, in place, all marks of encryption that today's
// btrfs check and kernels refuse: the features, the flag of inodes, the bit of
// directory entries and the byte of extents. Names, contexts and contents stay.
func Shadow(b []byte) error {
	m, err := open(b)
	if err != nil {
		return err
	}
	blocks := make(map[uint64][][]byte) // before any is changed, or the walk finds them wrong
	keep := func(at uint64, copies [][]byte) { blocks[at] = copies }
	nothing := func(item) error { return nil }
	roots := make(map[uint64]block)
	err = m.walk(block{u64(m.first, 80), int(m.first[198]), m.generation}, rootTree, nil, func(i item) error {
		if i.kind == 132 && isFileTree(i.obj) {
			roots[i.obj] = root(i.data)
		}
		return nil
	})
	for id, at := range roots {
		if err == nil {
			err = m.walk(at, id, keep, nothing)
		}
	}
	if err != nil {
		return err
	}
	for _, copies := range blocks {
		for _, c := range copies {
			m.mask(c)
		}
	}
	for _, sb := range supers(b) {
		binary.LittleEndian.PutUint64(sb[188:], u64(sb, 188)&^(encrypts|inlines|unfinished))
		m.seal(sb)
	}
	return nil
}

// mask changes a leaf.
func (m *image) mask(b []byte) {
	if b[100] > 0 {
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
			clear(d[65:], flagEncrypt>>8) // of the flags at 64
		case 84, 96:
			for len(d) > 0 {
				clear(d[29:], 0x80)
				d = d[entry(d).size():]
			}
		case 108:
			clear(d[17:], 0xff)
		}
	}
	if changed {
		m.seal(b)
	}
}
