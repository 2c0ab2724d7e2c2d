package convert

import (
	"crypto/aes"
	"encoding/binary"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// nonces gives every inode its nonce: AES-256 under the plan's seed, of the
// inode number. A permutation, so no two are equal; nobody without the seed
// can tell them from random ones, and the seed dies with the log.
type nonces struct{ seed [32]byte }

func (n nonces) of(ino image.Ino) policy.Nonce {
	block, err := aes.NewCipher(n.seed[:])
	if err != nil {
		panic("convert: " + err.Error()) // 32 bytes are always a key
	}
	var in [aes.BlockSize]byte
	binary.LittleEndian.PutUint64(in[:], uint64(ino))
	var out policy.Nonce
	block.Encrypt(out[:], in[:])
	return out
}
