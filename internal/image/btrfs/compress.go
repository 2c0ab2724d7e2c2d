package btrfs

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"

	golzo "github.com/anchore/go-lzo"
	"github.com/klauspost/compress/zstd"

	"fsenc/internal/image"
)

// methods are the compressions as file extent items number them.
var methods = [...]string{"none", "zlib", "lzo", "zstd"}

// Unpack implements image.Unpacker.
func (fs *FS) Unpack(p *image.Packed, stream []byte) ([]byte, error) {
	out, err := unpack(p.Method, stream, int(p.Size), fs.ss)
	if err != nil {
		return nil, &image.CorruptError{What: "compressed extent", Pblk: p.Stream[0].Pblk, Why: fmt.Sprintf("%s: %v", p.Method, err)}
	}
	return out, nil
}

// unpack decompresses a stream, which may have zeros behind it, to size bytes;
// what it does not hold are zeros.
func unpack(method string, stream []byte, size, sector int) ([]byte, error) {
	out := make([]byte, size)
	switch method {
	case "zlib":
		z, err := zlib.NewReader(bytes.NewReader(stream))
		if err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(z, out); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		return out, nil
	case "zstd":
		return out, unpackZstd(out, stream)
	case "lzo":
		return out, unpackLZO(out, stream, sector)
	}
	return nil, fmt.Errorf("%w: compression %s", image.ErrUnsupported, method)
}

// unpackZstd decodes one frame; what follows it is padding.
func unpackZstd(out, stream []byte) error {
	d, err := zstd.NewReader(bytes.NewReader(stream), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<20))
	if err != nil {
		return err
	}
	defer d.Close()
	n, err := io.ReadFull(d, out)
	if n == len(out) || errors.Is(err, io.ErrUnexpectedEOF) || n > 0 && errors.Is(err, zstd.ErrMagicMismatch) {
		return nil
	}
	return err
}

// unpackLZO decodes le32 of the whole length, then segments of a sector each,
// led by their length. That never crosses the border of a sector of the stream.
func unpackLZO(out, stream []byte, sector int) error {
	if len(stream) < 4 {
		return io.ErrUnexpectedEOF
	}
	total := int(le.Uint32(stream))
	if total > len(stream) || total < 4 {
		return fmt.Errorf("%d bytes in %d", total, len(stream))
	}
	for at := 4; at < total && len(out) > 0; {
		if sector-at%sector < 4 {
			at += sector - at%sector
			continue
		}
		if at+4 > total {
			return io.ErrUnexpectedEOF
		}
		n := int(le.Uint32(stream[at:]))
		at += 4
		if n > total-at || n == 0 {
			return fmt.Errorf("segment of %d bytes at %d", n, at)
		}
		seg := make([]byte, sector)
		got, err := golzo.Decompress(stream[at:][:n], seg)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		at += n
		out = out[copy(out, seg[:got]):]
	}
	return nil
}
