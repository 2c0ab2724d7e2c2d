package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// Inodes of basicImage, in the top-level subvolume; of extentsImage in subvolume
// 256.
const (
	dirEnc, fileBig, fileSparse, filePrealloc, linkRel = 257, 275, 287, 289, 282
	dirPlain, filePlain, fileInline                    = 292, 294, 295
	fileMid, filePre, fileReflinked                    = 258, 266, 262
	subvol                                             = 256
)

// finding is one way to damage an image, and what is to be found.
type finding struct {
	id    string
	image string
	edit  func(d *damager)
}

func inode(obj uint64) key { return key{obj, keyInode, 0} }

var volumeFindings = []finding{
	{"superblocks-differ", basicImage, func(d *damager) {
		at := superAddrs[1]
		sb := &super{raw: make([]byte, superSize)}
		d.check(store.ReadFull(d.s, sb.raw, at))
		sb.set64(offGeneration, sb.u64(offGeneration)-1)
		d.fs.sum.seal(sb.raw)
		_, err := d.s.WriteAt(sb.raw, at)
		d.check(err)
	}},
	{"superblock-damaged", basicImage, func(d *damager) {
		_, err := d.s.WriteAt([]byte{1}, superAddrs[1]+offLabel)
		d.check(err)
	}},
	{"bytes-used", basicImage, func(d *damager) { d.supers(func(sb *super) { put64(sb.raw, offBytesUsed, 4096) }) }},
	{"device-item", basicImage, func(d *damager) { d.supers(func(sb *super) { put64(sb.devItem(), offDevUsed, 65536) }) }},
	{"device-extents", basicImage, func(d *damager) {
		_, k := d.find(treeDev, key{1, keyDevExtent, 0})
		d.item(treeDev, k, func(b []byte) { put64(b, offDevExtChunk, 65536) })
	}},
	{"group-used", basicImage, func(d *damager) { d.item(treeExtent, d.group(), func(b []byte) { put64(b, offGroupUsed, -4096) }) }},
	{"structure-damaged", basicImage, func(d *damager) { d.item(treeExtent, d.group(), func(b []byte) { put64(b, offGroupFlags, 8) }) }},
	{"free-space-count", basicImage, func(d *damager) {
		_, k := d.find(treeFreeSpace, key{d.group().obj, keyFreeInfo, 0})
		d.item(treeFreeSpace, k, func(b []byte) { b[offFreeCount]++ })
	}},
	{"free-space", basicImage, func(d *damager) {
		_, k := d.find(treeFreeSpace, key{d.group().obj, keyFreeExtent, 0})
		d.edit(func(fs *FS) error {
			t, err := fs.treeOf(treeFreeSpace)
			if err != nil {
				return err
			}
			if err := fs.remove(t, k); err != nil {
				return err
			}
			k.off -= 4096
			return fs.insert(t, k, nil)
		})
	}},
	{"extent-references", extentsImage, func(d *damager) { // counted once more
		d.item(treeExtent, d.dataExtent(), func(b []byte) { put64(b, offRefs, 1) })
	}},
	{"extent-references", extentsImage, func(d *damager) { // of another inode
		d.item(treeExtent, d.dataExtent(), func(b []byte) { put64(b, extentItemLen+9, 1) })
	}},
	{"extent-references", extentsImage, func(d *damager) { // not there
		d.edit(func(fs *FS) error {
			t, err := fs.treeOf(treeExtent)
			if err != nil {
				return err
			}
			return fs.remove(t, d.dataExtent())
		})
	}},
	{"extent-references", extentsImage, func(d *damager) { // used by nobody
		d.edit(func(fs *FS) error {
			at, err := fs.allocData(4096)
			fs.addRef(extentID{at, 4096, -1}, ref{kind: keyDataRef, root: treeFS, obj: 300}, 1)
			return err
		})
	}},
	{"extent-references", basicImage, func(d *damager) { // another level
		_, k := d.find(treeExtent, key{d.tree(treeFS).addr, keyMetadata, 0})
		d.edit(func(fs *FS) error {
			t, err := fs.treeOf(treeExtent)
			if err != nil {
				return err
			}
			b, err := fs.item(t, k)
			if err != nil {
				return err
			}
			b = bytes.Clone(b)
			if err := fs.remove(t, k); err != nil {
				return err
			}
			k.off += 3
			return fs.insert(t, k, b)
		})
	}},
	{"checksums-missing", basicImage, func(d *damager) {
		d.edit(func(fs *FS) error { return fs.dropSums(d.disk(treeFS, fileBig)+8192, 4096) })
	}},
	{"checksums-stray", basicImage, func(d *damager) { // of a preallocated range
		d.edit(func(fs *FS) error { return fs.addSums(d.disk(treeFS, filePrealloc), make([]byte, 4096)) })
	}},
	{"checksums-stray", basicImage, func(d *damager) { // where nothing is
		d.edit(func(fs *FS) error {
			at, err := fs.allocData(4096)
			if err == nil {
				err = fs.free(at, 4096)
			}
			if err != nil {
				return err
			}
			return fs.addSums(at, make([]byte, 4096))
		})
	}},
	{"structure-damaged", basicImage, func(d *damager) { // checksums twice
		d.edit(func(fs *FS) error { return fs.addSums(d.disk(treeFS, fileBig)+8192, make([]byte, 4096)) })
	}},
	{"subvolume-reference", extentsImage, func(d *damager) { // the way back is not there
		d.edit(func(fs *FS) error { return fs.remove(fs.trees[treeRoot], key{subvol, keyRootBackref, treeFS}) })
	}},
	{"subvolume-reference", extentsImage, func(d *damager) { // another name
		for _, k := range []key{{subvol, keyRootBackref, treeFS}, {treeFS, keyRootRef, subvol}} {
			d.item(treeRoot, k, func(b []byte) { b[rootRefHeader]++ })
		}
	}},
	{"subvolume-dropped", extentsImage, func(d *damager) {
		d.item(treeRoot, key{subvol, keyRoot, 0}, func(b []byte) { le.PutUint32(b[offRootRefs:], 0) })
	}},
	{"extent-contexts-differ", extentsImage, func(d *damager) {
		d.item(subvol, key{fileMid, keyContext, 0}, func(b []byte) { b[offExtNonce]++ })
	}},
	{"extent-contexts-differ", extentsImage, func(d *damager) { // plain in one place
		d.item(subvol, key{fileMid, keyExtentData, 0}, func(b []byte) { b[offExtEncryption] = 0 })
	}},
	{"extent-nonce-reused", basicImage, func(d *damager) {
		p, _ := d.find(treeFS, key{fileBig, keyContext, 0})
		c := bytes.Clone(p.data())
		d.item(treeFS, key{fileSparse, keyContext, 40960}, func(b []byte) { copy(b, c) })
	}},
	{"structure-damaged", basicImage, func(d *damager) { // a tree that is newer than all
		d.item(treeRoot, key{treeCsum, keyRoot, 0}, func(b []byte) { put64(b, offRootGen, 1000) })
	}},
}

