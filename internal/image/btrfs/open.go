package btrfs

import (
	"bytes"
	"fmt"
	"sync"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// FS is an open btrfs filesystem. It implements image.FS.
type FS struct {
	s     store.Store
	write bool

	sb   *super
	copy int // which superblock was read
	sum  *summer
	ss   int // bytes of a sector
	ns   int // bytes of a tree block

	chunks []*chunk
	cache  *blockCache

	mu    sync.Mutex        // guards trees and kin
	kin   map[uint64]uint64 // subvolumes that snapshots relate have one number; see SameFile
	trees map[uint64]*tree
	def   uint64 // the default subvolume

	layout func() (v5 bool, err error) // asked for at most once: it may take a look at all files

	edits
}

// Open reads and verifies superblock, chunks and the root tree, and decides
// whether the filesystem can be read or written. Errors wrap image.ErrUnknown,
// ErrUnsupported, ErrCorrupt, ErrNeedsRecovery or ErrUnfinished.
func Open(s store.Store, o image.Options) (*FS, error) {
	sb, n, err := readSuper(s)
	if err != nil {
		return nil, err
	}
	if err := sb.checkFeatures(o.Write); err != nil {
		return nil, err
	}
	if sb.has(incompatUnfinished) && !o.AllowUnfinished {
		return nil, image.ErrUnfinished
	}
	if n > 0 && o.Write {
		return nil, fmt.Errorf("%w: the first superblock is damaged: btrfs rescue super-recover restores it", image.ErrNeedsRecovery)
	}
	if sb.u64(offLogRoot) != 0 && !o.AllowDirty {
		return nil, fmt.Errorf("%w: files that were synced last wait in the log tree: mount the image once, or give them up with btrfs rescue zero-log",
			image.ErrNeedsRecovery)
	}
	fs := &FS{s: s, write: o.Write, sb: sb, copy: n, sum: &summers[sb.u16(offCsumType)],
		ss: int(sb.u32(offSectorSize)), ns: int(sb.u32(offNodeSize)), trees: make(map[uint64]*tree)}
	fs.cache = newBlockCache(fs.ns)
	fs.begin()
	if err := fs.loadChunks(); err != nil {
		return nil, err
	}
	if err := fs.checkRoots(o.Write); err != nil {
		return nil, err
	}
	if err := fs.findDefault(); err != nil {
		return nil, err
	}
	fs.layout = sync.OnceValues(fs.findLayout)
	if o.Write {
		if v5, err := fs.layout(); err != nil {
			return nil, err
		} else if v5 {
			return nil, fmt.Errorf("%w: writing the layout %s", image.ErrUnsupported, layoutV5)
		}
	}
	return fs, nil
}

// loadChunks reads the chunks of the superblock, and with them all others.
func (fs *FS) loadChunks() error {
	array := fs.sb.raw[offChunkArray:][:fs.sb.u32(offArraySize)]
	for len(array) > 0 {
		if len(array) < keySize+chunkHeader+stripeSize {
			return superError("chunk array cut short")
		}
		k := keyOf(array)
		size := chunkHeader + int(le.Uint16(array[keySize+offChunkStripes:]))*stripeSize
		if k.kind != keyChunk || keySize+size > len(array) {
			return superError("chunk array holds %v", k)
		}
		c, err := fs.parseChunk(k.off, array[keySize:][:size])
		if err == nil {
			err = fs.addChunk(c)
		}
		if err != nil {
			return err
		}
		array = array[keySize+size:]
	}
	fs.trees[treeRoot] = &tree{id: treeRoot, addr: fs.sb.u64(offRoot), level: int(fs.sb.raw[offRootLevel]), gen: fs.sb.u64(offGeneration)}
	t := &tree{id: treeChunk, addr: fs.sb.u64(offChunkRoot), level: int(fs.sb.raw[offChunkLevel]), gen: fs.sb.u64(offChunkGen)}
	fs.trees[treeChunk] = t
	raid56 := false
	err := fs.eachOf(t, firstFree, keyChunk, func(off uint64, b []byte) error {
		c, err := fs.parseChunk(off, b)
		if err != nil {
			return err
		}
		raid56 = raid56 || c.kind&(profRAID5|profRAID6) != 0
		return fs.addChunk(c)
	})
	if err == nil && raid56 && (fs.write || fs.sb.has(incompatEncrypt)) {
		err = fmt.Errorf("%w: RAID5 and RAID6 together with encryption", image.ErrUnsupported)
	}
	return err
}

// Fields of struct btrfs_root_item.
const (
	offRootGen      = 160 // le64
	offRootDirid    = 168 // le64
	offRootAddr     = 176 // le64 bytenr
	offRootUsed     = 192 // le64 bytes_used
	offRootSnapshot = 200 // le64 last_snapshot
	offRootFlags    = 208 // le64
	offRootRefs     = 216 // le32
	offRootItemLev  = 238 // u8
	offRootGen2     = 239 // le64
	offRootUUID     = 247 // 16 bytes
	offRootParent   = 263 // 16 bytes
	rootItemMin     = 239

	rootReadonly = 1 << 0
	rootDead     = 1 << 48
)

// treeOf opens a tree by its number.
func (fs *FS) treeOf(id uint64) (*tree, error) {
	fs.mu.Lock()
	t := fs.trees[id]
	fs.mu.Unlock()
	if t != nil {
		return t, nil
	}
	root := fs.trees[treeRoot]
	var found *tree
	err := fs.eachOf(root, id, keyRoot, func(off uint64, b []byte) error {
		var err error
		found, err = fs.parseRoot(key{id, keyRoot, off}, b)
		if err == nil {
			err = errStop
		}
		return err
	})
	if err != nil && err != errStop {
		return nil, err
	}
	if found == nil {
		return nil, fmt.Errorf("tree %d: %w", int64(id), image.ErrNotExist)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if t := fs.trees[id]; t != nil {
		return t, nil
	}
	fs.trees[id] = found
	return found, nil
}

func (fs *FS) parseRoot(k key, b []byte) (*tree, error) {
	if len(b) < rootItemMin {
		return nil, fs.itemError(fs.trees[treeRoot], k, "%d bytes", len(b))
	}
	t := &tree{id: k.obj, rootKey: k, addr: le.Uint64(b[offRootAddr:]), level: int(b[offRootItemLev]), gen: le.Uint64(b[offRootGen:]),
		lastSnapshot: le.Uint64(b[offRootSnapshot:]), readonly: le.Uint64(b[offRootFlags:])&rootReadonly != 0}
	if t.level >= maxLevel {
		return nil, fs.itemError(fs.trees[treeRoot], k, "a tree of %d levels", t.level)
	}
	return t, nil
}

// checkRoots looks through the root tree for what has to end before anything is
// written, and for numbers that have no room in an image.Ino.
func (fs *FS) checkRoots(write bool) error {
	err := fs.each(fs.trees[treeRoot], key{}, func(k key, b []byte) (bool, error) {
		if k.kind == keyRoot && k.obj >= firstFree && k.obj <= lastFree {
			if k.obj > maxSubvol {
				return false, fmt.Errorf("%w: subvolume %d", image.ErrUnsupported, k.obj)
			}
			if len(b) < rootItemMin {
				return false, fs.itemError(fs.trees[treeRoot], k, "%d bytes", len(b))
			}
			if write && le.Uint32(b[offRootRefs:]) == 0 {
				return false, fmt.Errorf("%w: the deletion of subvolume %d is under way", image.ErrNeedsRecovery, k.obj)
			}
		}
		if write && k.kind == keyRoot && k.obj == objRelocTree || write && k.kind == keyBalance && k.obj == objBalance {
			return false, fmt.Errorf("%w: a balance is under way", image.ErrNeedsRecovery)
		}
		return true, nil
	})
	if err != nil || !write {
		return err
	}
	dev, err := fs.treeOf(treeDev)
	if err != nil {
		return err
	}
	b, err := fs.item(dev, key{0, keyDevReplace, 0})
	if err == nil && len(b) >= 40 {
		if state := le.Uint64(b[32:]); state == 1 || state == 4 {
			return fmt.Errorf("%w: the replacement of a device is under way", image.ErrNeedsRecovery)
		}
	}
	return err
}

// findDefault finds the subvolume that a mount shows.
func (fs *FS) findDefault() error {
	fs.def = treeFS
	root := fs.trees[treeRoot]
	k := key{objRootDir, keyDirItem, uint64(nameHash([]byte("default")))}
	b, err := fs.item(root, k)
	if err != nil || b == nil {
		return err
	}
	err = fs.dirEntries(root, k, b, func(e *dirEntry) error {
		if bytes.Equal(e.name, []byte("default")) {
			fs.def = e.location.obj
		}
		return nil
	})
	if err != nil {
		return err
	}
	if t, err := fs.treeOf(fs.def); isNotExist(err) || err == nil && !t.isFile() {
		return fs.itemError(root, k, "the default is the subvolume %d, which is not there", fs.def)
	} else if err != nil {
		return err
	}
	return nil
}
