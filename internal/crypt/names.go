package crypt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"fsenc/internal/crypt/kdf"
	"fsenc/internal/crypt/names"
	"fsenc/internal/crypt/policy"
)

var (
	// ErrName says that a name or target cannot be encrypted, or that what was
	// decrypted is none. With the wrong key of a v1 policy that is what shows.
	ErrName = errors.New("malformed name")
	// ErrNameTooLong says that a name or target has too many bytes.
	ErrNameTooLong = errors.New("name too long")
)

// Names encrypts and decrypts the names in one directory, or the target of one
// symlink. The zero value has no key; Init gives it one. Several goroutines may
// use one at once.
//
// "." and ".." are stored as they are and never given to a Names.
type Names struct {
	// Cache, if set before Init, is where the prepared cipher comes from.
	Cache *Cache

	slot   keySlot
	cipher nameCipher // what the slot holds
	iv     iv
	pad    int
	dir    kdf.SipKey
}

// Names prepares the filenames cipher of the directory or symlink ino with the
// context c. The error is as for Contents.
func (k *MasterKey) Names(c policy.Context, ino uint64, v Volume) (*Names, error) {
	n := new(Names)
	if err := n.Init(k, c, ino, v); err != nil {
		return nil, err
	}
	return n, nil
}

// Init is Names on memory of the caller. A Names that was prepared for another
// inode with the same mode takes the new key without allocating.
func (n *Names) Init(k *MasterKey, c policy.Context, ino uint64, v Volume) error {
	n.cipher = nil
	s, err := k.spec(&c, forNames, &v)
	if err != nil {
		n.Close()
		return err
	}
	if err := n.slot.load(&s, n.Cache, newNameCipher); err != nil {
		return err
	}
	n.cipher = n.slot.cipher.(nameCipher)
	n.setUp(k, &c, ino)
	return nil
}

// setUp sets what does not come out of the derived key.
func (n *Names) setUp(k *MasterKey, c *policy.Context, ino uint64) {
	rule := k.ivRule(c, ino)
	n.iv = rule.at(0)
	n.pad = c.Padding()
	n.dir = k.dirKey(c.Nonce)
}

// dirKey is the key of the hashes in a casefolded directory.
func (k *MasterKey) dirKey(nonce policy.Nonce) kdf.SipKey {
	d := deriveds.Get().(*derived)
	key := (*[16]byte)(d[:16])
	k.hkdf.Expand(key[:], kdf.DirhashKey, append(d[16:16], nonce[:]...))
	sip := kdf.NewSipKey(key)
	clear(d[:])
	deriveds.Put(d)
	return sip
}

// Close wipes all that depends on the key, or gives it back to the cache; n can
// be prepared again.
func (n *Names) Close() {
	n.slot.close()
	n.cipher = nil
	n.iv, n.dir = iv{}, kdf.SipKey{}
}

// Format keeps round keys out of whatever is printed.
func (Names) Format(s fmt.State, _ rune) { io.WriteString(s, "[names cipher]") }

// EncryptedLen is the length of the ciphertext of a name of size bytes.
func (n *Names) EncryptedLen(size int) int { return names.PaddedLen(size, n.pad, names.MaxName) }

// EncryptName appends the ciphertext of a name of 1 to 255 bytes to dst, which
// does not overlap it. The error wraps ErrNameTooLong, or ErrName for what no
// directory can hold.
func (n *Names) EncryptName(dst, name []byte) ([]byte, error) {
	if len(name) > names.MaxName {
		return dst, fmt.Errorf("%w: %d bytes", ErrNameTooLong, len(name))
	}
	if err := checkName(name); err != nil {
		return dst, err
	}
	return n.seal(dst, name, n.EncryptedLen(len(name))), nil
}

// seal appends the ciphertext of text padded to size bytes.
func (n *Names) seal(dst, text []byte, size int) []byte {
	start := len(dst)
	dst = slices.Grow(dst, size)[:start+size]
	clear(dst[start+copy(dst[start:], text):])
	n.cipher.encrypt(dst[start:], &n.iv)
	return dst
}

// DecryptName appends the name behind a ciphertext to dst, which does not
// overlap it, as the kernel reads it: up to the first NUL of the plaintext. The
// error wraps ErrName if the ciphertext has not 16 to 255 bytes.
func (n *Names) DecryptName(dst, ct []byte) ([]byte, error) {
	out, _, err := n.open(dst, ct, names.MaxName)
	return out, err
}

// CheckName is DecryptName that looks harder: the padding must be zero, and the
// name one that a directory can hold. Otherwise the error wraps ErrName, and
// the image is damaged or the key is wrong.
func (n *Names) CheckName(dst, ct []byte) ([]byte, error) {
	out, clean, err := n.open(dst, ct, names.MaxName)
	if err != nil {
		return dst, err
	}
	if !clean {
		return dst, fmt.Errorf("%w: bytes after the NUL that ends it", ErrName)
	}
	if err := checkName(out[len(dst):]); err != nil {
		return dst, err
	}
	return out, nil
}

// open appends what a ciphertext of at most limit bytes decrypts to.
func (n *Names) open(dst, ct []byte, limit int) (out []byte, clean bool, err error) {
	if len(ct) < names.MinEncrypted || len(ct) > limit {
		return dst, false, fmt.Errorf("%w: ciphertext of %d bytes", ErrName, len(ct))
	}
	start := len(dst)
	out = append(dst, ct...)
	n.cipher.decrypt(out[start:], &n.iv)
	text, clean := names.Unpad(out[start:])
	return out[:start+len(text)], clean, nil
}

func checkName(name []byte) error {
	switch {
	case len(name) == 0:
		return fmt.Errorf("%w: empty", ErrName)
	case bytes.IndexByte(name, 0) >= 0:
		return fmt.Errorf("%w: holds a NUL", ErrName)
	case bytes.IndexByte(name, '/') >= 0:
		return fmt.Errorf("%w: holds a slash", ErrName)
	}
	return nil
}

// DirHash hashes a name in a casefolded directory, folded, or as it is where it
// cannot be folded. raw is the whole hash, of which f2fs stores the low 32
// bits; hash and minor are what ext4 makes of it. Only v2 policies go with
// casefolded directories.
func (n *Names) DirHash(folded []byte) (hash, minor uint32, raw uint64) {
	raw = n.dir.Sum(folded)
	hash = uint32(raw>>32) &^ 1
	if hash == 0xfffffffe { // ext4's mark for the end of a directory
		hash = 0xfffffffc
	}
	return hash, uint32(raw), raw
}