// group is the block group of data.
func (d *damager) group() key {
	d.Helper()
	var at key
	d.check(d.fs.each(d.tree(treeExtent), key{}, func(k key, b []byte) (bool, error) {
		if k.kind == keyBlockGroup && le.Uint64(b[offGroupFlags:])&groupData != 0 {
			at = k
		}
		return at.kind == 0, nil
	}))
	return at
}

// dataExtent is the item of an extent with one reference of one file.
func (d *damager) dataExtent() key {
	d.Helper()
	var at key
	d.check(d.fs.each(d.tree(treeExtent), key{}, func(k key, b []byte) (bool, error) {
		if k.kind == keyExtent && len(b) == extentItemLen+29 && le.Uint64(b[offRefFlags:]) == extentData {
			at = k
		}
		return at.kind == 0, nil
	}))
	return at
}

// disk is where the first extent of a file begins.
func (d *damager) disk(id, obj uint64) uint64 {
	d.Helper()
	p, k := d.find(id, key{obj, keyExtentData, 0})
	if k.obj != obj {
		d.Fatalf("inode %d has no extent", obj)
	}
	return le.Uint64(p.data()[offExtDisk:])
}

// entry changes an entry by its index, the same by its hash if both is set.
func (d *damager) entry(dir uint64, both bool, edit func([]byte)) {
	d.Helper()
	p, k := d.find(treeFS, key{dir, keyDirIndex, 0})
	name := bytes.Clone(p.data()[dirHeader:])
	d.item(treeFS, k, edit)
	if both {
		d.item(treeFS, key{dir, keyDirItem, uint64(nameHash(name))}, edit)
	}
}

func (d *damager) insert(id uint64, k key, b []byte) {
	d.Helper()
	d.edit(func(fs *FS) error {
		t, err := fs.treeOf(id)
		if err != nil {
			return err
		}
		return fs.insert(t, k, b)
	})
}

