package btrfsjudge

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
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

// contents decrypts whole sectors of an extent, unit being the first's number.
func contents(master, nonce, p []byte, unit uint64, sector int) ([]byte, error) {
	c, err := xts.NewCipher(aes.NewCipher, derive(master, forExtent, nonce, 64))
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(p))
	for off := 0; off < len(p); off += sector {
		c.Decrypt(out[off:off+sector], p[off:off+sector], unit+uint64(off/sector))
	}
	return out, nil
}

// name decrypts a name or a target: CBC with the last two blocks exchanged, and
// ciphertext stealing, from an IV of zeros.
func name(key, p []byte) ([]byte, error) {
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
