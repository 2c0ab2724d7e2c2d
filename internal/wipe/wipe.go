// Package wipe zeroes what a filesystem does not use and what may hold remains
// of files: free blocks, free inode slots, the journal's log, unwritten blocks
// of files, and what follows the end of an unencrypted file in its last block.
//
// It keeps no log and sets no mark, and needs neither. Every byte that it
// writes is a zero, and lies where no structure of the filesystem and no file
// reads: whichever of these writes a power cut keeps, in whatever order, the
// filesystem before, after and in between is the same one. Sectors that such
// bytes share with others are written back with the others as they were. An
// interrupted run has wiped less, and the next one wipes the rest.
//
// Offsets and lengths are bytes of the store.
package wipe

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// Options say how to wipe.
type Options struct {
	// DryRun counts what is there to be zeroed and writes nothing.
	DryRun bool
	// Progress is called now and then.
	Progress func(Result)
}

// Result counts what was looked at and zeroed.
type Result struct {
	Examined int64 // bytes that the filesystem does not use, holes included
	Zeroed   int64 // bytes of them in sectors that were not zeros
}

// sharedBlocks is the feature by which files share blocks: what is behind the
// end of one may be the contents of another.
const sharedBlocks = "shared_blocks"

// Free wipes the filesystem in home that fs was opened on, for writing. What
// was zeroed is durable when it returns nil; after an error, ctx's included,
// part of the work is done and the filesystem is as good as before.
func Free(ctx context.Context, fs image.FS, home store.Store, o Options) (Result, error) {
	w := &wiper{ctx: ctx, fs: fs, home: home, o: o, bs: int64(fs.Super().BlockSize), buf: make([]byte, 1<<20)}
	if !slices.Contains(fs.Super().Features, sharedBlocks) {
		if err := fs.Inodes(w.inode); err != nil {
			return w.res, fmt.Errorf("wipe inside of files: %w", err)
		}
	}
	if err := fs.Residue(w.zero); err != nil {
		return w.res, fmt.Errorf("wipe free space: %w", err)
	}
	if o.DryRun {
		return w.res, nil
	}
	return w.res, home.Sync()
}

type wiper struct {
	ctx  context.Context
	fs   image.FS
	home store.Store
	o    Options
	bs   int64
	buf  []byte
	res  Result
}

// inode wipes the parts of a file that never were its contents.
func (w *wiper) inode(a image.Attr, err error) error {
	if err != nil {
		return fmt.Errorf("inode %d: %w", a.Ino, err)
	}
	if a.Type != image.TypeRegular || a.Reserved || a.Inline {
		return nil
	}
	all, err := w.fs.Extents(a.Ino)
	if err != nil {
		return fmt.Errorf("inode %d: %w", a.Ino, err)
	}
	for _, x := range all {
		switch {
		case x.Unwritten:
			err = w.fs.Places(x.Pblk, x.Len, func(_ uint64, off, n int64) error { return w.zero(off, n) })
		case x.Packed == nil:
			err = w.tail(a, x)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tail wipes what follows the end of the file in its last block. It is
// ciphertext in an encrypted file, and the Merkle tree in a verity file.
func (w *wiper) tail(a image.Attr, x image.Extent) error {
	last, in := image.Lblk(a.Size/w.bs), a.Size%w.bs
	if a.Encrypted || a.Verity || in == 0 || last < x.Lblk || last >= x.Lblk+image.Lblk(x.Len) {
		return nil
	}
	return w.fs.Places(x.Pblk+image.Pblk(last-x.Lblk), 1, func(_ uint64, off, _ int64) error { return w.zero(off+in, w.bs-in) })
}

// zero zeroes n bytes at off, which nothing uses.
func (w *wiper) zero(off, n int64) error {
	for end := off + n; off < end; {
		from, to, err := store.NextData(w.home, off, end)
		if err != nil {
			return err
		}
		w.res.Examined += from - off
		for off = from; off < to; {
			k := min(to-off, int64(len(w.buf)))
			if err := w.piece(off, k); err != nil {
				return err
			}
			off += k
		}
	}
	return nil
}

// piece zeroes what fits into the buffer. What has been zeros is given to the
// store too: a file has a hole there afterwards.
func (w *wiper) piece(off, n int64) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	p := w.buf[:n]
	if _, err := w.home.ReadAt(p, off); err != nil {
		return err
	}
	w.res.Examined += n
	w.res.Zeroed += inUse(p)
	if w.o.Progress != nil {
		w.o.Progress(w.res)
	}
	if w.o.DryRun {
		return nil
	}
	return w.home.Zero(off, n)
}

var zeros [512]byte

// inUse counts the bytes in sectors that are not zeros.
func inUse(p []byte) int64 {
	var n int64
	for len(p) > 0 {
		k := min(len(p), len(zeros))
		if !bytes.Equal(p[:k], zeros[:k]) {
			n += int64(k)
		}
		p = p[k:]
	}
	return n
}
