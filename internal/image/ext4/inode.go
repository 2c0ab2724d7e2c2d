package ext4

import (
	"fsenc/internal/image"
)

// Offsets in struct ext4_inode.
const (
	offIMode       = 0x00 // le16 i_mode
	offIUid        = 0x02 // le16 i_uid
	offISizeLo     = 0x04 // le32 i_size_lo
	offIAtime      = 0x08 // le32 i_atime
	offICtime      = 0x0C // le32 i_ctime
	offIMtime      = 0x10 // le32 i_mtime
	offIDtime      = 0x14 // le32 i_dtime
	offIGid        = 0x18 // le16 i_gid
	offILinks      = 0x1A // le16 i_links_count
	offIBlocksLo   = 0x1C // le32 i_blocks_lo
	offIFlags      = 0x20 // le32 i_flags
	offIVersion    = 0x24 // le32 i_disk_version
	offIBlock      = 0x28 // 60 bytes i_block
	offIGeneration = 0x64 // le32 i_generation
	offIFileACLLo  = 0x68 // le32 i_file_acl_lo
	offISizeHi     = 0x6C // le32 i_size_high
	offIBlocksHi   = 0x74 // le16 i_blocks_high
	offIFileACLHi  = 0x76 // le16 i_file_acl_high
	offIUidHi      = 0x78 // le16 i_uid_high
	offIGidHi      = 0x7A // le16 i_gid_high
	offIChecksumLo = 0x7C // le16 i_checksum_lo
	offIExtraIsize = 0x80 // le16 i_extra_isize
	offIChecksumHi = 0x82 // le16 i_checksum_hi
	offICtimeExtra = 0x84 // le32 i_ctime_extra
	offIMtimeExtra = 0x88 // le32 i_mtime_extra
	offIAtimeExtra = 0x8C // le32 i_atime_extra
	offICrtime     = 0x90 // le32 i_crtime
	offICrtimeExt  = 0x94 // le32 i_crtime_extra
	offIProjid     = 0x9C // le32 i_projid

	oldInodeSize = 128 // bytes that every inode has
	iblockSize   = 60
)

// i_flags.
const (
	flEncrypt     = 0x800
	flIndex       = 0x1000
	flJournalData = 0x4000
	flHugeFile    = 0x40000
	flExtents     = 0x80000
	flVerity      = 0x100000
	flEaInode     = 0x200000
	flDAX         = 0x2000000
	flInlineData  = 0x10000000
	flProjInherit = 0x20000000
	flCasefold    = 0x40000000

	flUserVisible = 0x725BDFFF // what FS_IOC_GETFLAGS shows
)

// Numbers of reserved inodes.
const (
	inoRoot    image.Ino = 2
	inoResize  image.Ino = 7
	inoJournal image.Ino = 8
)

// rawInode is struct ext4_inode as it lies in its block, s_inode_size bytes.
// It is a view: setters write through.
type rawInode []byte

func (r rawInode) mode() uint16          { return le.Uint16(r[offIMode:]) }
func (r rawInode) setMode(v uint16)      { le.PutUint16(r[offIMode:], v) }
func (r rawInode) links() uint16         { return le.Uint16(r[offILinks:]) }
func (r rawInode) setLinks(v uint16)     { le.PutUint16(r[offILinks:], v) }
func (r rawInode) flags() uint32         { return le.Uint32(r[offIFlags:]) }
func (r rawInode) setFlags(v uint32)     { le.PutUint32(r[offIFlags:], v) }
func (r rawInode) generation() uint32    { return le.Uint32(r[offIGeneration:]) }
func (r rawInode) version() uint32       { return le.Uint32(r[offIVersion:]) }
func (r rawInode) setVersion(v uint32)   { le.PutUint32(r[offIVersion:], v) }
func (r rawInode) iblock() []byte        { return r[offIBlock : offIBlock+iblockSize : offIBlock+iblockSize] }
func (r rawInode) hasFlag(f uint32) bool { return r.flags()&f != 0 }

