package ext4

import (
	"fmt"

	"fsenc/internal/image"
	"fsenc/internal/image/quota"
)

// quotaKind is one of the three kinds of quota.
type quotaKind struct {
	name  string
	inum  int // offset of the inode number in the superblock
	magic uint32
	id    func(rawInode) uint32
}

var quotaKinds = [...]quotaKind{
	{"user", offUsrQuotaInum, quota.MagicUser, rawInode.uid},
	{"group", offGrpQuotaInum, quota.MagicGroup, rawInode.gid},
	{"project", offPrjQuotaInum, quota.MagicProject, rawInode.projid},
}

// quotaFile is an open quota file.
type quotaFile struct {
	fs   *FS
	kind *quotaKind
	in   *inode
	exts []image.Extent
	tree quota.File
}

// chargeInode adds n inodes to the quota of the owners of in.
func (fs *FS) chargeInode(in *inode, n int64) error {
	return fs.chargeQuota(in, quota.Change{Inodes: n})
}

// chargeQuota adds c to the records of the user, the group and the project of
// in. Inodes of the filesystem itself are on no one's account.
func (fs *FS) chargeQuota(in *inode, c quota.Change) error {
	if !fs.sb.hasRO(roQuota) || fs.reserved(in) {
		return nil
	}
	if fs.quotas == nil {
		if err := fs.openQuotas(); err != nil {
			return err
		}
	}
	for _, q := range fs.quotas {
		if err := q.tree.Add(q.kind.id(in.raw), c); err != nil {
			return fmt.Errorf("%s quota: %w", q.kind.name, err)
		}
	}
	return nil
}

// openQuotas reads the headers of the quota files there are.
func (fs *FS) openQuotas() error {
	quotas := make([]*quotaFile, 0, len(quotaKinds))
	for i := range quotaKinds {
		kind := &quotaKinds[i]
		ino := image.Ino(fs.sb.u32(kind.inum))
		if ino == 0 {
			continue
		}
		in, err := fs.inode(ino)
		if err != nil {
			return fmt.Errorf("%s quota: %w", kind.name, err)
		}
		exts, err := fs.mapping(in)
		if err != nil {
			return fmt.Errorf("%s quota: %w", kind.name, err)
		}
		q := &quotaFile{fs: fs, kind: kind, in: in, exts: exts}
		q.tree = quota.File{Storage: q, Name: kind.name}
		if err := q.tree.Check(kind.magic, in.raw.size()); err != nil {
			return err
		}
		quotas = append(quotas, q)
	}
	fs.quotas = quotas
	return nil
}

// Corrupt implements quota.Storage.
func (q *quotaFile) Corrupt(format string, a ...any) error {
	return q.fs.corrupt(q.kind.name+" quota file", q.in.ino, 0, format, a...)
}

// offset is the byte of the image where quota block n lies.
func (q *quotaFile) offset(n uint32) (int64, error) {
	pos := uint64(n) * quota.BlockSize
	l, bs := image.Lblk(pos/uint64(q.fs.bs)), int64(q.fs.bs)
	for _, x := range q.exts {
		if l >= x.Lblk && l < x.Lblk+image.Lblk(x.Len) && !x.Unwritten {
			return int64(x.Pblk+image.Pblk(l-x.Lblk))*bs + int64(pos)%bs, nil
		}
	}
	return 0, q.Corrupt("block %d is not in the file", n)
}

// Read implements quota.Storage.
func (q *quotaFile) Read(n uint32) ([]byte, error) {
	off, err := q.offset(n)
	if err != nil {
		return nil, err
	}
	block := make([]byte, quota.BlockSize)
	return block, q.fs.cache.Read(block, off)
}

// Write implements quota.Storage.
func (q *quotaFile) Write(n uint32, p []byte, at int) error {
	off, err := q.offset(n)
	if err != nil {
		return err
	}
	return q.fs.cache.Write(p, off+int64(at))
}

// Grow implements quota.Storage.
func (q *quotaFile) Grow(n uint32) error {
	size := (uint64(n) + 1) * quota.BlockSize
	if size <= q.in.raw.size() {
		return nil
	}
	last := image.Lblk((size - 1) / uint64(q.fs.bs))
	if _, mapped, err := q.fs.blockAt(q.in, last); err != nil {
		return err
	} else if !mapped {
		added, err := q.fs.appendBlocks(q.in, 1)
		if err != nil {
			return err
		}
		if err := q.fs.writeBlock(added[0], make([]byte, q.fs.bs)); err != nil {
			return err
		}
		if q.exts, err = q.fs.mapping(q.in); err != nil {
			return err
		}
	}
	q.in.raw.setSize(size)
	return q.fs.putInode(q.in)
}
