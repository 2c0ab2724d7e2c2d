package keystore

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"fsenc/internal/crypt/modes/aesblk"
	"fsenc/internal/secret"
)

// Sizes in bytes.
const (
	wrappingKeySize  = 32 // what a passphrase or raw key becomes
	protectorKeySize = 32
	policyKeySize    = 64
	ivSize           = 16
	macSize          = 32
	saltSize         = 16
)

// Fields of WrappedKeyData.
const (
	numIV           protowire.Number = 1
	numEncryptedKey protowire.Number = 2
	numMAC          protowire.Number = 3
)

// wrapped is a key under another: AES-256-CTR, then HMAC-SHA256 of IV and
// ciphertext, with two keys that HKDF-SHA256 makes of the wrapping one.
type wrapped struct {
	iv  [ivSize]byte
	key []byte // ciphertext
	mac [macSize]byte
}

// parseWrapped reads WrappedKeyData for a key of size bytes.
func parseWrapped(m message, size int) (wrapped, error) {
	iv, key, mac := m.data(numIV), m.data(numEncryptedKey), m.data(numMAC)
	switch {
	case m == nil:
		return wrapped{}, fmt.Errorf("no wrapped key")
	case len(iv) != ivSize:
		return wrapped{}, fmt.Errorf("wrapped key has an IV of %d bytes, want %d", len(iv), ivSize)
	case len(key) != size:
		return wrapped{}, fmt.Errorf("wrapped key has %d bytes, want %d", len(key), size)
	case len(mac) != macSize:
		return wrapped{}, fmt.Errorf("wrapped key has an HMAC of %d bytes, want %d", len(mac), macSize)
	}
	return wrapped{[ivSize]byte(iv), key, [macSize]byte(mac)}, nil
}

// into writes w over m, and returns the message's bytes.
func (w wrapped) into(m message) []byte {
	m.setData(numIV, w.iv[:])
	m.setData(numEncryptedKey, w.key)
	m.setData(numMAC, w.mac[:])
	return m.bytes()
}

// wrapKey puts key under the wrapping key, with a random IV.
func wrapKey(wrapping, key []byte) (wrapped, error) {
	var iv [ivSize]byte
	if _, err := rand.Read(iv[:]); err != nil {
		return wrapped{}, err
	}
	return wrapWith(wrapping, key, iv)
}

func wrapWith(wrapping, key []byte, iv [ivSize]byte) (wrapped, error) {
	t, err := newWrapper(wrapping)
	if err != nil {
		return wrapped{}, err
	}
	defer t.wipe()
	w := wrapped{iv: iv, key: make([]byte, len(key))}
	t.ctr(w.key, key, iv)
	w.mac = t.mac(&w)
	return w, nil
}

// unwrap returns the key, or ErrWrongSecret if wrapping is not what it is under.
func (w wrapped) unwrap(wrapping []byte) (*secret.Buffer, error) {
	t, err := newWrapper(wrapping)
	if err != nil {
		return nil, err
	}
	defer t.wipe()
	if mac := t.mac(&w); subtle.ConstantTimeCompare(mac[:], w.mac[:]) != 1 {
		return nil, ErrWrongSecret
	}
	key, err := secret.Alloc(len(w.key))
	if err != nil {
		return nil, err
	}
	t.ctr(key.Bytes(), w.key, w.iv)
	return key, nil
}

// wrapper is the state of one wrapping or unwrapping, in secret memory.
type wrapper struct {
	mem *secret.Buffer
	// Parts of mem: what is hashed, and the two keys.
	work, encryption, authentication []byte
}

const hashBlock = 64 // of SHA-256, in bytes

// workSize has room for HMAC's inner message: a padded key and what follows,
// at most an IV and a policy key.
const workSize = hashBlock + ivSize + policyKeySize

// newWrapper runs HKDF-SHA256 without salt and info: 64 bytes, the key of AES
// and the key of HMAC.
func newWrapper(key []byte) (*wrapper, error) {
	mem, err := secret.Alloc(workSize + 3*sha256.Size)
	if err != nil {
		return nil, err
	}
	b := mem.Bytes()
	t := &wrapper{mem: mem, work: b[:workSize]}
	var prk []byte
	prk, b = b[workSize:][:sha256.Size], b[workSize+sha256.Size:]
	t.encryption, t.authentication = b[:sha256.Size], b[sha256.Size:]
	var noSalt [sha256.Size]byte
	t.hmac(prk, noSalt[:], key)
	t.hmac(t.encryption, prk, []byte{1})
	t.hmac(t.authentication, prk, t.encryption, []byte{2})
	return t, nil
}

func (t *wrapper) wipe() { t.mem.Wipe() }

// hmac is HMAC-SHA256 with a key of 32 bytes. The message goes through work in
// one piece, so that no hash state with the key is left on the heap.
func (t *wrapper) hmac(dst, key []byte, parts ...[]byte) {
	n := t.pad(key, 0x36)
	for _, p := range parts {
		n += copy(t.work[n:], p)
	}
	inner := sha256.Sum256(t.work[:n])
	n = t.pad(key, 0x5c)
	n += copy(t.work[n:], inner[:])
	sum := sha256.Sum256(t.work[:n])
	copy(dst, sum[:])
	clear(inner[:])
	clear(sum[:])
}

// pad starts work with the key padded to a block, each byte xored with b.
func (t *wrapper) pad(key []byte, b byte) int {
	clear(t.work)
	copy(t.work, key)
	for i := range t.work[:hashBlock] {
		t.work[i] ^= b
	}
	return hashBlock
}

func (t *wrapper) mac(w *wrapped) (sum [macSize]byte) {
	t.hmac(sum[:], t.authentication, w.iv[:], w.key)
	return sum
}

// ctr is AES-256-CTR; the counter block starts as iv and counts big-endian
// over all of its bytes.
func (t *wrapper) ctr(dst, src []byte, iv [ivSize]byte) {
	var s aesblk.Schedule
	if err := s.InitEncrypt(t.encryption); err != nil {
		panic(err) // 32 bytes are a key size
	}
	defer s.Wipe()
	stream := t.work[:aesblk.BlockSize]
	for i := 0; i < len(src); i += aesblk.BlockSize {
		s.Encrypt(stream, iv[:])
		subtle.XORBytes(dst[i:], src[i:], stream)
		for j := len(iv) - 1; j >= 0; j-- {
			iv[j]++
			if iv[j] != 0 {
				break
			}
		}
	}
}
