package adiantum

import (
	"reflect"

	"lukechampine.com/adiantum"
	"lukechampine.com/adiantum/hbsh"
)

// stream is XChaCha12 under a key that lies here and not in the library, which
// refers to it: another key needs no other object, and erasing it is enough.
type stream struct {
	key    [KeySize]byte
	cipher hbsh.StreamCipher
}

func (s *stream) init(key []byte) {
	copy(s.key[:], key)
	if s.cipher == nil {
		s.cipher = libraryStream(s.key[:])
	}
}

func (s *stream) wipe() { clear(s.key[:]) }

// xor works in place. The nonce, at most 16 bytes, is followed by a 1 byte.
func (s *stream) xor(buf, nonce []byte) { s.cipher.XORKeyStream(buf, nonce) }

// libraryStream is the stream cipher inside the library's Adiantum, which has
// no other way to it. The rest of that object is not used; it must not be made
// of the key, since it could not be erased.
func libraryStream(key []byte) hbsh.StreamCipher {
	saved := [KeySize]byte(key)
	clear(key)
	whole := reflect.ValueOf(adiantum.New(key)).Elem()
	field := whole.FieldByName("stream")
	copy(key, saved[:])
	clear(saved[:])
	return reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem().Interface().(hbsh.StreamCipher)
}
