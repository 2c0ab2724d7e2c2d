package btrfsjudge

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// shared is an extent of the disk as the first item has it that leads there.
type shared struct {
	n       uint64 // bytes
	context string // 34 bytes; empty if plain
	who     string
}

// extent is a file extent item.
type extent struct {
	b  []byte
	at uint64 // in the file
}

func (e extent) inline() bool      { return e.b[20] == 0 }
func (e extent) allocated() bool   { return e.b[20] == 2 }
func (e extent) encryption() byte  { return e.b[17] }
func (e extent) compression() byte { return e.b[16] }
func (e extent) unpacked() uint64  { return u64(e.b, 8) }
func (e extent) disk() uint64      { return u64(e.b, 21) }
func (e extent) diskBytes() uint64 { return u64(e.b, 29) }
func (e extent) skip() uint64      { return u64(e.b, 37) }
func (e extent) length() uint64    { return u64(e.b, 45) }
func (e extent) hole() bool        { return e.disk() == 0 }
func (e extent) wellFormed() bool {
	return len(e.b) >= 21 && e.b[20] <= 2 && (e.inline() || len(e.b) == 53)
}
func (e extent) plainFormat() error {
	return fmt.Errorf("item of %d bytes: %x", len(e.b), e.b[:min(len(e.b), 53)])
}

// contents reads a regular file, extent by extent.
func (j *judge) contents(n *inode, f *File) {
	if n.size() > 1<<32 {
		j.broken("%v: %d bytes are too many for a test", n, n.size())
		return
	}
	p := make([]byte, (n.size()+j.ss-1)/j.ss*j.ss)
	contexts := make(map[uint64][]byte)
	readable := n.context == nil || n.master != nil
	end, count := uint64(0), uint64(0)
	for _, i := range n.items[n.ino] {
		switch i.kind {
		case 42:
			contexts[i.off] = i.data
		case 108:
			e := extent{i.data, i.off}
			length, stored, err := j.extent(n, e, contexts[i.off], p, f)
			delete(contexts, i.off)
			if err == nil && i.off < end {
				err = fmt.Errorf("the one before reaches to %d", end)
			}
			if err != nil {
				j.broken("%v: extent at %d: %v", n, i.off, err)
				readable = false
			}
			end, count = i.off+length, count+stored
		}
	}
	for at, c := range contexts {
		j.broken("%v: context %x of no extent at %d", n, c, at)
	}
	if count != n.bytes() {
		j.broken("%v: %d bytes in extents, want %d", n, n.bytes(), count)
	}
	if readable {
		h := sha256.Sum256(p[:n.size()])
		f.SHA256 = hex.EncodeToString(h[:])
	}
}

// extent reads one extent into p and returns the length that it has in the
// file, and what of it counts as stored.
func (j *judge) extent(n *inode, e extent, c, p []byte, f *File) (length, stored uint64, err error) {
	if !e.wellFormed() || e.encryption() > 1 || u16(e.b, 18) != 0 {
		return 0, 0, e.plainFormat()
	}
	if e.encryption() != 0 {
		j.marked = true
	}
	if e.inline() {
		if c != nil {
			return j.ss, e.unpacked(), fmt.Errorf("inline data with a context")
		}
		return j.ss, e.unpacked(), j.inline(n, e, p)
	}
	if e.hole() {
		if e.encryption() != 0 || c != nil {
			err = fmt.Errorf("a hole with encryption %d, context %x", e.encryption(), c)
		}
		return e.length(), 0, err
	}
	f.Disk = append(f.Disk, e.disk())
	if (e.encryption() == 1) != (n.context != nil) {
		return e.length(), e.length(), fmt.Errorf("encryption %d, inode's context %x", e.encryption(), n.context)
	}
	if err := j.extentContext(n, e, c); err != nil {
		return e.length(), e.length(), err
	}
	return e.length(), e.length(), j.data(n, e, c, p)
}

