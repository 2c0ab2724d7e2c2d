package convert

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// nonces gives every inode its nonces: AES-256 under the plan's seed, of the
// inode number and of which form of the inode it is for. A permutation, so no
// two are equal; nobody without the seed can tell them from random ones, and
// the seed dies with the log.
type nonces struct{ block cipher.Block }

func newNonces(seed [32]byte) nonces {
	block, err := aes.NewCipher(seed[:])
	if err != nil {
		panic("convert: " + err.Error()) // 32 bytes are always a key
	}
	return nonces{block}
}

// What the second half of the block that makes a nonce says.
const (
	forOld    = 1 << 0 // for the old form of what has two
	forExtent = 1 << 1 // the number is the place of an extent
)

// of is the nonce that an inode gets in its new form or, by undoing a
// conversion that had replaced it, in its old one.
func (n nonces) of(ino image.Ino, old bool) policy.Nonce { return n.make(uint64(ino), 0, old) }

// ofExtent is the same for an extent with a context of its own, that starts at
// a place in the image.
func (n nonces) ofExtent(at image.Pblk, old bool) policy.Nonce {
	return n.make(uint64(at), forExtent, old)
}

func (n nonces) make(number uint64, kind byte, old bool) policy.Nonce {
	var in [aes.BlockSize]byte
	binary.LittleEndian.PutUint64(in[:], number)
	if in[8] = kind; old {
		in[8] |= forOld
	}
	var out policy.Nonce
	n.block.Encrypt(out[:], in[:])
	return out
}
