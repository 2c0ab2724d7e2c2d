package btrfs

import (
	"cmp"
	"fmt"
	"slices"

	"fsenc/internal/image"
)

// maxRounds bounds how often accounting of a transaction makes new accounting:
// after each path was copied once there is no more.
const maxRounds = 64

// Flush stages one transaction with all that was edited; nothing if nothing was.
// The superblocks come last: until they are written the old state is whole.
func (fs *FS) Flush() error {
	if len(fs.dirty) > 0 || len(fs.refs) > 0 {
		if err := fs.endTransaction(); err != nil {
			return err
		}
	}
	if !fs.superDirty {
		return nil
	}
	fs.superDirty = false
	for _, at := range superAddrs {
		if at+superSize > int64(min(le.Uint64(fs.sb.devItem()[offDevTotal:]), uint64(fs.s.Size()))) {
			break
		}
		c := &super{raw: slices.Clone(fs.sb.raw)}
		c.set64(offBytenr, uint64(at))
		fs.sum.seal(c.raw)
		if _, err := fs.s.WriteAt(c.raw, at); err != nil {
			return err
		}
	}
	return nil
}

func (fs *FS) endTransaction() error {
	if err := fs.markQuota(); err != nil {
		return err
	}
	for round := 0; ; round++ {
		if round == maxRounds {
			return fmt.Errorf("transaction does not come to an end")
		}
		more, err := fs.account()
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if err := fs.writeFresh(); err != nil {
		return err
	}
	for _, b := range fs.dirty {
		b.dirty = false
		fs.cache.put(b)
	}
	fs.updateSuper()
	fs.reuse()
	fs.begin()
	return nil
}

// account enters pending references, space, groups and roots, and reports
// whether there was any.
func (fs *FS) account() (bool, error) {
	more := len(fs.refs) > 0 || len(fs.space) > 0
	if err := fs.applyRefs(); err != nil {
		return false, err
	}
	if err := fs.applySpace(); err != nil {
		return false, err
	}
	for _, step := range []func() (bool, error){fs.applyGroups, fs.applyRoots} {
		some, err := step()
		if err != nil {
			return false, err
		}
		more = more || some
	}
	return more, nil
}

// applyGroups stores how much of each group is in use.
func (fs *FS) applyGroups() (bool, error) {
	t, err := fs.groupTree()
	if err != nil {
		return false, err
	}
	some := false
	for _, g := range fs.groups {
		if !g.changed {
			continue
		}
		g.changed, some = false, true
		err := fs.modify(t, key{g.start, keyBlockGroup, g.len}, func(b []byte) { le.PutUint64(b[offGroupUsed:], g.used) })
		if err != nil {
			return false, err
		}
	}
	return some, nil
}

// applyRoots stores where trees begin.
func (fs *FS) applyRoots() (bool, error) {
	var list []*tree
	for _, t := range fs.trees {
		if t.changed && t.rootKey.obj != 0 {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *tree) int { return cmp.Compare(a.id, b.id) })
	some := false
	for _, t := range list {
		b, err := fs.item(fs.trees[treeRoot], t.rootKey)
		if err != nil {
			return false, err
		}
		if len(b) < rootItemMin {
			return false, fs.itemError(fs.trees[treeRoot], t.rootKey, "%d bytes", len(b))
		}
		if le.Uint64(b[offRootAddr:]) == t.addr && int(b[offRootItemLev]) == t.level && le.Uint64(b[offRootGen:]) == t.gen && t.grown == 0 {
			continue
		}
		some = true
		used := max(0, int64(le.Uint64(b[offRootUsed:]))+t.grown)
		t.grown = 0
		err = fs.modify(fs.trees[treeRoot], t.rootKey, func(b []byte) {
			both := len(b) >= offRootGen2+8 && le.Uint64(b[offRootGen2:]) == le.Uint64(b[offRootGen:])
			le.PutUint64(b[offRootAddr:], t.addr)
			le.PutUint64(b[offRootGen:], t.gen)
			le.PutUint64(b[offRootUsed:], uint64(used))
			b[offRootItemLev] = byte(t.level)
			if both {
				le.PutUint64(b[offRootGen2:], t.gen)
			}
		})
		if err != nil {
			return false, err
		}
	}
	return some, nil
}

// markQuota says that the counts of quota groups no longer hold: a kernel offers
// to count anew.
func (fs *FS) markQuota() error {
	t, err := fs.treeOf(treeQuota)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	k := key{0, keyQgroupStatus, 0}
	b, err := fs.item(t, k)
	const inconsistent = 4
	if err != nil || len(b) < 24 || le.Uint64(b[16:])&inconsistent != 0 {
		return err
	}
	return fs.modify(t, k, func(b []byte) { le.PutUint64(b[16:], le.Uint64(b[16:])|inconsistent) })
}

// updateSuper makes the superblock lead to the new trees, and its backups, too:
// the old ones would lead to blocks that are used again or wiped.
func (fs *FS) updateSuper() {
	sb := fs.sb
	root, chunk := fs.trees[treeRoot], fs.trees[treeChunk]
	sb.set64(offGeneration, fs.gen)
	sb.set64(offRoot, root.addr)
	sb.raw[offRootLevel] = byte(root.level)
	sb.set64(offChunkRoot, chunk.addr)
	sb.raw[offChunkLevel] = byte(chunk.level)
	sb.set64(offChunkGen, chunk.gen)
	var used uint64
	for _, g := range fs.groups {
		used += g.used
	}
	sb.set64(offBytesUsed, used)
	for i := range backups {
		fs.backup(sb.raw[offBackups+i*backupSize:][:backupSize])
	}
	fs.superDirty = true
}

// backup fills one backup of the roots.
func (fs *FS) backup(b []byte) {
	clear(b)
	for i, id := range []uint64{treeRoot, treeChunk, treeExtent, treeFS, treeDev, treeCsum} {
		t, err := fs.treeOf(id)
		if err != nil {
			continue // there may be no checksums
		}
		le.PutUint64(b[16*i:], t.addr)
		le.PutUint64(b[16*i+8:], t.gen)
		b[152+i] = byte(t.level)
	}
	le.PutUint64(b[96:], fs.sb.u64(offTotalBytes))
	le.PutUint64(b[104:], fs.sb.u64(offBytesUsed))
	le.PutUint64(b[112:], fs.sb.u64(offNumDevices))
}

// SetFeatures sets and clears features. That alone is no transaction: the
// generation stays.
func (fs *FS) SetFeatures(set, clear []string) error {
	word := fs.sb.u64(offIncompat)
	for _, name := range set {
		bit, err := featureBit(name)
		if err != nil {
			return err
		}
		word |= bit
	}
	for _, name := range clear {
		bit, err := featureBit(name)
		if err != nil {
			return err
		}
		word &^= bit
	}
	if word != fs.sb.u64(offIncompat) {
		fs.sb.set64(offIncompat, word)
		fs.superDirty = true
	}
	return nil
}

func featureBit(name string) (uint64, error) {
	switch name {
	case "encrypt":
		return incompatEncrypt, nil
	case "encrypted_inline_data":
		return incompatInline, nil
	}
	return 0, fmt.Errorf("%w: changing the feature %s", image.ErrUnsupported, name)
}

// SetUnfinished marks the superblocks with id, or takes the mark away if id is
// zero.
func (fs *FS) SetUnfinished(id [16]byte) error {
	word := fs.sb.u64(offIncompat) &^ incompatUnfinished
	if id != ([16]byte{}) {
		word |= incompatUnfinished
	}
	fs.sb.set64(offIncompat, word)
	copy(fs.sb.raw[offMarkID:], id[:])
	fs.superDirty = true
	return nil
}

// Unfinished returns the id that the image is marked with, zero if it is not.
func (fs *FS) Unfinished() [16]byte {
	if !fs.sb.has(incompatUnfinished) {
		return [16]byte{}
	}
	return [16]byte(fs.sb.raw[offMarkID:])
}

// MarkOffset is where the 16 bytes of the id lie in the first superblock.
func (fs *FS) MarkOffset() int64 { return superAddrs[0] + offMarkID }
