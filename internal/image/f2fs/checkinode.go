package f2fs

import (
	"bytes"
	"fmt"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// CheckInode implements image.Checker. What FS reports itself when it reads the
// inode is not repeated here.
func (fs *FS) CheckInode(ino image.Ino, report func(image.Finding)) {
	in, err := fs.inode(ino)
	if err != nil {
		return
	}
	found := func(id string, s image.Severity, advice, format string, a ...any) {
		report(image.Finding{ID: id, Severity: s, Ino: ino, Text: fmt.Sprintf(format, a...), Advice: advice})
	}
	fs.checkAttributes(in, found)
	fs.checkInline(in, found)
	fs.checkBlocks(in, found)
	switch in.fileType() {
	case image.TypeDirectory:
		fs.checkNames(in, found)
	case image.TypeSymlink:
		fs.checkLink(in, found)
	}
}

// checkAttributes looks for what passes for a context with some readers only,
// and compares the mark of verity with its attribute.
func (fs *FS) checkAttributes(in *inode, found finder) {
	list, err := fs.xattrs(in)
	if err != nil {
		return
	}
	contexts, verity := 0, 0
	for i := range list {
		switch x := &list[i]; {
		case x.is(xattrEncryption, xattrContext):
			contexts++
		case x.is(xattrVerity, xattrDescriptor):
			verity++
		case x.index == xattrEncryption:
			found("context-name", image.Warning, "remove the attribute",
				"an attribute %q with the index of encryption contexts, which are called %q", x.name, xattrContext)
		}
	}
	if contexts > 1 {
		found("context-twice", image.Error, "remove all but the first", "%d encryption contexts", contexts)
	}
	if in.advise(advVerity) != (verity == 1) {
		found("verity-mark", image.Error, "restore the file from a backup",
			"marked as under fs-verity: %v, attributes that say where its descriptor lies: %d", in.advise(advVerity), verity)
	}
}

// checkInline looks at the word before inline contents, and at what follows them.
func (fs *FS) checkInline(in *inode, found finder) {
	if !in.inline(inData | inDentry) {
		return
	}
	if w := in.u32(offAddrs + 4*in.extra); w != 0 {
		found("inline-word", image.Error, adviceFsck, "the word before inline contents is %#x", w)
	}
	if in.inline(inDentry) {
		return
	}
	area := in.inlineArea()
	if !in.inline(inDataExist) && !store.IsZero(area) {
		found("inline-mark", image.Error, adviceFsck, "inline contents, and the mark says that there are none")
	}
	if in.fileType() != image.TypeRegular || !in.advise(advEncrypt) || !fs.sb.has(featInlineEncrypt) {
		return
	}
	if end := image.StoredInline(in.size()); end <= uint64(len(area)) && !store.IsZero(area[end:]) {
		found("inline-rest", image.Error, "copy the file and remove this one", "behind the encrypted contents of %d bytes not all is zero", in.size())
	}
}

// checkBlocks compares the addresses with the summaries, and their number with
// what the inode says.
func (fs *FS) checkBlocks(in *inode, found finder) {
	n := uint64(1) // its own block
	if in.u32(offXattrNid) != 0 {
		n++
	}
	o, bad := fs.newOwnership(), false
	node := func(uint32) error { n++; return nil }
	err := fs.walk(in, node, func(s slot) error {
		if s.addr != compressAddr || !in.inline(inReleased) {
			n++
		}
		if s.addr == newAddr || s.addr == compressAddr || bad {
			return nil
		}
		if err := fs.checkAddr(in, s); err != nil {
			return err
		}
		if why := o.data(s); why != "" {
			bad = true
			found("summary-wrong", image.Error, adviceFsck, "block %d, lblk %d: %s", s.addr, s.lblk, why)
		}
		return o.err
	})
	if err != nil {
		found("mapping-damaged", image.Error, adviceFsck, "%v", err)
		return
	}
	if got := in.u64(offBlocks); got != n {
		found("block-count", image.Error, adviceFsck, "says %d blocks, has %d", got, n)
	}
	if in.compressed(fs) && int(in.raw[offComprAlgo]) >= len(methods) {
		found("compression-unknown", image.Error, adviceFsck, "compressed with algorithm %d", in.raw[offComprAlgo])
	}
}

// checkLink looks behind an encrypted target.
func (fs *FS) checkLink(in *inode, found finder) {
	if !in.advise(advEncrypt) {
		return
	}
	area := in.inlineArea()
	if !in.inline(inData) {
		s, err := fs.slotAt(in, 0)
		if err != nil || fs.checkAddr(in, s) != nil {
			return
		}
		area = make([]byte, blockSize)
		if fs.readBlock(area, image.Pblk(s.addr)) != nil {
			return
		}
	}
	if n := in.size(); n < uint64(len(area)) && !store.IsZero(area[n:]) {
		found("symlink-slack", image.Warning, "make the link anew", "bytes behind the encrypted target: remains of another one")
	}
}

// checkNames compares what a directory and the inodes in it say of names.
func (fs *FS) checkNames(dir *inode, found finder) {
	_ = fs.ReadDir(dir.ino, func(d image.Dirent) error { // damage was reported by who lists it
		if in, err := fs.inode(d.Ino); err == nil {
			fs.checkName(dir, in, &d, found)
		}
		return nil
	})
}

// checkName checks the name that an inode keeps for recovery. A file with
// several names keeps the last that was given, one that was moved may keep its
// old one and the mark.
func (fs *FS) checkName(dir, in *inode, d *image.Dirent, found finder) {
	const advice = "rename the file once"
	if dir.advise(advEncrypt) && !in.advise(advEncName) {
		found("name-mark", image.Error, advice, "inode %d lacks the mark of an encrypted name", d.Ino)
		return
	}
	many := in.fileType() != image.TypeDirectory && in.u32(offLinks) > 1
	if in.advise(advLostPino) || many || in.u32(offPino) != uint32(dir.ino) {
		return
	}
	n := int(in.u32(offNameLen))
	if !bytes.Equal(in.raw[offName:][:n], d.Name) {
		found("name-differs", image.Warning, advice, "inode %d keeps another name for recovery than its entry has", d.Ino)
		return
	}
	if hash := in.raw[offName+n:]; dir.advise(advEncrypt) && dir.flag(flCasefold) && n+4 <= maxNameLen && le.Uint32(hash) != d.Hash {
		found("name-hash-copy", image.Warning, advice, "inode %d keeps hash %08x for recovery, its entry has %08x", d.Ino, le.Uint32(hash), d.Hash)
	}
}
