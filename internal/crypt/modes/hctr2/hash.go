package hctr2

import "encoding/binary"

type block [blockSize]byte

func (b *block) xor(o *block) {
	for i := 0; i < blockSize; i += 8 {
		v := binary.LittleEndian.Uint64(b[i:]) ^ binary.LittleEndian.Uint64(o[i:])
		binary.LittleEndian.PutUint64(b[i:], v)
	}
}

// hashTweak hashes what stands before a message of n bytes: the tweak's length
// in bits, with a mark whether the message is padded, and the tweak.
func (c *Cipher) hashTweak(t *[TweakSize]byte, n int) block {
	var head [blockSize + TweakSize]byte
	length := uint16(2*8*TweakSize + 2)
	if n%blockSize != 0 {
		length++
	}
	binary.LittleEndian.PutUint16(head[:], length)
	copy(head[blockSize:], t[:])
	var acc [blockSize]byte
	c.hash.Update(&acc, head[:])
	return acc
}

// hashMessage goes on from acc with the message; one that is no multiple of 16
// bytes is padded with a 1 byte and zeros.
func (c *Cipher) hashMessage(acc block, m []byte) block {
	whole := len(m) &^ (blockSize - 1)
	c.hash.Update((*[blockSize]byte)(&acc), m[:whole])
	if whole < len(m) {
		var last block
		last[copy(last[:], m[whole:])] = 1
		c.hash.Update((*[blockSize]byte)(&acc), last[:])
	}
	return acc
}
