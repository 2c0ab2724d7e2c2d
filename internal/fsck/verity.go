package fsck

import (
	"fmt"

	"fsenc/internal/image"
)

// Fields of struct fsverity_descriptor, little-endian.
const (
	verityDescSize  = 256
	verityMaxDesc   = 16384
	offVersion      = 0  // u8, 1
	offHashAlg      = 1  // u8, 1 SHA-256, 2 SHA-512
	offLogBlockSize = 2  // u8
	offDataSize     = 8  // le64
	verityHead      = 16 // bytes up to there
	verityAlign     = 65536
)

// verity looks for the descriptor behind the Merkle tree, which both are behind
// the contents.
func (x *examiner) verity(s *subject, v *view) error {
	var why string
	var err error
	if l, ok := x.fs.(image.VerityLocator); ok {
		why, err = x.verityWhere(s, v, l)
	} else if x.super.Kind == "ext4" {
		why, err = x.verityLast(s, v)
	}
	if err != nil {
		return x.unreadable(s, "content-unreadable", err)
	}
	if why != "" {
		x.report(s, "verity-descriptor", restore, "no sound verity descriptor: %s", why)
	}
	return nil
}

// verityWhere takes the place that the filesystem tells.
func (x *examiner) verityWhere(s *subject, v *view, l image.VerityLocator) (string, error) {
	at, size, err := l.VerityDescriptor(s.attr.Ino)
	if err != nil {
		return "", err
	}
	return x.descriptor(s, v, at, size)
}

// verityLast finds it as ext4 does: its size is in the last 4 bytes of the last
// block of the file, and it begins with a block.
func (x *examiner) verityLast(s *subject, v *view) (string, error) {
	bs := uint64(x.super.BlockSize)
	if v.end() == 0 {
		return "no written blocks behind the contents", nil
	}
	last, err := v.read(v.end() - 1)
	if err != nil || last == nil {
		return "no written blocks behind the contents", err
	}
	size := uint64(le.Uint32(last[bs-4:]))
	end := uint64(v.end())*bs - 4
	if size > end {
		return fmt.Sprintf("its size would be %d", size), nil
	}
	return x.descriptor(s, v, (end-size)/bs*bs, size)
}

// descriptor reads the descriptor, of which the size is given, at a byte of the
// file, and tells what is wrong with it.
func (x *examiner) descriptor(s *subject, v *view, at, size uint64) (string, error) {
	if size < verityDescSize || size > verityMaxDesc {
		return fmt.Sprintf("its size would be %d", size), nil
	}
	if start := (uint64(s.attr.Size) + verityAlign - 1) / verityAlign * verityAlign; at < start {
		return fmt.Sprintf("it would be at %d, before %d", at, start), nil
	}
	bs := uint64(x.super.BlockSize)
	if at%bs > bs-verityHead {
		return fmt.Sprintf("it would be at %d, across blocks", at), nil
	}
	d, err := v.read(image.Lblk(at / bs))
	if err != nil || d == nil {
		return "its block is a hole", err
	}
	switch d = d[at%bs:]; {
	case d[offVersion] != 1 || d[offHashAlg] < 1 || d[offHashAlg] > 2 || d[offLogBlockSize] > 16:
		return fmt.Sprintf("version %d, hash algorithm %d, block size 2^%d", d[offVersion], d[offHashAlg], d[offLogBlockSize]), nil
	case le.Uint64(d[offDataSize:]) != uint64(s.attr.Size):
		return fmt.Sprintf("it is for %d bytes, the file has %d", le.Uint64(d[offDataSize:]), s.attr.Size), nil
	}
	return "", nil
}
