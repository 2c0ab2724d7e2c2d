// Package quota edits quota files of the version that ext4 and f2fs keep inside
// of the filesystem (vfsv1, revision 1), through the filesystem that has them.
//
// A file is a tree of blocks of 1 KiB, whatever the block size: block 0 is the
// header, block 1 the root of a tree of four levels, indexed by the bytes of the
// id from the highest, with data blocks of records below. Integers are
// little-endian; structures are named as in the kernel's fs/quota.
package quota

import (
	"encoding/binary"
	"fmt"

	"fsenc/internal/image"
)

var le = binary.LittleEndian

// BlockSize is the size of a quota block in bytes.
const BlockSize = 1024

// Magics of the three kinds.
const (
	MagicUser    = 0xD9C01F11
	MagicGroup   = 0xD9C01927
	MagicProject = 0xD9C03F14
)

const (
	version = 1
	root    = 1
	levels  = 4

	offQMagic     = 0x00 // le32 dqh_magic
	offQVersion   = 0x04 // le32 dqh_version
	offQBlocks    = 0x14 // le32 dqi_blocks: blocks in the file
	offQFreeBlk   = 0x18 // le32 dqi_free_blk: first unused block
	offQFreeEntry = 0x1C // le32 dqi_free_entry: first data block with room

	offQdNext    = 0x00 // le32 dqdh_next_free
	offQdPrev    = 0x04 // le32 dqdh_prev_free
	offQdEntries = 0x08 // le16 dqdh_entries
	headerSize   = 16   // bytes of struct qt_disk_dqdbheader

	offQrID     = 0  // le32 dqb_id
	offQrInodes = 24 // le64 dqb_curinodes
	offQrSpace  = 48 // le64 dqb_curspace, bytes
	offQrItime  = 64 // le64 dqb_itime
	recordSize  = 72 // bytes of struct v2r1_disk_dqblk

	perBlock = (BlockSize - headerSize) / recordSize
)

// Change is what an edit adds to the usage of an id.
type Change struct{ Bytes, Inodes int64 }

// Storage is a quota file as the filesystem keeps it.
type Storage interface {
	// Read returns quota block n, in memory that the caller may keep.
	Read(n uint32) ([]byte, error)
	// Write stages p inside quota block n.
	Write(n uint32, p []byte, at int) error
	// Grow makes the file long enough to have quota block n, zeros.
	Grow(n uint32) error
	// Corrupt makes an error about the file.
	Corrupt(format string, a ...any) error
}

// File is a quota file.
type File struct {
	Storage
	Name string // "user": for messages
}

// Check verifies the header of a file of size bytes.
func (q *File) Check(magic uint32, size uint64) error {
	head, err := q.Read(0)
	if err != nil {
		return err
	}
	if got := le.Uint32(head[offQMagic:]); got != magic {
		return q.Corrupt("magic %#x, want %#x", got, magic)
	}
	if v := le.Uint32(head[offQVersion:]); v != version {
		return fmt.Errorf("%w: %s quota file of version %d", image.ErrUnsupported, q.Name, v)
	}
	if n := le.Uint32(head[offQBlocks:]); n <= root || uint64(n) > size/BlockSize {
		return q.Corrupt("%d blocks in a file of %d", n, size/BlockSize)
	}
	return nil
}

// put stages a le32 inside quota block n.
func (q *File) put(n uint32, at int, v uint32) error {
	return q.Write(n, le.AppendUint32(nil, v), at)
}

// Add changes the record of id by c, and makes one if there is none.
func (q *File) Add(id uint32, c Change) error {
	block, at, err := q.find(id)
	if err != nil {
		return err
	}
	var rec [recordSize]byte
	if block == 0 {
		if block, at, err = q.insert(id); err != nil {
			return err
		}
		le.PutUint32(rec[offQrID:], id)
	} else {
		data, err := q.Read(block)
		if err != nil {
			return err
		}
		copy(rec[:], data[at:])
	}
	space := int64(le.Uint64(rec[offQrSpace:])) + c.Bytes
	inodes := int64(le.Uint64(rec[offQrInodes:])) + c.Inodes
	if space < 0 || inodes < 0 {
		return q.Corrupt("id %d would use %d bytes and %d inodes", id, space, inodes)
	}
	le.PutUint64(rec[offQrSpace:], uint64(space))
	le.PutUint64(rec[offQrInodes:], uint64(inodes))
	if rec == [recordSize]byte{} {
		// A record of zeros is a free one; the kernel marks id 0 like this.
		rec[offQrItime] = 1
	}
	return q.Write(block, rec[:], at)
}

// Usage returns what is on the account of an id; ok is false if it has none.
func (q *File) Usage(id uint32) (c Change, ok bool, err error) {
	block, at, err := q.find(id)
	if err != nil || block == 0 {
		return c, false, err
	}
	data, err := q.Read(block)
	if err != nil {
		return c, false, err
	}
	rec := data[at:]
	return Change{Bytes: int64(le.Uint64(rec[offQrSpace:])), Inodes: int64(le.Uint64(rec[offQrInodes:]))}, true, nil
}
