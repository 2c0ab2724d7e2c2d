package quota

// slot is where the index block of a level keeps the child for id.
func slot(id uint32, level int) int {
	return 4 * int(byte(id>>(8*(levels-1-level))))
}

// find returns the data block and the offset in it of the record of id; block
// 0 if there is none.
func (q *File) find(id uint32) (block uint32, at int, err error) {
	block = root
	for level := range levels {
		index, err := q.Read(block)
		if err != nil {
			return 0, 0, err
		}
		if block = le.Uint32(index[slot(id, level):]); block == 0 {
			return 0, 0, nil
		}
		if block <= root {
			return 0, 0, q.Corrupt("id %d leads to block %d", id, block)
		}
	}
	data, err := q.Read(block)
	if err != nil {
		return 0, 0, err
	}
	for i := range perBlock {
		at := headerSize + i*recordSize
		rec := [recordSize]byte(data[at:])
		if le.Uint32(rec[offQrID:]) == id && rec != [recordSize]byte{} {
			return block, at, nil
		}
	}
	return 0, 0, q.Corrupt("no record of id %d in block %d", id, block)
}

// insert finds room for the record of id, which has none, and makes the tree
// lead there.
func (q *File) insert(id uint32) (block uint32, at int, err error) {
	if block, at, err = q.newEntry(); err != nil {
		return 0, 0, err
	}
	parent := uint32(root)
	for level := range levels - 1 {
		index, err := q.Read(parent)
		if err != nil {
			return 0, 0, err
		}
		child := le.Uint32(index[slot(id, level):])
		if child == 0 {
			if child, err = q.newBlock(); err != nil {
				return 0, 0, err
			}
			if err := q.put(parent, slot(id, level), child); err != nil {
				return 0, 0, err
			}
		}
		parent = child
	}
	return block, at, q.put(parent, slot(id, levels-1), block)
}

// newEntry counts one more record in a data block with room for it, and
// returns where that is.
func (q *File) newEntry() (block uint32, at int, err error) {
	head, err := q.Read(0)
	if err != nil {
		return 0, 0, err
	}
	if block = le.Uint32(head[offQFreeEntry:]); block == 0 {
		if block, err = q.newBlock(); err != nil {
			return 0, 0, err
		}
		if err := q.put(0, offQFreeEntry, block); err != nil {
			return 0, 0, err
		}
	}
	data, err := q.Read(block)
	if err != nil {
		return 0, 0, err
	}
	slot := 0
	for ; ; slot++ {
		if slot == perBlock {
			return 0, 0, q.Corrupt("block %d is said to have room and has none", block)
		}
		at = headerSize + slot*recordSize
		if [recordSize]byte(data[at:]) == [recordSize]byte{} {
			break
		}
	}
	used := le.Uint16(data[offQdEntries:]) + 1
	if err := q.Write(block, le.AppendUint16(nil, used), offQdEntries); err != nil {
		return 0, 0, err
	}
	if used >= perBlock {
		err = q.unlink(block, data)
	}
	return block, at, err
}

// unlink takes a data block that is now full from the list of those with room,
// of which it is the first.
func (q *File) unlink(block uint32, data []byte) error {
	next := le.Uint32(data[offQdNext:])
	if err := q.put(0, offQFreeEntry, next); err != nil {
		return err
	}
	if next != 0 {
		if err := q.put(next, offQdPrev, 0); err != nil {
			return err
		}
	}
	return q.put(block, offQdNext, 0)
}

// newBlock returns a quota block of zeros, from the list of unused ones or
// from the end of the file.
func (q *File) newBlock() (uint32, error) {
	head, err := q.Read(0)
	if err != nil {
		return 0, err
	}
	zero := make([]byte, BlockSize)
	if block := le.Uint32(head[offQFreeBlk:]); block != 0 {
		if block <= root {
			return 0, q.Corrupt("block %d is said to be unused", block)
		}
		data, err := q.Read(block)
		if err != nil {
			return 0, err
		}
		if err := q.put(0, offQFreeBlk, le.Uint32(data[offQdNext:])); err != nil {
			return 0, err
		}
		return block, q.Write(block, zero, 0)
	}
	block := le.Uint32(head[offQBlocks:])
	if err := q.Grow(block); err != nil {
		return 0, err
	}
	if err := q.put(0, offQBlocks, block+1); err != nil {
		return 0, err
	}
	return block, q.Write(block, zero, 0)
}
