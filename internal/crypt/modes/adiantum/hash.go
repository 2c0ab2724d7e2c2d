package adiantum

import (
	"encoding/binary"
	"math/bits"

	"lukechampine.com/adiantum/nh"
)

const (
	aesKeySize = 32
	nhKeySize  = 1072
	nhPiece    = 1024 // of the message, for one NH
	nhExtra    = 48   // the key goes on behind the message

	offTweakKey   = aesKeySize
	offMessageKey = offTweakKey + 16
	offNHKey      = offMessageKey + 16
	subkeysSize   = offNHKey + nhKeySize
)

// number is a little-endian number of 128 bits; sums are modulo 2¹²⁸.
type number struct{ lo, hi uint64 }

func load(b []byte) number {
	return number{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
}

func (n number) store(b []byte) {
	binary.LittleEndian.PutUint64(b, n.lo)
	binary.LittleEndian.PutUint64(b[8:], n.hi)
}

func (n number) plus(o number) number {
	lo, carry := bits.Add64(n.lo, o.lo, 0)
	hi, _ := bits.Add64(n.hi, o.hi, carry)
	return number{lo, hi}
}

func (n number) minus(o number) number {
	lo, borrow := bits.Sub64(n.lo, o.lo, 0)
	hi, _ := bits.Sub64(n.hi, o.hi, borrow)
	return number{lo, hi}
}

// hash is the ε-almost-Δ-universal hash of Adiantum: of tweak and length with
// Poly1305, of the message with NH and Poly1305 over that.
type hash struct {
	keys         [subkeysSize]byte // with the AES key in front
	tweakR, msgR polyKey
}

// init takes the keys out of h.keys.
func (h *hash) init() {
	h.tweakR.init(h.keys[offTweakKey:])
	h.msgR.init(h.keys[offMessageKey:])
	clear(h.keys[:offNHKey])
}

// tweak hashes the tweak and the length of a message of n bytes.
func (h *hash) tweak(t *[TweakSize]byte, n int) number {
	var p poly
	p.add(&h.tweakR, number{lo: 8 * uint64(n)})
	p.add(&h.tweakR, load(t[:]))
	p.add(&h.tweakR, load(t[blockSize:]))
	return p.sum()
}

// message hashes a message, padded with zeros to a multiple of 16 bytes.
func (h *hash) message(m []byte) number {
	var p poly
	var out [32]byte
	key := h.keys[offNHKey:]
	for len(m) > 0 {
		piece := m[:min(len(m), nhPiece)]
		m = m[len(piece):]
		sumNH(&out, piece, key)
		p.add(&h.msgR, load(out[:]))
		p.add(&h.msgR, load(out[blockSize:]))
	}
	return p.sum()
}

// sumNH is NH of one piece. It is a sum over units of 16 bytes, so a last unit
// that is not full is added on its own, under its part of the key.
func sumNH(out *[32]byte, piece, key []byte) {
	full := len(piece) / blockSize * blockSize
	nh.Sum(out, piece[:full], key)
	if full == len(piece) {
		return
	}
	var last [blockSize]byte
	var more [32]byte
	copy(last[:], piece[full:])
	nh.Sum(&more, last[:], key[full:full+blockSize+nhExtra])
	for i := 0; i < len(out); i += 8 {
		v := binary.LittleEndian.Uint64(out[i:]) + binary.LittleEndian.Uint64(more[i:])
		binary.LittleEndian.PutUint64(out[i:], v)
	}
}
