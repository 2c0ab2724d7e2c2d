package btrfsjudge

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// unpack decompresses a stream with zeros behind it to size bytes; what it does
// not hold are zeros.
func unpack(method byte, data []byte, size, sector uint64) ([]byte, error) {
	out := make([]byte, size)
	switch method {
	case 1:
		z, err := zlib.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		return out, some(z, out)
	case 2:
		all, err := unpackLZO(data, size, sector)
		copy(out, all)
		return out, err
	case 3:
		z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		return out, some(z, out)
	}
	return nil, fmt.Errorf("compression %d", method)
}

// some reads as much as there is.
func some(r io.Reader, out []byte) error {
	if n, err := io.ReadFull(r, out); n == 0 {
		return err
	}
	return nil
}