var inodeFindings = []finding{
	{"link-count", basicImage, func(d *damager) { d.item(treeFS, inode(fileBig), func(b []byte) { b[offInoLinks]++ }) }},
	{"link-count", basicImage, func(d *damager) { d.item(treeFS, inode(dirEnc), func(b []byte) { b[offInoLinks] = 0 }) }},
	{"orphan", basicImage, func(d *damager) {
		d.edit(func(fs *FS) error { return fs.Remove(inoOf(treeFS, dirPlain), []byte("b")) })
		b := make(rawInode, inodeSize)
		b.set32(offInoMode, 0o100600)
		d.insert(treeFS, inode(filePlain), b)
		d.insert(treeFS, key{objOrphan, keyOrphan, filePlain}, nil)
	}},
	{"inode-generation", basicImage, func(d *damager) { d.item(treeFS, inode(fileBig), func(b []byte) { put64(b, offInoTrans, 1000) }) }},
	{"inode-bytes", basicImage, func(d *damager) { d.item(treeFS, inode(fileBig), func(b []byte) { put64(b, offInoBytes, -4096) }) }},
	{"directory-size", basicImage, func(d *damager) { d.item(treeFS, inode(dirEnc), func(b []byte) { put64(b, offInoSize, 2) }) }},
	{"entry-mark", basicImage, func(d *damager) { d.entry(dirEnc, true, func(b []byte) { b[offDirType] &^= dirTypeEncrypted }) }},
	{"entry-mark", basicImage, func(d *damager) { d.entry(dirPlain, true, func(b []byte) { b[offDirType] |= dirTypeEncrypted }) }},
	{"entries-differ", basicImage, func(d *damager) { d.entry(dirEnc, false, func(b []byte) { b[offDirType] ^= 3 }) }},
	{"entries-differ", basicImage, func(d *damager) { // one is only there by its hash
		d.edit(func(fs *FS) error {
			t, err := fs.treeOf(treeFS)
			if err != nil {
				return err
			}
			_, k := d.find(treeFS, key{dirPlain, keyDirIndex, 0})
			return fs.remove(t, k)
		})
	}},
	{"entry-type", basicImage, func(d *damager) { d.entry(dirPlain, true, func(b []byte) { b[offDirType] = byte(image.TypeFifo) }) }},
	{"name-differs", basicImage, func(d *damager) { // the inode has another name
		d.item(treeFS, key{filePlain, keyInodeRef, dirPlain}, func(b []byte) { b[refHeader]++ })
	}},
	{"name-hash", basicImage, func(d *damager) {
		d.entry(dirPlain, true, func(b []byte) { b[dirHeader]++ })
	}},
	{"name-damaged", basicImage, func(d *damager) {
		d.item(treeFS, key{filePlain, keyInodeRef, dirPlain}, func(b []byte) { b[offRefNameLen] = 200 })
	}},
	{"symlink-mark", basicImage, func(d *damager) {
		d.item(treeFS, key{linkRel, keyExtentData, 0}, func(b []byte) { b[offExtEncryption] = 1 })
	}},
	{"symlink-size", basicImage, func(d *damager) {
		d.item(treeFS, inode(linkRel), func(b []byte) { put64(b, offInoBytes, 1) })
	}},
	{"xattr-hash", basicImage, func(d *damager) {
		b := make([]byte, dirHeader, dirHeader+8)
		le.PutUint16(b[offDirNameLen:], 6)
		le.PutUint16(b[offDirDataLen:], 2)
		b[offDirType] = dirTypeXattr
		d.insert(treeFS, key{filePlain, keyXattr, 12345}, append(b, "user.xyz"...))
	}},
	{"extent-mark", basicImage, func(d *damager) { // in a plain file
		d.item(treeFS, key{filePlain, keyExtentData, 0}, func(b []byte) { b[offExtEncryption] = 1 })
	}},
	{"extent-mark", basicImage, func(d *damager) { // of inline data
		d.item(treeFS, key{fileInline, keyExtentData, 0}, func(b []byte) { b[offExtEncryption] = 1 })
	}},
	{"extent-mark", basicImage, func(d *damager) { // of a hole
		b := make([]byte, extentSize)
		b[offExtEncryption], b[offExtKind] = 1, extRegular
		le.PutUint64(b[offExtRAM:], 4096)
		le.PutUint64(b[offExtLen:], 4096)
		d.insert(treeFS, key{fileSparse, keyExtentData, 4096}, b)
	}},
	{"extent-plaintext", basicImage, func(d *damager) {
		d.item(treeFS, key{fileBig, keyExtentData, 0}, func(b []byte) { b[offExtEncryption] = 0 })
	}},
	{"extent-context-missing", extentsImage, func(d *damager) {
		d.edit(func(fs *FS) error {
			t, err := fs.treeOf(subvol)
			if err != nil {
				return err
			}
			return fs.remove(t, key{fileMid, keyContext, 24576})
		})
	}},
	{"extent-context-stale", basicImage, func(d *damager) {
		d.insert(treeFS, key{fileBig, keyContext, 1 << 30}, make([]byte, contextSize))
	}},
	{"extent-context-invalid", basicImage, func(d *damager) {
		d.item(treeFS, key{fileBig, keyContext, 0}, func(b []byte) { b[0] = 7 })
	}},
	{"extent-context-foreign", basicImage, func(d *damager) {
		d.item(treeFS, key{fileBig, keyContext, 0}, func(b []byte) { b[offExtCtxID]++ })
	}},
	{"context-misplaced", basicImage, func(d *damager) { d.insert(treeFS, key{fileBig, keyInodeContext, 7}, make([]byte, ctxSize)) }},
	{"layouts-mixed", basicImage, func(d *damager) { d.appendContext(fileBig) }},
	{"verity-encrypted", basicImage, func(d *damager) {
		d.insert(treeFS, key{fileBig, keyVerityDesc, 0}, []byte{1})
	}},
	{"mapping-gap", basicImage, func(d *damager) {
		d.supers(func(sb *super) { sb.set64(offIncompat, sb.u64(offIncompat)&^incompatNoHoles) })
	}},
	{"mapping-damaged", basicImage, func(d *damager) {
		d.item(treeFS, key{fileSparse, keyExtentData, 40960}, func(b []byte) { put64(b, offExtLen, 1<<20) })
	}},
	{"inline-size", basicImage, func(d *damager) {
		d.item(treeFS, key{fileInline, keyExtentData, 0}, func(b []byte) { put64(b, offExtRAM, 1) })
	}},
	{"inode-damaged", basicImage, func(d *damager) {
		d.item(treeFS, inode(fileBig), func(b []byte) { le.PutUint32(b[offInoMode:], 0) })
	}},
}

