package fsck

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"fsenc/internal/crypt"
	"fsenc/internal/image"
	"fsenc/internal/tree"
)

var le = binary.LittleEndian

const (
	minCipher  = 16 // bytes of the shortest ciphertext of a name or target
	maxNameLen = 255
)

// body checks what the inode holds: a target or contents. Directories are the
// walk's business.
func (x *examiner) body(s *subject) error {
	switch {
	case s.attr.Type == image.TypeSymlink:
		return x.link(s)
	case s.attr.Type == image.TypeRegular && !s.attr.Inline && !s.attr.Reserved:
		return x.file(s)
	case s.attr.Type == image.TypeRegular && s.attr.Inline && s.attr.Encrypted && x.super.Inline != "":
		return x.inline(s)
	}
	return nil
}

// link checks the stored form of a symlink: le16 length, then ciphertext.
func (x *examiner) link(s *subject) error {
	stored, err := x.fs.ReadLink(s.attr.Ino)
	if err != nil {
		return x.unreadable(s, "symlink-damaged", err)
	}
	if !s.attr.Encrypted || s.attr.Inline {
		return nil
	}
	const id = "symlink-length"
	if len(stored) < 2 {
		x.report(s, id, restore, "the encrypted target has %d bytes", len(stored))
		return nil
	}
	n := int(le.Uint16(stored))
	switch {
	case n+2 != len(stored):
		x.report(s, id, restore, "ciphertext of %d bytes and its length do not make up the size %d", n, len(stored))
	case n < minCipher:
		x.report(s, id, restore, "ciphertext of %d bytes, less than a cipher block", n)
	case s.context != nil && n%s.context.Padding() != 0 && n != x.super.MaxLinkRoom-3:
		x.report(s, id, restore, "ciphertext of %d bytes, not a multiple of the padding %d", n, s.context.Padding())
	case s.key != nil:
		return x.target(s, stored)
	}
	return nil
}

// target decrypts a symlink's target and encrypts it again: the same bytes
// must come, or the padding holds something.
func (x *examiner) target(s *subject, stored []byte) error {
	cipher, err := s.key.Names(*s.context, uint64(s.attr.Ino), x.vol)
	if err != nil {
		return x.unreadable(s, "key-unusable", err)
	}
	defer cipher.Close()
	target, err := cipher.DecryptLink(stored)
	if err != nil {
		x.report(s, "symlink-target", restore, "%v", err)
		return nil
	}
	again, err := cipher.EncryptLink(target, x.super.MaxLinkRoom)
	if err != nil || !bytes.Equal(again, stored) {
		x.report(s, "symlink-padding", "make the link anew", "the padding of the target is not all zeros, or not as long as the policy has it")
	}
	return nil
}

// unreadable makes a finding of damage; other errors end the check.
func (x *examiner) unreadable(s *subject, id string, err error) error {
	if e := x.ctx.Err(); e != nil {
		return e
	}
	x.found(damage(id, s.attr.Ino, err))
	return nil
}

// file checks the mapping of a regular file and, with the key, what must be
// zero or well-formed in its contents.
func (x *examiner) file(s *subject) error {
	extents, err := x.fs.Extents(s.attr.Ino)
	if err != nil {
		return x.unreadable(s, "mapping-damaged", err)
	}
	bs := int64(x.super.BlockSize)
	if s.attr.Size < 0 || s.attr.Size > math.MaxInt64-bs {
		return x.unreadable(s, "size-invalid", fmt.Errorf("size %d", s.attr.Size))
	}
	end := image.Lblk((s.attr.Size + bs - 1) / bs)
	for _, e := range extents {
		if !e.Unwritten && !x.mayPassEOF(s) && e.Lblk+image.Lblk(e.Len) > end {
			x.found(image.Finding{ID: "blocks-past-eof", Severity: image.Warning, Ino: s.attr.Ino,
				Text:   fmt.Sprintf("written blocks up to block %d of the file, which ends before block %d", e.Lblk+image.Lblk(e.Len), end),
				Advice: "run the filesystem's own checker"})
			break
		}
	}
	if s.attr.Encrypted && s.key == nil {
		return nil
	}
	v := view{fs: x.fs, extents: extents, block: x.block}
	if _, byExtent := x.fs.(image.ByExtent); s.attr.Encrypted && byExtent {
		v.own = func(e image.Extent) (*crypt.Contents, error) { return extentCipher(s, e, x.vol) }
	} else if s.attr.Encrypted {
		if v.cipher, err = s.key.Contents(*s.context, uint64(s.attr.Ino), x.vol); err != nil {
			return x.unreadable(s, "key-unusable", err)
		}
		defer v.cipher.Close()
	}
	return x.contents(s, &v)
}

