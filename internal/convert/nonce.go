package convert

import (
	"crypto/aes"
	"encoding/binary"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// nonces gives every inode its nonces: AES-256 under the plan's seed, of the
// inode number and of which form of the inode it is for. A permutation, so no
// two are equal; nobody without the seed can tell them from random ones, and
// the seed dies with the log.
type nonces struct{ seed [32]byte }

// of is the nonce that an inode gets in its new form or, by undoing a
// conversion that had replaced it, in its old one.
func (n nonces) of(ino image.Ino, old bool) policy.Nonce {
	block, err := aes.NewCipher(n.seed[:])
	if err != nil {
		panic("convert: " + err.Error()) // 32 bytes are always a key
	}
	var in [aes.BlockSize]byte
	binary.LittleEndian.PutUint64(in[:], uint64(ino))
	if old {
		in[8] = 1
	}
	var out policy.Nonce
	block.Encrypt(out[:], in[:])
	return out
}
