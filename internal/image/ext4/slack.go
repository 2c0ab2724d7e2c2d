package ext4

import (
	"bytes"

	"fsenc/internal/image"
)

// WipeSlack zeroes what no entry of a directory covers, and leaves the entries
// where they lie: names of removed entries, and what a block held that the
// kernel took for the directory, or for a symlink, without clearing it. What is
// inline is left alone: all of its bytes were always its own.
func (fs *FS) WipeSlack(ino image.Ino) error {
	in, err := fs.inode(ino)
	if err != nil || in.raw.hasFlag(flInlineData) {
		return err
	}
	switch in.raw.fileType() {
	case image.TypeDirectory:
		return fs.wipeDir(in)
	case image.TypeSymlink:
		return fs.wipeLink(in)
	}
	return nil
}

// wipeLink zeroes what follows the target in the block of a slow symlink.
func (fs *FS) wipeLink(in *inode) error {
	slow, err := fs.slowLink(in)
	if err != nil || !slow {
		return err
	}
	at, err := fs.linkBlock(in)
	if err != nil {
		return err
	}
	buf := make([]byte, fs.bs)
	if err := fs.readBlock(at, buf); err != nil {
		return err
	}
	rest := buf[in.raw.size():]
	if len(bytes.Trim(rest, "\x00")) == 0 {
		return nil
	}
	clear(rest)
	return fs.writeBlock(at, buf)
}

func (fs *FS) wipeDir(in *inode) error {
	d, err := fs.openDir(in)
	if err != nil {
		return err
	}
	x, err := d.wholeIndex()
	if err != nil {
		return err
	}
	buf := make([]byte, fs.bs)
	if x != nil {
		if err := d.wipeIndex(0, buf, offDxRootSlots); err != nil {
			return err
		}
		for l := range x.nodes {
			if err := d.wipeIndex(l, buf, offDxNodeSlots); err != nil {
				return err
			}
		}
	}
	return d.leafBlocks(x, func(l uint32) error { return d.wipeLeaf(l, buf) })
}

// wipeLeaf zeroes the slack of a leaf.
func (d *directory) wipeLeaf(l uint32, buf []byte) error {
	if _, err := d.readLeaf(nil, l, buf); err != nil {
		return err
	}
	old := bytes.Clone(buf)
	end := d.form.usable()
	for off := 0; off < end; {
		n := d.form.recLen(buf[off:])
		d.form.wipeEntry(buf[off : off+n])
		off += n
	}
	if bytes.Equal(old, buf) {
		return nil
	}
	if d.form.tail {
		le.PutUint32(buf[d.fs.bs-4:], leafChecksum(d.seed, buf))
	}
	return d.fs.writeBlock(d.pblk(l), buf)
}

// wipeEntry zeroes what of the room of an entry, b, is neither head nor name
// nor the hashes behind it.
func (f dirForm) wipeEntry(b []byte) {
	nameLen := int(b[offDeNameLen])
	if le.Uint32(b) == 0 {
		nameLen, b[offDeNameLen], b[offDeFileType] = 0, 0, 0
	}
	used := deHeader + nameLen
	padded := (used + 3) &^ 3
	if f.hashed && nameLen > 0 && !isDotName(b[offDeName:], nameLen) {
		clear(b[used:padded])
		used = padded + deHashLen
	}
	clear(b[used:])
}

// wipeIndex zeroes the slots of a root or node that are not in use.
func (d *directory) wipeIndex(l uint32, buf []byte, table int) error {
	if err := d.fs.readBlock(d.pblk(l), buf); err != nil {
		return err
	}
	old := bytes.Clone(buf)
	t := dxTable(buf[table:])
	clear(t[t.count()*dxSlotLen : t.limit()*dxSlotLen])
	if table == offDxRootSlots {
		clear(buf[deHeader+len(".") : deMinimal])
		clear(buf[deMinimal+deHeader+len("..") : 2*deMinimal])
	}
	if bytes.Equal(old, buf) {
		return nil
	}
	if d.form.tail {
		le.PutUint32(dxStoredChecksum(buf, table), dxChecksum(d.seed, buf, table))
	}
	return d.fs.writeBlock(d.pblk(l), buf)
}
