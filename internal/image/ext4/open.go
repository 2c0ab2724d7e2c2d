package ext4

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// Options tell what an image is opened for.
type Options = image.Options

// FS is an open ext4 filesystem. It implements image.FS.
type FS struct {
	s     store.Store
	cache *store.PageCache
	write bool

	sb      *super
	geo     geometry
	bs      int    // block size in bytes
	hasCsum bool   // metadata_csum
	seed    uint32 // of every checksum but the superblock's

	journal journalState

	mu        sync.Mutex // guards groups, groupRoom and system
	groups    map[uint32]*group
	groupRoom int
	system    []blockRange

	visited [visitedSlots]atomic.Pointer[inode] // those that Inodes is at, verified

	quotas []*quotaFile // loaded with the first charge
	now    func() time.Time
	boot   func() string // bootHint, asked once
}

// Open reads and verifies the superblock of the filesystem that s holds, and
// decides whether it can be read or written. Errors wrap image.ErrUnknown,
// ErrUnsupported, ErrCorrupt, ErrNeedsRecovery, ErrInUse or ErrUnfinished.
func Open(s store.Store, o Options) (*FS, error) {
	sb, err := readSuper(s)
	if err != nil {
		return nil, err
	}
	if err := sb.verify(); err != nil {
		return nil, err
	}
	if err := sb.checkFeatures(o.Write); err != nil {
		return nil, err
	}
	if sb.hasIncompat(incompatUnfinished) && !o.AllowUnfinished {
		return nil, image.ErrUnfinished
	}
	fs := &FS{
		s: s, cache: store.NewPageCache(s), write: o.Write, sb: sb,
		bs: sb.blockSize(), hasCsum: sb.hasRO(roMetadataCsum), seed: sb.checksumSeed(),
		groups: make(map[uint32]*group), groupRoom: groupsInMemory(sb.blockSize()), now: time.Now,
	}
	if fs.geo, err = newGeometry(sb, s.Size()); err != nil {
		return nil, err
	}
	if err := fs.checkState(o); err != nil {
		return nil, err
	}
	fs.boot = sync.OnceValue(fs.bootHint)
	return fs, nil
}

// readSuper reads the primary superblock and checks that it is one.
func readSuper(s store.Store) (*super, error) {
	sb := &super{raw: make([]byte, superSize)}
	if s.Size() < superOffset+superSize {
		return nil, image.ErrUnknown
	}
	if err := store.ReadFull(s, sb.raw, superOffset); err != nil {
		return nil, err
	}
	if sb.u16(offMagic) != superMagic {
		return nil, image.ErrUnknown
	}
	if sb.u32(offRevLevel) != 1 {
		return nil, fmt.Errorf("%w: ext2 revision %d", image.ErrUnsupported, sb.u32(offRevLevel))
	}
	if sb.u32(offCreatorOS) == creatorHurd {
		return nil, fmt.Errorf("%w: made by the Hurd", image.ErrUnsupported)
	}
	return sb, nil
}

// verify checks the checksum of the superblock and the fields that decide how
// the rest of it is read.
func (sb *super) verify() error {
	if sb.hasRO(roMetadataCsum) {
		if got, want := sb.u32(offSuperChecksum), superChecksum(sb.raw); got != want {
			return check(false, "checksum %#x, want %#x", got, want)
		}
	}
	if v := sb.raw[offEncryptionLevel]; v != 0 {
		return fmt.Errorf("%w: encryption level %d", image.ErrUnsupported, v)
	}
	return sb.checkSizes()
}

// readBlock fills buf, one block, from block p.
func (fs *FS) readBlock(p image.Pblk, buf []byte) error {
	if !fs.validBlock(p) {
		return fs.corrupt("block number", 0, p, "the filesystem has %d blocks", fs.geo.blocks)
	}
	return fs.cache.Read(buf[:fs.bs], int64(p)*int64(fs.bs))
}

// writeBlock stages buf, one block, as block p.
func (fs *FS) writeBlock(p image.Pblk, buf []byte) error {
	if !fs.validBlock(p) {
		return fs.corrupt("block number", 0, p, "the filesystem has %d blocks", fs.geo.blocks)
	}
	return fs.cache.Write(buf[:fs.bs], int64(p)*int64(fs.bs))
}

// ReadBlocks fills p, whole blocks, from block at on.
func (fs *FS) ReadBlocks(p []byte, at image.Pblk) error {
	if err := fs.checkRange(len(p), at); err != nil {
		return err
	}
	return store.ReadFull(fs.s, p, int64(at)*int64(fs.bs))
}

// WriteBlocks stages p, whole blocks, from block at on.
func (fs *FS) WriteBlocks(p []byte, at image.Pblk) error {
	if err := fs.checkRange(len(p), at); err != nil {
		return err
	}
	return fs.cache.Write(p, int64(at)*int64(fs.bs))
}

// Places tells the one place of blocks.
func (fs *FS) Places(at image.Pblk, n uint64, f func(skip uint64, off, n int64) error) error {
	bs := int64(fs.bs)
	return f(0, int64(at)*bs, int64(n)*bs)
}

// checkRange verifies that n bytes from block at on are whole blocks of the
// filesystem.
func (fs *FS) checkRange(n int, at image.Pblk) error {
	if n%fs.bs != 0 {
		panic("ext4: not a whole number of blocks")
	}
	if !fs.validBlock(at) || uint64(n/fs.bs) > fs.geo.blocks-uint64(at) {
		return fs.corrupt("block number", 0, at, "the filesystem has %d blocks", fs.geo.blocks)
	}
	return nil
}

// Root returns the inode number of the root directory.
func (fs *FS) Root() image.Ino { return inoRoot }