// Each finding is met on an image that has just that damage, and none on the
// images as they are.
func TestFindings(t *testing.T) {
	for _, name := range []string{basicImage, extentsImage, dupImage} {
		fs, err := Open(overlaid(t, name), image.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if found := findings(fs); len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
	for i, f := range slices.Concat(volumeFindings, inodeFindings) {
		t.Run(fmt.Sprint(i, " ", f.id), func(t *testing.T) {
			d := newDamager(t, f.image)
			f.edit(d)
			fs, err := Open(d.s, image.Options{AllowUnfinished: true})
			if err != nil {
				t.Fatal(err)
			}
			found := findings(fs)
			if found[f.id] == "" {
				t.Errorf("not found, but %v", found)
			}
		})
	}
}

// appendContext gives the first extent of a file the form of series v5.
func (d *damager) appendContext(obj uint64) {
	d.Helper()
	d.edit(func(fs *FS) error {
		t, err := fs.treeOf(treeFS)
		if err != nil {
			return err
		}
		b, err := fs.item(t, key{obj, keyExtentData, 0})
		if err != nil {
			return err
		}
		b = le.AppendUint32(bytes.Clone(b), contextSize)
		c, err := fs.item(t, key{obj, keyContext, 0})
		if err != nil {
			return err
		}
		b = append(b, c...)
		if err := fs.remove(t, key{obj, keyContext, 0}); err != nil {
			return err
		}
		return fs.set(t, key{obj, keyExtentData, 0}, b)
	})
}

// An image of series v5 is known as one, and its extents are not taken for those of
// v6. It is not written to.
func TestOldLayout(t *testing.T) {
	d := newDamager(t, basicImage)
	var off []key
	d.check(d.fs.each(d.tree(treeFS), key{}, func(k key, _ []byte) (bool, error) {
		if k.kind == keyContext {
			off = append(off, k)
		}
		return true, nil
	}))
	d.edit(func(fs *FS) error {
		t, err := fs.treeOf(treeFS)
		for _, k := range off {
			if err == nil && k.obj != fileBig {
				err = fs.remove(t, k)
			}
		}
		return err
	})
	d.appendContext(fileBig)
	fs, err := Open(d.s, image.Options{})
	d.check(err)
	if got := fs.Super().Layout; got != layoutV5 {
		t.Errorf("layout %q", got)
	}
	all, err := fs.Extents(inoOf(treeFS, fileBig))
	if err != nil || len(all) == 0 || !all[0].OldKey {
		t.Errorf("mapping: %v, %v", all, err)
	}
	if _, err := Open(d.s, image.Options{Write: true}); !errors.Is(err, image.ErrUnsupported) {
		t.Errorf("for writing: %v", err)
	}
}
