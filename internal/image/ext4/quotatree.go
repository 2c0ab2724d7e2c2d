package ext4

import (
	"fsenc/internal/image"
)

// slot is where the index block of a level keeps the child for id.
func quotaSlot(id uint32, level int) int {
	return 4 * int(byte(id>>(8*(quotaLevels-1-level))))
}

// find returns the data block and the offset in it of the record of id; block
// 0 if there is none.
func (q *quotaFile) find(id uint32) (block uint32, at int, err error) {
	block = quotaRoot
	for level := range quotaLevels {
		index, err := q.read(block)
		if err != nil {
			return 0, 0, err
		}
		if block = le.Uint32(index[quotaSlot(id, level):]); block == 0 {
			return 0, 0, nil
		}
		if block <= quotaRoot {
			return 0, 0, q.corrupt("id %d leads to block %d", id, block)
		}
	}
	data, err := q.read(block)
	if err != nil {
		return 0, 0, err
	}
	for i := range quotaPerBlock {
		at := quotaHeader + i*quotaRecord
		rec := [quotaRecord]byte(data[at:])
		if le.Uint32(rec[offQrID:]) == id && rec != [quotaRecord]byte{} {
			return block, at, nil
		}
	}
	return 0, 0, q.corrupt("no record of id %d in block %d", id, block)
}

// insert finds room for the record of id, which has none, and makes the tree
// lead there.
func (q *quotaFile) insert(id uint32) (block uint32, at int, err error) {
	if block, at, err = q.newEntry(); err != nil {
		return 0, 0, err
	}
	parent := uint32(quotaRoot)
	for level := range quotaLevels - 1 {
		index, err := q.read(parent)
		if err != nil {
			return 0, 0, err
		}
		child := le.Uint32(index[quotaSlot(id, level):])
		if child == 0 {
			if child, err = q.newBlock(); err != nil {
				return 0, 0, err
			}
			if err := q.put(parent, quotaSlot(id, level), child); err != nil {
				return 0, 0, err
			}
		}
		parent = child
	}
	return block, at, q.put(parent, quotaSlot(id, quotaLevels-1), block)
}

// newEntry counts one more record in a data block with room for it, and
// returns where that is.
func (q *quotaFile) newEntry() (block uint32, at int, err error) {
	head, err := q.read(0)
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
	data, err := q.read(block)
	if err != nil {
		return 0, 0, err
	}
	slot := 0
	for ; ; slot++ {
		if slot == quotaPerBlock {
			return 0, 0, q.corrupt("block %d is said to have room and has none", block)
		}
		at = quotaHeader + slot*quotaRecord
		if [quotaRecord]byte(data[at:]) == [quotaRecord]byte{} {
			break
		}
	}
	used := le.Uint16(data[offQdEntries:]) + 1
	if err := q.writeAt(block, le.AppendUint16(nil, used), offQdEntries); err != nil {
		return 0, 0, err
	}
	if used >= quotaPerBlock {
		err = q.unlink(block, data)
	}
	return block, at, err
}

// unlink takes a data block that is now full from the list of those with room,
// of which it is the first.
func (q *quotaFile) unlink(block uint32, data []byte) error {
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
func (q *quotaFile) newBlock() (uint32, error) {
	head, err := q.read(0)
	if err != nil {
		return 0, err
	}
	zero := make([]byte, quotaBlockSize)
	if block := le.Uint32(head[offQFreeBlk:]); block != 0 {
		if block <= quotaRoot {
			return 0, q.corrupt("block %d is said to be unused", block)
		}
		data, err := q.read(block)
		if err != nil {
			return 0, err
		}
		if err := q.put(0, offQFreeBlk, le.Uint32(data[offQdNext:])); err != nil {
			return 0, err
		}
		return block, q.writeAt(block, zero, 0)
	}
	block := le.Uint32(head[offQBlocks:])
	if err := q.grow(block); err != nil {
		return 0, err
	}
	if err := q.put(0, offQBlocks, block+1); err != nil {
		return 0, err
	}
	return block, q.writeAt(block, zero, 0)
}

// grow makes the file long enough to have quota block n.
func (q *quotaFile) grow(n uint32) error {
	size := (uint64(n) + 1) * quotaBlockSize
	if size <= q.in.raw.size() {
		return nil
	}
	last := image.Lblk((size - 1) / uint64(q.fs.bs))
	if _, mapped, err := q.fs.blockAt(q.in, last); err != nil {
		return err
	} else if !mapped {
		added, err := q.fs.appendBlocks(q.in, 1)
		if err != nil {
			return err
		}
		if err := q.fs.writeBlock(added[0], make([]byte, q.fs.bs)); err != nil {
			return err
		}
		if q.exts, err = q.fs.mapping(q.in); err != nil {
			return err
		}
	}
	q.in.raw.setSize(size)
	return q.fs.putInode(q.in)
}
