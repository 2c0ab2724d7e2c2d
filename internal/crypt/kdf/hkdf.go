package kdf

import (
	"crypto/sha512"
	"encoding"
	"hash"
	"sync"
)

// Purpose is the context byte of HKDF: what a derived key is for.
type Purpose byte

// The purposes, with what follows the context byte.
const (
	KeyIdentifier         Purpose = 1 // nothing: identifier of a raw key, 16 bytes
	PerFileKey            Purpose = 2 // nonce of the inode
	DirectKey             Purpose = 3 // mode
	IVInoLblk64Key        Purpose = 4 // mode, filesystem UUID
	DirhashKey            Purpose = 5 // nonce of the directory: SipHash key, 16 bytes
	IVInoLblk32Key        Purpose = 6 // mode, filesystem UUID
	InodeHashKey          Purpose = 7 // nothing: SipHash key, 16 bytes
	HardwareKeyIdentifier Purpose = 8 // nothing: identifier of a hardware-wrapped key, 16 bytes
	PerExtentKey          Purpose = 9 // nonce of the extent (proposed for btrfs)

	// OldExtentKey is what series v5 for btrfs (January 2024) took for extents, before
	// that number was given away: nonce of the extent.
	OldExtentKey Purpose = 8
)

// MaxExpand is the longest output of Expand in bytes: one block of HMAC-SHA512.
const MaxExpand = sha512.Size

// MaxInfo is the longest info of Expand in bytes: a mode and a UUID.
const MaxInfo = 17

const (
	stateSize = 204 // of SHA-512 as crypto/sha512 serialises it
	prefix    = "fscrypt\x00"
)

// ExpanderSize is the memory that an Expander needs, in bytes.
const ExpanderSize = 2 * stateSize

// Expander is HKDF-SHA512 after the extract step, with the two padded key
// blocks of HMAC already hashed: deriving a key costs two more blocks and no
// allocation. Several goroutines may use one Expander at once.
type Expander struct {
	inner, outer []byte // SHA-512 after the padded key, in memory of the caller
}

// NewExpander extracts from a master key of any length, without salt. What it
// keeps is as secret as the key and lies in mem, which has ExpanderSize bytes;
// to wipe the Expander is to clear mem, and it panics when used afterwards.
func NewExpander(mem, key []byte) *Expander {
	if len(mem) < ExpanderSize {
		panic("kdf: memory of an expander is too short")
	}
	s := getScratch()
	defer s.release()
	var salt, prk [sha512.Size]byte
	defer clear(prk[:])
	e := Expander{mem[:stateSize:stateSize], mem[stateSize:ExpanderSize:ExpanderSize]}
	e.load(s, salt[:])
	e.sum(s, prk[:], key)
	e.load(s, prk[:])
	return &e
}

// Expand fills dst, at most MaxExpand bytes, with the key for a purpose. info
// is what the purpose calls for, at most MaxInfo bytes.
func (e *Expander) Expand(dst []byte, p Purpose, info []byte) {
	if len(dst) > MaxExpand || len(info) > MaxInfo {
		panic("kdf: expand asks for more than one block or has a long info")
	}
	s := getScratch()
	m := append(s.msg[:0], prefix...)
	m = append(m, byte(p))
	m = append(m, info...)
	m = append(m, 1) // number of the output block
	e.sum(s, s.out[:], m)
	copy(dst, s.out[:])
	s.release()
}

// load hashes the padded key blocks of HMAC for a key of one digest's length.
func (e *Expander) load(s *scratch, key []byte) {
	for _, h := range []struct {
		state []byte
		pad   byte
	}{{e.inner, 0x36}, {e.outer, 0x5c}} {
		for i := range s.block {
			s.block[i] = h.pad
		}
		for i, b := range key {
			s.block[i] ^= b
		}
		s.hash.Reset()
		s.hash.Write(s.block[:])
		state, err := s.hash.AppendBinary(h.state[:0])
		if err != nil || len(state) != stateSize {
			panic("kdf: crypto/sha512 serialises its state in another size")
		}
	}
}

// sum is HMAC of msg under the loaded key; dst has 64 bytes.
func (e *Expander) sum(s *scratch, dst, msg []byte) {
	s.restore(e.inner)
	s.hash.Write(msg)
	inner := s.hash.Sum(s.block[:0])
	s.restore(e.outer)
	s.hash.Write(inner)
	s.hash.Sum(dst[:0])
}

// serialHash is what crypto/sha512 gives: a state that can be put away.
type serialHash interface {
	hash.Hash
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// scratch is what one derivation works in.
type scratch struct {
	hash  serialHash
	block [sha512.BlockSize]byte
	msg   [len(prefix) + 1 + MaxInfo + 1]byte
	out   [sha512.Size]byte
	blank [stateSize]byte // a state that tells nothing
}

var scratches = sync.Pool{New: func() any {
	s := &scratch{hash: sha512.New().(serialHash)}
	s.hash.Write(make([]byte, sha512.BlockSize-1))
	if _, err := s.hash.AppendBinary(s.blank[:0]); err != nil {
		panic("kdf: crypto/sha512 does not serialise its state")
	}
	return s
}}

func getScratch() *scratch { return scratches.Get().(*scratch) }

// release overwrites all that depends on a key.
func (s *scratch) release() {
	s.restore(s.blank[:])
	clear(s.block[:])
	clear(s.msg[:])
	clear(s.out[:])
	scratches.Put(s)
}

func (s *scratch) restore(state []byte) {
	if err := s.hash.UnmarshalBinary(state); err != nil {
		panic("kdf: expander was wiped")
	}
}
