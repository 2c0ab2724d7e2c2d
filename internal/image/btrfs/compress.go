package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	golzo "github.com/anchore/go-lzo"
	"github.com/klauspost/compress/zlib"
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
// where it ends in order before that the rest is zeros, as in kernels.
func unpack(method string, stream []byte, size, sector int) ([]byte, error) {
	out := make([]byte, size)
	switch method {
	case "zlib":
		return out, unpackZlib(out, stream)
	case "zstd":
		return out, unpackZstd(out, stream)
	case "lzo":
		return out, unpackLZO(out, stream, sector)
	}
	return nil, fmt.Errorf("%w: compression %s", image.ErrUnsupported, method)
}

// inflaters are readers to be used again: making one takes longer than most
// streams.
var inflaters sync.Pool

func unpackZlib(out, stream []byte) error {
	z, _ := inflaters.Get().(io.ReadCloser)
	var err error
	if z == nil {
		z, err = zlib.NewReader(bytes.NewReader(stream))
	} else {
		err = z.(zlib.Resetter).Reset(bytes.NewReader(stream), nil)
	}
	if err != nil {
		return err
	}
	defer inflaters.Put(z)
	for len(out) > 0 && err == nil {
		var n int
		n, err = z.Read(out)
		out = out[n:]
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// zstdDecoder is one for all: it may be used by several goroutines at a time.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderMaxWindow(1<<20), zstd.WithDecodeAllCapLimit(true))
})

// unpackZstd decodes one frame; what follows it is padding, which the decoder
// takes for another one.
func unpackZstd(out, stream []byte) error {
	d, err := zstdDecoder()
	if err != nil {
		return err
	}
	got, err := d.DecodeAll(stream, out[:0])
	if errors.Is(err, io.ErrUnexpectedEOF) && len(got) < len(out) {
		// The padding may be too short to tell it from a frame cut short.
		got, err = d.DecodeAll(append(bytes.Clone(stream), 0, 0, 0, 0), out[:0])
	}
	clear(out[len(got):])
	if len(got) == len(out) || errors.Is(err, zstd.ErrMagicMismatch) && len(got) > 0 {
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
	seg := make([]byte, sector)
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
		got, err := golzo.Decompress(stream[at:][:n], seg)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		at += n
		out = out[copy(out, seg[:got]):]
	}
	return nil
}
