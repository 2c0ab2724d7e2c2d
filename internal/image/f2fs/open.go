package f2fs

import (
	"fmt"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// FS is an open f2fs filesystem. It implements image.FS.
type FS struct {
	s     store.Store
	cache *store.PageCache
	write bool

	sb         *super
	copy       int // which of the two superblocks is the one in use
	geo        geometry
	ckpt       *checkpoint
	chksumSeed uint32 // of inodes

	sitBits, natBits []byte // version bitmaps
	natJournal       map[uint32]natEntry
	sitJournal       []uint32 // segments that are in the journal
	sit              []byte   // the whole table, as edits have left it

	recent   recentInodes
	natPages natPages

	edits
}

// Open reads and verifies superblock, checkpoint and segment information, and
// decides whether the filesystem can be read or written. Errors wrap
// image.ErrUnknown, ErrUnsupported, ErrCorrupt, ErrNeedsRecovery or
// ErrUnfinished.
func Open(s store.Store, o image.Options) (*FS, error) {
	sb, n, err := readSupers(s)
	if err != nil {
		return nil, err
	}
	if err := sb.checkFeatures(o.Write); err != nil {
		return nil, err
	}
	if sb.marked() && !o.AllowUnfinished {
		return nil, image.ErrUnfinished
	}
	fs := &FS{s: s, cache: store.NewPageCache(s), write: o.Write, sb: sb, copy: n}
	if fs.geo, err = newGeometry(sb, s.Size()); err != nil {
		return nil, err
	}
	uuid := sb.uuid()
	fs.chksumSeed = crcF2FS(0xffffffff, uuid[:])
	if fs.ckpt, err = readCheckpoint(s, sb, &fs.geo); err != nil {
		return nil, err
	}
	if err := fs.ckpt.checkState(o); err != nil {
		return nil, err
	}
	sit, nat := fs.ckpt.bitmaps()
	fs.sitBits, fs.natBits = clone(sit), clone(nat)
	if fs.natJournal, err = fs.ckpt.natJournal(&fs.geo); err != nil {
		return nil, err
	}
	if err := fs.loadSIT(); err != nil {
		return nil, err
	}
	if !o.AllowDirty {
		if err := fs.checkChain(); err != nil {
			return nil, err
		}
	}
	fs.begin()
	return fs, nil
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }

// checkChain looks for nodes that an fsync wrote after the checkpoint: the next
// mount would replay them. After fsck.f2fs a checkpoint can say that it was
// unmounted and still have such a chain.
func (fs *FS) checkChain() error {
	if fs.sb.has(featRO) {
		return nil
	}
	seg, next := fs.ckpt.curSeg(logWarmNode)
	at := fs.geo.blockOf(seg, uint32(next))
	want, mask := fs.ckpt.nodeVersion(), ^uint64(0)
	if fs.ckpt.is(ckptNoCRC) {
		want, mask = want&0xffffffff, 0xffffffff
	}
	r := make(rawNode, blockSize)
	var met image.Pblk // where the chain was after a power of two of steps
	for n := uint64(1); ; n++ {
		if !fs.geo.inMain(at) {
			return nil
		}
		if err := fs.cache.Read(r, int64(at)*blockSize); err != nil {
			return err
		}
		if r.version()&mask != want&mask {
			return nil
		}
		if r.flag()&footFsync != 0 {
			return fmt.Errorf("%w: files that were synced after the checkpoint wait to be replayed (inode %d, block %d)",
				image.ErrNeedsRecovery, r.ino(), at)
		}
		if at == met {
			return fs.corrupt("chain of synced nodes", 0, at, "has no end")
		}
		if n&(n-1) == 0 {
			met = at
		}
		at = image.Pblk(r.next())
	}
}

// Root returns the inode number of the root directory.
func (fs *FS) Root() image.Ino { return rootIno }

// LostFound returns the directory that fsck.f2fs fills, 0 if there is none.
func (fs *FS) LostFound() (image.Ino, error) {
	d, err := fs.Lookup(rootIno, []byte("lost+found"))
	if isNotExist(err) {
		return 0, nil
	}
	return d.Ino, err
}
