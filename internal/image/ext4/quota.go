package ext4

import (
	"fmt"

	"fsenc/internal/image"
)

// Quota files are trees of blocks of 1 KiB, whatever the block size: block 0
// is the header, block 1 the root of a tree of four levels, indexed by the
// bytes of the id from the highest, with data blocks of records below.
const (
	quotaBlockSize = 1024
	quotaVersion   = 1
	quotaRoot      = 1
	quotaLevels    = 4

	offQMagic     = 0x00 // le32 dqh_magic
	offQVersion   = 0x04 // le32 dqh_version
	offQBlocks    = 0x14 // le32 dqi_blocks: blocks in the file
	offQFreeBlk   = 0x18 // le32 dqi_free_blk: first unused block
	offQFreeEntry = 0x1C // le32 dqi_free_entry: first data block with room

	offQdNext    = 0x00 // le32 dqdh_next_free
	offQdPrev    = 0x04 // le32 dqdh_prev_free
	offQdEntries = 0x08 // le16 dqdh_entries
	quotaHeader  = 16   // bytes of struct qt_disk_dqdbheader

	offQrID     = 0  // le32 dqb_id
	offQrInodes = 24 // le64 dqb_curinodes
	offQrSpace  = 48 // le64 dqb_curspace, bytes
	offQrItime  = 64 // le64 dqb_itime
	quotaRecord = 72 // bytes of struct v2r1_disk_dqblk

	quotaPerBlock = (quotaBlockSize - quotaHeader) / quotaRecord
)

// quotaKind is one of the three kinds of quota.
type quotaKind struct {
	name  string
	inum  int // offset of the inode number in the superblock
	magic uint32
	id    func(rawInode) uint32
}

var quotaKinds = [...]quotaKind{
	{"user", offUsrQuotaInum, 0xD9C01F11, rawInode.uid},
	{"group", offGrpQuotaInum, 0xD9C01927, rawInode.gid},
	{"project", offPrjQuotaInum, 0xD9C03F14, rawInode.projid},
}

// quotaChange is what an edit adds to the usage of an inode's owners.
type quotaChange struct {
	bytes, inodes int64
}

// quotaFile is an open quota file.
type quotaFile struct {
	fs   *FS
	kind *quotaKind
	in   *inode
	exts []image.Extent
}

// chargeInode adds n inodes to the quota of the owners of in.
func (fs *FS) chargeInode(in *inode, n int64) error {
	return fs.chargeQuota(in, quotaChange{inodes: n})
}

// chargeQuota adds c to the records of the user, the group and the project of
// in. Inodes of the filesystem itself are on no one's account.
func (fs *FS) chargeQuota(in *inode, c quotaChange) error {
	if !fs.sb.hasRO(roQuota) || fs.reserved(in) {
		return nil
	}
	if fs.quotas == nil {
		if err := fs.openQuotas(); err != nil {
			return err
		}
	}
	for _, q := range fs.quotas {
		if err := q.add(q.kind.id(in.raw), c); err != nil {
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
		if err := q.checkHeader(); err != nil {
			return err
		}
		quotas = append(quotas, q)
	}
	fs.quotas = quotas
	return nil
}

func (q *quotaFile) checkHeader() error {
	head, err := q.read(0)
	if err != nil {
		return err
	}
	if got := le.Uint32(head[offQMagic:]); got != q.kind.magic {
		return q.corrupt("magic %#x, want %#x", got, q.kind.magic)
	}
	if v := le.Uint32(head[offQVersion:]); v != quotaVersion {
		return fmt.Errorf("%w: %s quota file of version %d", image.ErrUnsupported, q.kind.name, v)
	}
	if n := le.Uint32(head[offQBlocks:]); n <= quotaRoot || uint64(n) > q.blocks() {
		return q.corrupt("%d blocks in a file of %d", n, q.blocks())
	}
	return nil
}

// blocks is the number of quota blocks that the file has room for.
func (q *quotaFile) blocks() uint64 { return q.in.raw.size() / quotaBlockSize }

func (q *quotaFile) corrupt(format string, a ...any) error {
	return q.fs.corrupt(q.kind.name+" quota file", q.in.ino, 0, format, a...)
}

// offset is the byte of the image where quota block n lies.
func (q *quotaFile) offset(n uint32) (int64, error) {
	pos := uint64(n) * quotaBlockSize
	l, bs := image.Lblk(pos/uint64(q.fs.bs)), int64(q.fs.bs)
	for _, x := range q.exts {
		if l >= x.Lblk && l < x.Lblk+image.Lblk(x.Len) && !x.Unwritten {
			return int64(x.Pblk+image.Pblk(l-x.Lblk))*bs + int64(pos)%bs, nil
		}
	}
	return 0, q.corrupt("block %d is not in the file", n)
}

// read returns quota block n.
func (q *quotaFile) read(n uint32) ([]byte, error) {
	off, err := q.offset(n)
	if err != nil {
		return nil, err
	}
	block := make([]byte, quotaBlockSize)
	return block, q.fs.cache.Read(block, off)
}

// writeAt stages p inside quota block n.
func (q *quotaFile) writeAt(n uint32, p []byte, at int) error {
	off, err := q.offset(n)
	if err != nil {
		return err
	}
	return q.fs.cache.Write(p, off+int64(at))
}

// put stages a le32 inside quota block n.
func (q *quotaFile) put(n uint32, at int, v uint32) error {
	return q.writeAt(n, le.AppendUint32(nil, v), at)
}

// add changes the record of id by c, and makes one if there is none.
func (q *quotaFile) add(id uint32, c quotaChange) error {
	block, at, err := q.find(id)
	if err != nil {
		return err
	}
	var rec [quotaRecord]byte
	if block == 0 {
		if block, at, err = q.insert(id); err != nil {
			return err
		}
		le.PutUint32(rec[offQrID:], id)
	} else {
		data, err := q.read(block)
		if err != nil {
			return err
		}
		copy(rec[:], data[at:])
	}
	space := int64(le.Uint64(rec[offQrSpace:])) + c.bytes
	inodes := int64(le.Uint64(rec[offQrInodes:])) + c.inodes
	if space < 0 || inodes < 0 {
		return q.corrupt("id %d would use %d bytes and %d inodes", id, space, inodes)
	}
	le.PutUint64(rec[offQrSpace:], uint64(space))
	le.PutUint64(rec[offQrInodes:], uint64(inodes))
	if rec == [quotaRecord]byte{} {
		// A record of zeros is a free one; the kernel marks id 0 like this.
		rec[offQrItime] = 1
	}
	return q.writeAt(block, rec[:], at)
}
