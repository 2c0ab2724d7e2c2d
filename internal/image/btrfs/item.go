package btrfs

// leafRoom is what a leaf has left for entries and data, in bytes.
func (fs *FS) leafRoom(b *block) int {
	n := b.items()
	return fs.leafLow(b) - headerSize - n*itemSize
}

// leafLow is where the data of a leaf begin.
func (fs *FS) leafLow(b *block) int {
	if n := b.items(); n > 0 {
		return headerSize + b.dataOff(n-1)
	}
	return fs.ns
}

// putItem inserts an item, which has room, before item i.
func (fs *FS) putItem(b *block, i int, k key, data []byte) {
	n, low := b.items(), fs.leafLow(b)
	end := fs.ns // of the data of item i
	if i > 0 {
		end = headerSize + b.dataOff(i-1)
	}
	copy(b.raw[low-len(data):], b.raw[low:end])
	b.setItems(n + 1)
	at := headerSize + i*itemSize
	copy(b.raw[at+itemSize:headerSize+(n+1)*itemSize], b.raw[at:headerSize+n*itemSize])
	fs.shift(b, i+1, -len(data))
	s := b.slot(i)
	k.put(s)
	le.PutUint32(s[keySize:], uint32(end-len(data)-headerSize))
	le.PutUint32(s[keySize+4:], uint32(len(data)))
	copy(b.raw[end-len(data):end], data)
}

// cutItem takes item i out; what it leaves is zeros.
func (fs *FS) cutItem(b *block, i int) {
	n, low := b.items(), fs.leafLow(b)
	size := len(b.data(i))
	at := headerSize + b.dataOff(i)
	copy(b.raw[low+size:at+size], b.raw[low:at])
	clear(b.raw[low : low+size])
	fs.shift(b, i+1, size)
	copy(b.raw[headerSize+i*itemSize:], b.raw[headerSize+(i+1)*itemSize:headerSize+n*itemSize])
	clear(b.raw[headerSize+(n-1)*itemSize : headerSize+n*itemSize])
	b.setItems(n - 1)
}

// setItem gives item i other data, for which there is room.
func (fs *FS) setItem(b *block, i int, data []byte) {
	low, at := fs.leafLow(b), headerSize+b.dataOff(i)
	more := len(data) - len(b.data(i))
	copy(b.raw[low-more:at-more], b.raw[low:at])
	if more < 0 {
		clear(b.raw[low : low-more])
	}
	fs.shift(b, i, -more)
	le.PutUint32(b.slot(i)[keySize+4:], uint32(len(data)))
	copy(b.raw[at-more:], data)
}

// shift moves the offsets of the data of items from i on.
func (fs *FS) shift(b *block, i, by int) {
	slots := b.raw[headerSize : headerSize+b.items()*itemSize]
	for at := i*itemSize + keySize; at < len(slots); at += itemSize {
		le.PutUint32(slots[at:], le.Uint32(slots[at:])+uint32(by))
	}
}

// putPointer inserts a pointer, which has room, before pointer i.
func (fs *FS) putPointer(b *block, i int, k key, addr, gen uint64) {
	n := b.items()
	at := headerSize + i*ptrSize
	b.setItems(n + 1)
	copy(b.raw[at+ptrSize:], b.raw[at:headerSize+n*ptrSize])
	k.put(b.slot(i))
	b.setChild(i, addr, gen)
}

func (fs *FS) cutPointer(b *block, i int) {
	n := b.items()
	copy(b.raw[headerSize+i*ptrSize:], b.raw[headerSize+(i+1)*ptrSize:headerSize+n*ptrSize])
	clear(b.raw[headerSize+(n-1)*ptrSize : headerSize+n*ptrSize])
	b.setItems(n - 1)
}

// splitLeaf divides the leaf of a path, which then is where k belongs. What is
// added at the end gets a leaf of its own, so that ascending keys fill leaves.
func (fs *FS) splitLeaf(p *path, k key) error {
	p.t.recent.Store(nil) // what is behind the middle goes away from it
	l, s := p.leaf(), p.slot[0]
	n := l.items()
	r, err := fs.newBlock(p.t, 0)
	if err != nil {
		return err
	}
	copy(r.raw[offHdrUUID:][:16], l.raw[offHdrUUID:])
	m := n
	if s < n {
		m = fs.middle(l)
	}
	for i := m; i < n; i++ {
		fs.putItem(r, i-m, l.key(i), l.data(i))
	}
	for i := n - 1; i >= m; i-- {
		fs.cutItem(l, i)
	}
	first := k
	if m < n {
		first = r.key(0)
	}
	if err := fs.addChild(p, 0, r, first); err != nil {
		return err
	}
	if s > m || s == m && (m == n || l.items() > 0 && fs.leafRoom(l) < fs.leafRoom(r)) {
		p.step(0, r, s-m)
	}
	return nil
}

// middle is the item at which the bytes of a leaf are halved, at least 1 unless
// there is only one.
func (fs *FS) middle(l *block) int {
	n := l.items()
	half, sum := (fs.ns-fs.leafLow(l)+n*itemSize)/2, 0
	for i := range n - 1 {
		if sum += itemSize + len(l.data(i)); sum >= half {
			return i + 1
		}
	}
	return n - 1
}

// step moves a path from a block to the new one right of it.
func (p *path) step(level int, r *block, slot int) {
	p.node[level], p.slot[level] = r, slot
	p.slot[level+1]++
}

// addChild enters a new block right of the one that a path has at a level. The
// path stays where it is, in nodes that may have been divided.
func (fs *FS) addChild(p *path, level int, r *block, first key) error {
	if level == p.top {
		return fs.addRoot(p, r, first)
	}
	up := level + 1
	if p.node[up].items() == (fs.ns-headerSize)/ptrSize {
		if err := fs.splitNode(p, up); err != nil {
			return err
		}
	}
	fs.putPointer(p.node[up], p.slot[up]+1, first, r.addr, fs.gen)
	return nil
}

// addRoot puts a new root over the old one and its new neighbour.
func (fs *FS) addRoot(p *path, r *block, first key) error {
	old := p.node[p.top]
	if p.top+1 >= maxLevel {
		return fs.blockError(expect{tree: p.t.id}, old.addr, "the tree has %d levels", p.top+1)
	}
	root, err := fs.newBlock(p.t, p.top+1)
	if err != nil {
		return err
	}
	copy(root.raw[offHdrUUID:][:16], old.raw[offHdrUUID:])
	low := first
	if old.items() > 0 {
		low = old.key(0)
	}
	fs.putPointer(root, 0, low, old.addr, fs.gen)
	fs.putPointer(root, 1, first, r.addr, fs.gen)
	p.top++
	p.node[p.top], p.slot[p.top] = root, 0
	p.t.addr, p.t.level, p.t.gen, p.t.changed = root.addr, p.top, fs.gen, true
	return nil
}

// splitNode divides a full node.
func (fs *FS) splitNode(p *path, level int) error {
	l := p.node[level]
	n, m := l.items(), l.items()/2
	r, err := fs.newBlock(p.t, level)
	if err != nil {
		return err
	}
	copy(r.raw[offHdrUUID:][:16], l.raw[offHdrUUID:])
	for i := m; i < n; i++ {
		addr, gen := l.child(i)
		fs.putPointer(r, i-m, l.key(i), addr, gen)
	}
	for i := n - 1; i >= m; i-- {
		fs.cutPointer(l, i)
	}
	if err := fs.addChild(p, level, r, r.key(0)); err != nil {
		return err
	}
	if p.slot[level] >= m {
		p.step(level, r, p.slot[level]-m)
	}
	return nil
}