// size is i_size in bytes. Symlinks and special files have no high half.
func (r rawInode) size() uint64 {
	v := uint64(le.Uint32(r[offISizeLo:]))
	if t := r.fileType(); t == image.TypeRegular || t == image.TypeDirectory {
		v |= uint64(le.Uint32(r[offISizeHi:])) << 32
	}
	return v
}

func (r rawInode) setSize(v uint64) {
	le.PutUint32(r[offISizeLo:], uint32(v))
	if t := r.fileType(); t == image.TypeRegular || t == image.TypeDirectory {
		le.PutUint32(r[offISizeHi:], uint32(v>>32))
	}
}

func (r rawInode) uid() uint32 { return r.split16(offIUid, offIUidHi) }
func (r rawInode) gid() uint32 { return r.split16(offIGid, offIGidHi) }

func (r rawInode) setUID(v uint32) { r.setSplit16(offIUid, offIUidHi, v) }
func (r rawInode) setGID(v uint32) { r.setSplit16(offIGid, offIGidHi, v) }

func (r rawInode) split16(lo, hi int) uint32 {
	return uint32(le.Uint16(r[lo:])) | uint32(le.Uint16(r[hi:]))<<16
}

func (r rawInode) setSplit16(lo, hi int, v uint32) {
	le.PutUint16(r[lo:], uint16(v))
	le.PutUint16(r[hi:], uint16(v>>16))
}

// fileACL is the xattr block, 0 if there is none.
func (r rawInode) fileACL() image.Pblk {
	return image.Pblk(le.Uint32(r[offIFileACLLo:])) | image.Pblk(le.Uint16(r[offIFileACLHi:]))<<32
}

func (r rawInode) setFileACL(p image.Pblk) {
	le.PutUint32(r[offIFileACLLo:], uint32(p))
	le.PutUint16(r[offIFileACLHi:], uint16(p>>32))
}

// extraIsize is i_extra_isize, 0 in inodes of 128 bytes.
func (r rawInode) extraIsize() int {
	if len(r) == oldInodeSize {
		return 0
	}
	return int(le.Uint16(r[offIExtraIsize:]))
}

func (r rawInode) setExtraIsize(v int) {
	if len(r) > oldInodeSize {
		le.PutUint16(r[offIExtraIsize:], uint16(v))
	}
}

// has reports whether the le32 at off is in the inode: in the first 128 bytes
// or covered by i_extra_isize.
func (r rawInode) has(off int) bool {
	return off+4 <= oldInodeSize || off+4 <= oldInodeSize+r.extraIsize()
}

// projid is the project id, 0 where the inode has no room for one.
func (r rawInode) projid() uint32 {
	if !r.has(offIProjid) {
		return 0
	}
	return le.Uint32(r[offIProjid:])
}

func (r rawInode) setProjid(v uint32) {
	if r.has(offIProjid) {
		le.PutUint32(r[offIProjid:], v)
	}
}

// rawBlocks is i_blocks in its own unit: 512 bytes, or filesystem blocks with
// the HUGE_FILE flag.
func (r rawInode) rawBlocks() uint64 {
	return uint64(le.Uint32(r[offIBlocksLo:])) | uint64(le.Uint16(r[offIBlocksHi:]))<<32
}

func (r rawInode) setRawBlocks(v uint64) {
	le.PutUint32(r[offIBlocksLo:], uint32(v))
	le.PutUint16(r[offIBlocksHi:], uint16(v>>32))
}

// fileType is the type in i_mode, TypeUnknown if it is none.
func (r rawInode) fileType() image.FileType {
	switch r.mode() >> 12 {
	case 0x1:
		return image.TypeFifo
	case 0x2:
		return image.TypeChar
	case 0x4:
		return image.TypeDirectory
	case 0x6:
		return image.TypeBlock
	case 0x8:
		return image.TypeRegular
	case 0xA:
		return image.TypeSymlink
	case 0xC:
		return image.TypeSocket
	}
	return image.TypeUnknown
}

// free reports whether the slot holds no inode.
func (r rawInode) free() bool {
	return r.mode() == 0 || r.links() == 0
}

