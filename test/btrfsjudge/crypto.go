package btrfsjudge

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"

	"golang.org/x/crypto/xts"
)

// derive is HKDF-SHA512 as fscrypt uses it.
func derive(master []byte, context byte, info []byte, n int) []byte {
	key, err := hkdf.Key(sha512.New, master, nil, "fscrypt\x00"+string(context)+string(info), n)
	if err != nil {
		panic(err)
	}
	return key
}

// Contexts of HKDF.
const (
	forIdentifier = 1
	forFile       = 2
	forExtent     = 9
)

// Modes as contexts number them.
const (
	aes256XTS = 1
	aes256CTS = 4
	aes128CBC = 5
	aes128CTS = 6
)

// decryptUnits decrypts data units of some bytes each, the first with number 0.
func decryptUnits(mode byte, master []byte, context byte, nonce, p []byte, unit int) ([]byte, error) {
	out := make([]byte, len(p))
	if mode == aes256XTS {
		c, err := xts.NewCipher(aes.NewCipher, derive(master, context, nonce, 64))
		if err != nil {
			return nil, err
		}
		for off := 0; off < len(p); off += unit {
			c.Decrypt(out[off:off+unit], p[off:off+unit], uint64(off/unit))
		}
		return out, nil
	}
	key := derive(master, context, nonce, 16)
	c, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	salt := sha256.Sum256(key)
	essiv, err := aes.NewCipher(salt[:])
	if err != nil {
		return nil, err
	}
	for off := 0; off < len(p); off += unit {
		iv := make([]byte, 16)
		binary.LittleEndian.PutUint64(iv, uint64(off/unit))
		essiv.Encrypt(iv, iv)
		cipher.NewCBCDecrypter(c, iv).CryptBlocks(out[off:off+unit], p[off:off+unit])
	}
	return out, nil
}

// decryptName decrypts a name or a target and takes off the zeros behind it.
func decryptName(mode byte, master, nonce, p []byte) (string, error) {
	n := 32
	if mode == aes128CTS {
		n = 16
	}
	plain, err := stolen(derive(master, forFile, nonce, n), p)
	if err != nil {
		return "", err
	}
	plain, rest, _ := bytes.Cut(plain, []byte{0})
	switch {
	case len(bytes.Trim(rest, "\x00")) > 0:
		return "", errors.New("not padded with zeros")
	case len(plain) == 0:
		return "", errors.New("empty")
	}
	return string(plain), nil
}

// stolen decrypts CBC with the last two blocks exchanged, and ciphertext
// stealing, from an IV of zeros.
func stolen(key, p []byte) ([]byte, error) {
	if len(p) < 16 {
		return nil, errors.New("shorter than a block")
	}
	c, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	iv := make([]byte, 16)
	out := make([]byte, len(p))
	if len(p) == 16 {
		cipher.NewCBCDecrypter(c, iv).CryptBlocks(out, p)
		return out, nil
	}
	d := len(p) - (len(p)-1)/16*16 // bytes in the last block
	head := len(p) - d - 16
	cipher.NewCBCDecrypter(c, iv).CryptBlocks(out[:head], p[:head])
	if head > 0 {
		iv = p[head-16 : head]
	}
	x := make([]byte, 16)
	c.Decrypt(x, p[head:head+16])
	last := append(bytes.Clone(p[head+16:]), x[d:]...) // the block before the last of plain CBC
	for i := range d {
		out[head+16+i] = x[i] ^ p[head+16+i]
	}
	c.Decrypt(out[head:head+16], last)
	for i := range 16 {
		out[head+i] ^= iv[i]
	}
	return out, nil
}
