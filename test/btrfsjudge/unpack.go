package btrfsjudge

import (
	"bytes"
	"compress/zlib"
	"crypto/aes"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/crypto/xts"
)

// unpack decompresses a stream of zlib or zstd; LZO is left to other tests.
func unpack(method byte, data []byte, size, _ uint64) ([]byte, error) {
	out := make([]byte, size)
	var r io.Reader
	switch method {
	case 1:
		z, err := zlib.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		r = z
	case 3:
		z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	default:
		return nil, fmt.Errorf("compression %d", method)
	}
	if n, err := io.ReadFull(r, out); err != nil && n == 0 {
		return nil, err
	}
	return out, nil
}

// inlineContents decrypts one data unit, number 0, of any number of blocks.
func inlineContents(key, p []byte) ([]byte, error) {
	c, err := xts.NewCipher(aes.NewCipher, key)
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(p))
	c.Decrypt(out, p, 0)
	return out, nil
}