// extentContext holds the context of an extent against that of its inode, and
// against all other items that lead to the same extent.
func (j *judge) extentContext(n *inode, e extent, c []byte) error {
	who := fmt.Sprintf("%v at %d", n, e.at)
	if n.context == nil {
		if c != nil {
			return fmt.Errorf("context %x in a plain file", c)
		}
	} else if len(c) != 34 || c[0] != 1 || c[1] != n.context[1] || !bytes.Equal(c[2:18], n.context[8:24]) {
		return fmt.Errorf("context %x, inode's %x", c, n.context)
	}
	first := j.extents[e.disk()]
	if first == nil {
		first = &shared{n: e.diskBytes(), context: string(c), who: who}
		j.extents[e.disk()] = first
		if c != nil {
			if other, ok := j.nonces[string(c[18:])]; ok {
				return fmt.Errorf("disk %d has the nonce of %d", e.disk(), other)
			}
			j.nonces[string(c[18:])] = e.disk()
		}
	}
	if first.context != string(c) || first.n != e.diskBytes() {
		return fmt.Errorf("disk %d: context %x of %d bytes, %s has %x of %d", e.disk(), c, e.diskBytes(), first.who, first.context, first.n)
	}
	return nil
}

// data reads a whole extent, decrypts and unpacks it, and puts the part that
// belongs there into p.
func (j *judge) data(n *inode, e extent, c, p []byte) error {
	stored, err := j.stored(n, e)
	if err != nil || e.allocated() {
		return err
	}
	plain := stored
	if c != nil {
		if n.master == nil {
			return nil
		}
		if plain, err = decryptUnits(c[1], n.master, forExtent, c[18:], stored, int(j.ss)); err != nil {
			return err
		}
	}
	if e.compression() != 0 {
		if plain, err = unpack(e.compression(), plain, e.unpacked(), j.ss); err != nil {
			return err
		}
	}
	if e.skip()+e.length() > uint64(len(plain)) {
		return fmt.Errorf("bytes %d and %d more of %d", e.skip(), e.length(), len(plain))
	}
	plain = plain[e.skip():][:e.length()]
	if past := n.size() - e.at; c != nil && e.at < n.size() && past < uint64(len(plain)) {
		if tail := plain[past:min((past+j.ss-1)/j.ss*j.ss, uint64(len(plain)))]; len(bytes.Trim(tail, "\x00")) > 0 {
			j.Tails = append(j.Tails, n.String())
		}
	}
	if e.at < uint64(len(p)) {
		copy(p[e.at:], plain)
	}
	return nil
}

// stored reads a whole extent as it lies on the disk. All copies are the same;
// the part that is in the file has checksums if it should, and none if it should
// not, and each fits.
func (j *judge) stored(n *inode, e extent) ([]byte, error) {
	all, err := j.copies(e.disk(), e.diskBytes())
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if !bytes.Equal(c, all[0]) {
			return nil, fmt.Errorf("copies differ")
		}
	}
	from, to := e.disk()+e.skip(), e.disk()+e.skip()+e.length()
	if e.compression() != 0 {
		from, to = e.disk(), e.disk()+e.diskBytes()
	}
	for at := e.disk(); at < e.disk()+e.diskBytes(); at += j.ss {
		sum := j.sums[at]
		if at >= from && at < to && (sum != nil) != (n.flags()&1 == 0 && !e.allocated()) {
			return nil, fmt.Errorf("sector %d: checksum %x, flags %#x", at, sum, n.flags())
		}
		if sum != nil && !bytes.Equal(sum, j.sum(all[0][at-e.disk():][:j.ss])) {
			return nil, fmt.Errorf("sector %d: checksum does not fit", at)
		}
	}
	return all[0], nil
}

// inline reads data inside of an item: encrypted they are this project's own
// format, one data unit with the key of the inode.
func (j *judge) inline(n *inode, e extent, p []byte) (err error) {
	data := e.b[21:]
	if (e.encryption() == 1) != (n.context != nil) || e.at != 0 {
		return fmt.Errorf("inline data, encryption %d, inode's context %x", e.encryption(), n.context)
	}
	if n.context == nil {
		if e.compression() != 0 {
			if data, err = unpack(e.compression(), data, e.unpacked(), j.ss); err != nil {
				return err
			}
		}
		copy(p, data)
		return nil
	}
	length := uint64(len(data))
	if j.features&inlines == 0 || e.compression() != 0 || length != (n.size()+15)/16*16 || e.unpacked() != length || length >= j.ss {
		return fmt.Errorf("features %#x, %d bytes of inline data for %d", j.features, length, n.size())
	}
	if n.master == nil {
		return nil
	}
	if data, err = decryptUnits(n.context[1], n.master, forFile, n.context[24:], data, len(data)); err != nil {
		return err
	}
	if tail := data[n.size():]; len(bytes.Trim(tail, "\x00")) > 0 {
		return fmt.Errorf("inline data padded with %x", tail)
	}
	copy(p, data)
	return nil
}
