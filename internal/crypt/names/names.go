// Package names pads names and symlink targets, and converts between
// ciphertext names and the no-key names that show without the key.
//
// Names are bytes; lengths are in bytes. The rules are those of the kernel's
// fs/crypto/fname.c (6.12): the no-key form is that since 5.6, its alphabet
// that since 5.15.
package names

import "bytes"

// MaxName is the greatest length of a name, encrypted or not.
const MaxName = 255

// MinEncrypted is the least length of an encrypted name.
const MinEncrypted = 16

// PaddedLen is the length of the ciphertext of a name or target of n bytes: at
// least 16, then a multiple of pad, and never more than limit.
func PaddedLen(n, pad, limit int) int {
	n = max(n, MinEncrypted)
	return min((n+pad-1)/pad*pad, limit)
}

// Unpad cuts a decrypted name at its first NUL. clean reports whether all that
// was cut is NUL, as every writer leaves it; the kernel does not look.
func Unpad(padded []byte) (name []byte, clean bool) {
	i := bytes.IndexByte(padded, 0)
	if i < 0 {
		return padded, true
	}
	return padded[:i], len(bytes.TrimLeft(padded[i:], "\x00")) == 0
}