// extentCipher prepares the cipher of an extent with a context of its own.
func extentCipher(s *subject, x image.Extent, vol crypt.Volume) (*crypt.Contents, error) {
	e, err := tree.ExtentContext(x)
	if err != nil {
		return nil, err
	}
	return s.key.Extent(*s.context, e, vol)
}

// Flags of FS_IOC_GETFLAGS: compressed files, and what f2fs shows of pinned ones.
const (
	flagCompressed = 0x4
	flagNoCow      = 0x00800000
)

// mayPassEOF reports whether written blocks behind the end of the file are in
// order: the Merkle tree, and what f2fs keeps of the last cluster of a
// compressed file or allocates for a pinned one, a section at a time.
func (x *examiner) mayPassEOF(s *subject) bool {
	return s.attr.Verity || x.super.Kind == "f2fs" && s.attr.Flags&(flagCompressed|flagNoCow) != 0
}

func (x *examiner) contents(s *subject, v *view) error {
	if s.attr.Encrypted {
		if err := x.tail(s, v); err != nil {
			return err
		}
	}
	if s.attr.Verity {
		if err := x.verity(s, v); err != nil {
			return err
		}
	}
	if !x.o.Content || !s.attr.Encrypted {
		return nil
	}
	n := tree.Node{Ino: s.attr.Ino, Type: s.attr.Type}
	if err := x.t.ReadFile(n, stopper{x.ctx}); err != nil {
		return x.unreadable(s, "content-unreadable", err)
	}
	return nil
}

// stopper drops what is written to it until the check is cancelled.
type stopper struct{ ctx context.Context }

func (w stopper) Write(p []byte) (int, error) { return len(p), w.ctx.Err() }

// tail checks that the last block is zero behind the end of the file.
func (x *examiner) tail(s *subject, v *view) error {
	bs := int64(x.super.BlockSize)
	used := s.attr.Size % bs
	if used == 0 {
		return nil
	}
	block, err := v.read(image.Lblk(s.attr.Size / bs))
	if err != nil {
		return x.unreadable(s, "content-unreadable", err)
	}
	if block != nil && len(bytes.TrimLeft(block[used:], "\x00")) > 0 {
		severity := image.Warning
		if x.super.Kind == "btrfs" {
			severity = image.Info // truncating does not write a shared block anew
		}
		x.found(image.Finding{ID: "tail-not-zero", Severity: severity, Ino: s.attr.Ino,
			Text:   "the last block is not zero behind the end of the file",
			Advice: "harmless to readers; a copy of the file will not have it"})
	}
	return nil
}

// view reads single blocks of a file.
type view struct {
	fs      image.FS
	extents []image.Extent
	cipher  *crypt.Contents // nil if the file is not encrypted, or extents have keys of their own
	own     func(image.Extent) (*crypt.Contents, error)
	block   []byte
}

// decrypt turns the block at hand into plaintext.
func (v *view) decrypt(e image.Extent, unit uint64) error {
	c := v.cipher
	if v.own != nil && !e.Plain {
		var err error
		if c, err = v.own(e); err != nil {
			return err
		}
		defer c.Close()
	}
	if c != nil && !e.Plain {
		c.DecryptBlocks(v.block, v.block, unit)
	}
	return nil
}

// end is the first block number behind the mapping.
func (v *view) end() image.Lblk {
	if len(v.extents) == 0 {
		return 0
	}
	e := v.extents[len(v.extents)-1]
	return e.Lblk + image.Lblk(e.Len)
}

// read returns a block in clear, nil for a hole and for what is compressed. It
// is valid until the next call.
func (v *view) read(l image.Lblk) ([]byte, error) {
	for _, e := range v.extents {
		if l < e.Lblk || l-e.Lblk >= image.Lblk(e.Len) || e.Unwritten || e.Packed != nil {
			continue
		}
		if err := v.fs.ReadBlocks(v.block, e.Pblk+image.Pblk(l-e.Lblk)); err != nil {
			return nil, err
		}
		return v.block, v.decrypt(e, uint64(int64(l)+e.Shift))
	}
	return nil, nil
}

// isKeyError reports whether an error says only that there is no key.
func isKeyError(err error) bool { return errors.Is(err, crypt.ErrNoKey) }
