// Package polyval is POLYVAL, the universal hash of RFC 8452, for HCTR2.
//
// A block of 16 bytes is a polynomial over GF(2): bit i of the little-endian
// number is the coefficient of xⁱ, modulo x¹²⁸ + x¹²⁷ + x¹²⁶ + x¹²¹ + 1. The
// hash of blocks X₁ … Xₙ is S = (S + Xⱼ)·H·x⁻¹²⁸, block by block. It takes the
// same time for all values on every instruction set. The test vectors are
// those of RFC 8452.
package polyval

// BlockSize is the size of a block, of the key and of the hash in bytes.
const BlockSize = 16

// aggregate is how many blocks are reduced together.
const aggregate = 8

// Key is a hash key with its powers. The zero value is the key of zeros; Init
// gives it another without allocating. Several goroutines may use one at once.
type Key struct {
	// powers[i] is H to the power 8-i, so that n blocks start at powers[8-n].
	powers [aggregate]element
}

// Init makes the powers of h, over whatever k held.
func (k *Key) Init(h *[BlockSize]byte) { initKey(k, load(h[:])) }

// Wipe erases the key.
func (k *Key) Wipe() { *k = Key{} }

// Update hashes blocks, a multiple of 16 bytes, into *acc, which begins as
// zeros. Another length is a caller's mistake and panics.
func (k *Key) Update(acc *[BlockSize]byte, blocks []byte) {
	if len(blocks)%BlockSize != 0 {
		panic("polyval: input is not a whole number of blocks")
	}
	if len(blocks) > 0 {
		update(k, acc, blocks)
	}
}
