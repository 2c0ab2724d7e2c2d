package crypt

import (
	"encoding/binary"

	"fsenc/internal/crypt/policy"
)

// iv is the IV of a data unit, of which a mode takes 16 or 32 bytes.
type iv [policy.MaxIVSize]byte

// ivRule makes the IVs of one inode.
type ivRule struct {
	base   iv     // all that does not depend on the index
	offset uint32 // added to the index: the inode's hash
	narrow bool   // the index has 32 bits, and wraps
}

func (k *MasterKey) ivRule(c *policy.Context, ino uint64) (r ivRule) {
	switch c.Method() {
	case policy.DirectKey:
		copy(r.base[8:], c.Nonce[:])
	case policy.IVInoLblk64:
		binary.LittleEndian.PutUint32(r.base[4:], uint32(ino))
		r.narrow = true
	case policy.IVInoLblk32:
		r.offset = k.inodeHash.InodeHash(ino)
		r.narrow = true
	}
	return r
}

// at is the IV of data unit index.
func (r *ivRule) at(index uint64) iv {
	out := r.base
	switch {
	case r.narrow:
		binary.LittleEndian.PutUint32(out[:], uint32(index)+r.offset)
	default:
		binary.LittleEndian.PutUint64(out[:], index)
	}
	return out
}

// run is how many units from index on have IVs that grow by one, read as a
// le64, without carry into what is not index.
func (r *ivRule) run(index uint64) uint64 {
	if !r.narrow {
		return 1<<64 - 1
	}
	return 1<<32 - uint64(uint32(index)+r.offset)
}

// short is the IV of the modes that take 16 bytes.
func (v *iv) short() *[16]byte { return (*[16]byte)(v[:16]) }
