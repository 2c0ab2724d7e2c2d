package f2fs

import (
	"fmt"
	"maps"
	"slices"

	"fsenc/internal/image"
	"fsenc/internal/image/quota"
)

// quotaKinds are the kinds of quota in the order of the superblock's inodes.
var quotaKinds = [...]struct {
	name  string
	magic uint32
	id    func(*inode) uint32
}{
	{"user", quota.MagicUser, func(in *inode) uint32 { return in.u32(offUID) }},
	{"group", quota.MagicGroup, func(in *inode) uint32 { return in.u32(offGID) }},
	{"project", quota.MagicProject, func(in *inode) uint32 {
		if in.has(offProjid, 4) {
			return in.u32(offProjid)
		}
		return 0
	}},
}

// quotaFile is a quota file whose blocks are kept in memory until Flush, which
// gives those that have changed a new place.
type quotaFile struct {
	fs    *FS
	kind  int
	in    *inode
	page  map[uint64][]byte // blocks of the filesystem, by lblk
	dirty map[uint64]bool
	tree  quota.File
}

// charge adds blocks and inodes to the quota of the owners of an inode.
func (fs *FS) charge(in *inode, blocks, inodes int64) error {
	if !fs.sb.has(featQuotaIno) || fs.reserved(in.ino) || blocks == 0 && inodes == 0 {
		return nil
	}
	if fs.quotas == nil {
		if err := fs.openQuotas(); err != nil {
			return err
		}
	}
	for _, q := range fs.quotas {
		if err := q.tree.Add(quotaKinds[q.kind].id(in), quota.Change{Bytes: blocks * blockSize, Inodes: inodes}); err != nil {
			return fmt.Errorf("%s quota: %w", quotaKinds[q.kind].name, err)
		}
	}
	return nil
}

func (fs *FS) openQuotas() error {
	quotas := make([]*quotaFile, 0, len(quotaKinds))
	for kind := range quotaKinds {
		ino := fs.sb.quotaIno(kind)
		if ino == 0 {
			continue
		}
		in, err := fs.inode(image.Ino(ino))
		if err != nil {
			return fmt.Errorf("%s quota: %w", quotaKinds[kind].name, err)
		}
		q := &quotaFile{fs: fs, kind: kind, in: in, page: make(map[uint64][]byte), dirty: make(map[uint64]bool)}
		q.tree = quota.File{Storage: q, Name: quotaKinds[kind].name}
		if err := q.tree.Check(quotaKinds[kind].magic, in.size()); err != nil {
			return err
		}
		quotas = append(quotas, q)
	}
	fs.quotas = quotas
	return nil
}

// block returns the block of the filesystem that quota block n lies in, and its
// part of it.
func (q *quotaFile) block(n uint32) (lblk uint64, part []byte, err error) {
	pos := uint64(n) * quota.BlockSize
	lblk = pos / blockSize
	b := q.page[lblk]
	if b == nil {
		s, err := q.fs.slotAt(q.in, lblk)
		if err != nil {
			return 0, nil, err
		}
		if s.addr == nullAddr || s.addr == newAddr || pos >= q.in.size() {
			return 0, nil, q.Corrupt("block %d is not in the file", n)
		}
		if err := q.fs.checkAddr(q.in, s); err != nil {
			return 0, nil, err
		}
		b = make([]byte, blockSize)
		if err := q.fs.readBlock(b, image.Pblk(s.addr)); err != nil {
			return 0, nil, err
		}
		q.page[lblk] = b
	}
	return lblk, b[pos%blockSize:][:quota.BlockSize], nil
}

// Read implements quota.Storage.
func (q *quotaFile) Read(n uint32) ([]byte, error) {
	_, part, err := q.block(n)
	return clone(part), err
}

// Write implements quota.Storage.
func (q *quotaFile) Write(n uint32, p []byte, at int) error {
	lblk, part, err := q.block(n)
	if err != nil {
		return err
	}
	copy(part[at:], p)
	q.dirty[lblk] = true
	return nil
}

// Grow implements quota.Storage.
func (q *quotaFile) Grow(n uint32) error {
	size := (uint64(n) + 1) * quota.BlockSize
	if size <= q.in.size() {
		return nil
	}
	lblk := (size - 1) / blockSize
	if s, err := q.fs.slotAt(q.in, lblk); err != nil {
		return err
	} else if q.page[lblk] == nil && (s.addr == nullAddr || s.addr == newAddr) {
		q.page[lblk], q.dirty[lblk] = make([]byte, blockSize), true
	}
	q.fs.put(q.in)
	q.in.set64(offSize, size)
	return nil
}

// Corrupt implements quota.Storage.
func (q *quotaFile) Corrupt(format string, a ...any) error {
	return q.fs.corrupt(quotaKinds[q.kind].name+" quota file", q.in.ino, q.in.at, format, a...)
}

// flushQuotas gives the blocks that have changed new places, and forgets the
// files: the next transaction reads them again.
func (fs *FS) flushQuotas() error {
	for _, q := range fs.quotas {
		for _, lblk := range slices.Sorted(maps.Keys(q.dirty)) {
			fs.put(q.in)
			if err := fs.place(q.in, lblk, q.page[lblk], logWarmData); err != nil {
				return fmt.Errorf("%s quota: %w", quotaKinds[q.kind].name, err)
			}
		}
	}
	fs.quotas = nil
	return nil
}