// inode is a private copy of one inode.
type inode struct {
	ino image.Ino
	raw rawInode

	// body are the attributes in raw, if they were read when nothing else was
	// done with the inode yet.
	body   []xattr
	parsed bool
}

// inode reads and verifies an inode. A free one is image.ErrNotExist.
func (fs *FS) inode(ino image.Ino) (*inode, error) {
	off, err := fs.inodeOffset(ino)
	if err != nil {
		return nil, err
	}
	in := &inode{ino: ino, raw: make(rawInode, fs.geo.inodeSize)}
	if err := fs.cache.Read(in.raw, off); err != nil {
		return nil, err
	}
	if in.raw.free() {
		return nil, notExist(ino)
	}
	if err := fs.verifyInode(in); err != nil {
		return nil, err
	}
	if fs.write {
		// Of an inode that the bitmap calls free nothing may be edited: it can
		// be handed out again at any time.
		used, err := fs.inodeUsed(ino)
		if err != nil {
			return nil, err
		}
		if !used {
			return nil, fs.corrupt("inode bitmap", ino, 0, "an inode in use is marked free")
		}
	}
	return in, nil
}

// look is inode for those who only read: the result may be shared.
func (fs *FS) look(ino image.Ino) (*inode, error) {
	if in := fs.visited[ino%visitedSlots].Load(); in != nil && in.ino == ino {
		return in, nil
	}
	return fs.inode(ino)
}

// verifyInode checks what the accessors of a rawInode rely on.
func (fs *FS) verifyInode(in *inode) error {
	if extra := in.raw.extraIsize(); extra > len(in.raw)-oldInodeSize || extra%4 != 0 {
		return fs.corrupt("inode", in.ino, 0, "extra size %d with inodes of %d bytes", extra, len(in.raw))
	}
	if err := fs.checkInode(in); err != nil {
		return err
	}
	if in.raw.fileType() == image.TypeUnknown {
		return fs.corrupt("inode", in.ino, 0, "mode %#o", in.raw.mode())
	}
	if in.raw.size() > 1<<63-1 {
		return fs.corrupt("inode", in.ino, 0, "size %#x", in.raw.size())
	}
	if p := in.raw.fileACL(); p != 0 && !fs.validBlock(p) {
		return fs.corrupt("inode", in.ino, p, "xattr block outside the filesystem")
	}
	return nil
}

// putInode seals in and stages exactly its bytes.
func (fs *FS) putInode(in *inode) error {
	off, err := fs.inodeOffset(in.ino)
	if err != nil {
		return err
	}
	fs.sealInode(in)
	return fs.cache.Write(in.raw, off)
}

// inodeOffset is the byte where an inode's slot starts.
func (fs *FS) inodeOffset(ino image.Ino) (int64, error) {
	if ino == 0 || ino > image.Ino(fs.geo.inodes) {
		return 0, fs.corrupt("inode number", ino, 0, "the filesystem has inodes 1 to %d", fs.geo.inodes)
	}
	n, index := fs.inodeGroup(ino)
	gr, err := fs.group(n)
	if err != nil {
		return 0, err
	}
	return int64(gr.desc.inodeTable())*int64(fs.bs) + int64(index)*int64(fs.geo.inodeSize), nil
}

// inodeGroup returns the group of an inode and its bit there.
func (fs *FS) inodeGroup(ino image.Ino) (group, bit uint32) {
	return uint32(ino-1) / fs.geo.inodesPerGroup, uint32(ino-1) % fs.geo.inodesPerGroup
}

// reserved reports whether in belongs to the filesystem itself. The root is a
// reserved number but a user's directory.
func (fs *FS) reserved(in *inode) bool {
	if in.ino == inoRoot {
		return false
	}
	if in.ino < image.Ino(fs.sb.firstIno()) || in.raw.hasFlag(flEaInode) {
		return true
	}
	for _, off := range [...]int{offUsrQuotaInum, offGrpQuotaInum, offPrjQuotaInum, offOrphanFileInum, offJournalInum} {
		if uint64(fs.sb.u32(off)) == uint64(in.ino) {
			return true
		}
	}
	return false
}
