package f2fs

import (
	"errors"
	"fmt"
	"io"
	"math/bits"

	golzo "github.com/anchore/go-lzo"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"fsenc/internal/image"
)

// The first block of a compressed cluster begins with struct compress_data.
const (
	offStreamLen   = 0 // le32 clen: bytes of the stream
	offStreamCheck = 4 // le32 chksum, if the inode asks for it
	streamHeader   = 24

	comprFlagChksum = 1 // i_compress_flag
)

// i_compress_algorithm.
var methods = [...]string{"lzo", "lz4", "zstd", "lzo-rle"}

// clusterMap puts the mapping of a compressed file together.
type clusterMap struct {
	fs   *FS
	in   *inode
	size uint64 // blocks of a cluster
	list []image.Extent

	head   bool // the cluster under way is compressed
	number uint64
	stream []image.Extent
}

func (m *clusterMap) add(s slot) error {
	if n := s.lblk / m.size; n != m.number {
		if err := m.finish(); err != nil {
			return err
		}
		m.number = n
	}
	switch s.addr {
	case compressAddr:
		if s.lblk%m.size != 0 {
			return m.fs.corrupt("compressed cluster", m.in.ino, 0, "head at lblk %d, inside of a cluster of %d blocks", s.lblk, m.size)
		}
		m.head = true
		return nil
	case newAddr:
		return nil
	}
	if err := m.fs.checkAddr(m.in, s); err != nil {
		return err
	}
	l, p := image.Lblk(s.lblk), image.Pblk(s.addr)
	if m.head {
		m.stream = appendBlock(m.stream, l, p)
	} else {
		m.list = appendBlock(m.list, l, p)
	}
	return nil
}

// finish ends the cluster under way.
func (m *clusterMap) finish() error {
	if !m.head {
		return nil
	}
	if len(m.stream) == 0 {
		return m.fs.corrupt("compressed cluster", m.in.ino, 0, "cluster %d has a head and no blocks", m.number)
	}
	method := "unknown"
	if a := int(m.in.raw[offComprAlgo]); a < len(methods) {
		method = methods[a]
	}
	if m.in.u16(offComprFlag)&comprFlagChksum != 0 {
		method += "+crc"
	}
	m.list = append(m.list, image.Extent{Lblk: image.Lblk(m.number * m.size), Pblk: m.stream[0].Pblk, Len: m.size,
		Packed: &image.Packed{Method: method, Stream: m.stream, Size: int64(m.size) * blockSize}})
	m.head, m.stream = false, nil
	return nil
}

func (m *clusterMap) done() ([]image.Extent, error) {
	err := m.finish()
	return m.list, err
}

// Unpack implements image.Unpacker.
func (fs *FS) Unpack(p *image.Packed, stream []byte) ([]byte, error) {
	bad := func(format string, a ...any) error {
		return fs.corrupt("compressed cluster", 0, p.Stream[0].Pblk, format, a...)
	}
	n := le.Uint32(stream[offStreamLen:])
	if n == 0 || uint64(n) > uint64(len(stream)-streamHeader) {
		return nil, bad("stream of %d bytes in %d", n, len(stream)-streamHeader)
	}
	data := stream[streamHeader:][:n]
	method, checked := p.Method, false
	if len(method) > 4 && method[len(method)-4:] == "+crc" {
		method, checked = method[:len(method)-4], true
	}
	if got, want := le.Uint32(stream[offStreamCheck:]), crcF2FS(superMagic, data); checked && got != want {
		return nil, bad("checksum %#08x, want %#08x", got, want)
	}
	if p.Size > 1<<20 || bits.OnesCount64(uint64(p.Size)) != 1 {
		return nil, bad("cluster of %d bytes", p.Size)
	}
	out, err := unpack(method, data, int(p.Size))
	if errors.Is(err, image.ErrUnsupported) {
		return nil, err
	}
	if err != nil {
		return nil, bad("%s: %v", method, err)
	}
	if len(out) != int(p.Size) {
		return nil, bad("%s: unpacks to %d bytes, want %d", method, len(out), p.Size)
	}
	return out, nil
}

// unpack decompresses data to at most size bytes.
func unpack(method string, data []byte, size int) ([]byte, error) {
	out := make([]byte, size)
	switch method {
	case "lz4":
		n, err := lz4.UncompressBlock(data, out)
		return out[:max(n, 0)], err
	case "lzo", "lzo-rle":
		return unpackLZO(method, data, out)
	case "zstd":
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(8<<20))
		if err != nil {
			return nil, err
		}
		defer d.Close()
		return d.DecodeAll(data, out[:0])
	}
	return nil, fmt.Errorf("%w: compression %s", image.ErrUnsupported, method)
}

// unpackLZO decodes a block of LZO1X. That of LZO-RLE begins with a mark and a
// version, and has runs of zeros as a further instruction.
func unpackLZO(method string, data, out []byte) ([]byte, error) {
	if method == "lzo-rle" && len(data) > 2 && data[0] == 17 && data[1] == 1 {
		return unpackRLE(data[2:], out)
	}
	n, err := golzo.Decompress(data, out)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return out[:n], nil
}
