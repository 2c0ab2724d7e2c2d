package f2fs

import (
	"bytes"
	"fmt"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

const adviceFsck = "run fsck.f2fs"

// finder reports one finding.
type finder func(id string, s image.Severity, advice, format string, a ...any)

// CheckVolume implements image.Checker.
func (fs *FS) CheckVolume(report func(image.Finding)) {
	found := func(id string, s image.Severity, advice, format string, a ...any) {
		report(image.Finding{ID: id, Severity: s, Text: fmt.Sprintf(format, a...), Advice: advice})
	}
	if fs.sb.marked() {
		found("unfinished", image.Error, "run fsenc resume or fsenc undo", "a conversion of this image was interrupted")
	}
	fs.checkSupers(found)
	for pack := range 2 {
		if _, err := readPack(fs.s, &fs.geo, pack); err != nil {
			found("checkpoint-damaged", image.Warning, "mount the image once: the other pack is sound", "%v", err)
		}
	}
	c := fs.ckpt
	switch {
	case c.is(ckptOrphans):
		found("orphans", image.Error, "mount the image once", "deleted files wait for their removal")
	case !c.is(ckptUmount):
		found("not-clean", image.Error, "mount the image once", "not cleanly unmounted, or mounted")
	}
	if c.is(ckptError | ckptFsck) {
		found("errors-recorded", image.Error, adviceFsck, "the checkpoint asks for a check")
	}
	if c.is(ckptQuotaFsck) {
		found("quota-unreliable", image.Warning, adviceFsck, "the checkpoint says that quota files have to be checked")
	}
	fs.checkCounts(found)
}

// checkSupers compares the two superblocks.
func (fs *FS) checkSupers(found finder) {
	other := &super{raw: make([]byte, superSize)}
	n := 1 - fs.copy
	if err := store.ReadFull(fs.s, other.raw, int64(n*blockSize+superOffset)); err != nil {
		found("superblock-damaged", image.Warning, adviceFsck, "copy %d: %v", n, err)
		return
	}
	switch err := other.verify(); {
	case other.u32(offMagic) != superMagic || err != nil:
		found("superblock-damaged", image.Warning, "mount the image once: the other copy is sound", "copy %d: %v", n, err)
	case other.u32(offFeature) != fs.sb.u32(offFeature):
		found("superblocks-differ", image.Error, adviceFsck, "the copies have the features %#x and %#x", fs.sb.u32(offFeature), other.u32(offFeature))
	}
}

// checkCounts compares the checkpoint's counts of nodes with the NAT.
func (fs *FS) checkCounts(found finder) {
	var nodes, inodes uint64
	err := fs.nats(0, fs.geo.nids, func(nid uint32, e natEntry) error {
		nodes++
		if e.ino == nid {
			inodes++
		}
		return nil
	})
	if err == nil && (nodes != fs.validNodes || inodes != fs.validInodes) {
		found("node-counts", image.Error, adviceFsck, "the checkpoint counts %d nodes and %d inodes, the NAT has %d and %d",
			fs.validNodes, fs.validInodes, nodes, inodes)
	}
	if n := fs.emptySegments(); n != fs.ckpt.u32(offFreeSegs) {
		found("free-segments", image.Error, adviceFsck, "the checkpoint counts %d free segments, there are %d", fs.ckpt.u32(offFreeSegs), n)
	}
}

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
	fs.checkContexts(in, found)
	fs.checkInline(in, found)
	fs.checkBlocks(in, found)
	if in.fileType() == image.TypeDirectory {
		fs.checkNames(in, found)
	}
}

func (fs *FS) checkContexts(in *inode, found finder) {
	list, err := fs.xattrs(in)
	if err != nil {
		return
	}
	n := 0
	for i := range list {
		if list[i].is(xattrEncryption, xattrContext) {
			n++
		}
	}
	if n > 1 {
		found("context-twice", image.Error, "remove all but the first", "%d encryption contexts", n)
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
	if !in.inline(inDataExist) && !zeros(area) {
		found("inline-mark", image.Error, adviceFsck, "inline contents, and the mark says that there are none")
	}
	if in.fileType() != image.TypeRegular || !in.advise(advEncrypt) || !fs.sb.has(featInlineEncrypt) {
		return
	}
	if end := (in.size() + 15) &^ 15; end <= uint64(len(area)) && !zeros(area[end:]) {
		found("inline-rest", image.Error, "copy the file and remove this one", "behind the encrypted contents of %d bytes not all is zero", in.size())
	}
}

// checkBlocks compares the addresses with the summaries, and their number with
// what the inode says.
func (fs *FS) checkBlocks(in *inode, found finder) {
	n := uint64(1)
	sums := make(map[uint32][]byte)
	bad := 0
	count := func(nid uint32) {
		if nid != 0 {
			n++
		}
	}
	count(in.u32(offXattrNid))
	seen := map[uint32]bool{uint32(in.ino): true}
	err := fs.slots(in, func(s slot) error {
		if s.addr != compressAddr || !in.inline(inReleased) {
			n++
		}
		if !seen[s.nid] {
			seen[s.nid] = true
			n++
		}
		if s.addr == newAddr || s.addr == compressAddr || bad > 0 || fs.sb.has(featRO) {
			return nil
		}
		if err := fs.checkAddr(in, s); err != nil {
			return err
		}
		if why, err := fs.checkOwner(sums, s); err != nil {
			return err
		} else if why != "" {
			bad++
			found("summary-wrong", image.Error, adviceFsck, "block %d, lblk %d: %s", s.addr, s.lblk, why)
		}
		return nil
	})
	if err != nil {
		found("mapping-damaged", image.Error, adviceFsck, "%v", err)
		return
	}
	// Nodes without addresses are not met: the count can only be too small.
	if got := in.u64(offBlocks); got < n && in.mapped() {
		found("block-count", image.Error, adviceFsck, "says %d blocks, has at least %d", got, n)
	}
}

// checkOwner asks the summary of a block for its owner.
func (fs *FS) checkOwner(sums map[uint32][]byte, s slot) (string, error) {
	seg, off := fs.geo.segOf(image.Pblk(s.addr))
	b := sums[seg]
	if b == nil {
		for log := range logs {
			if cur, _ := fs.ckpt.curSeg(log); cur == seg {
				b = fs.ckpt.sums[log]
			}
		}
		if b == nil {
			b = make([]byte, blockSize)
			if err := fs.cache.Read(b, (int64(fs.geo.ssa)+int64(seg))*blockSize); err != nil {
				return "", err
			}
		}
		if len(sums) > 64 {
			clear(sums)
		}
		sums[seg] = b
	}
	if e := sumEntryAt(b, off); e.nid() != s.nid || e.ofs() != s.ofs {
		return fmt.Sprintf("its summary says node %d at %d, it is node %d at %d", e.nid(), e.ofs(), s.nid, s.ofs), nil
	}
	return "", nil
}

// checkNames compares what a directory and the inodes in it say of names.
func (fs *FS) checkNames(dir *inode, found finder) {
	const advice = "rename the file once"
	enc := dir.advise(advEncrypt)
	_ = fs.ReadDir(dir.ino, func(d image.Dirent) error { // damage was reported by who lists it
		in, err := fs.inode(d.Ino)
		if err != nil {
			return nil
		}
		name := in.raw[offName:][:in.u32(offNameLen)]
		switch {
		case enc && !in.advise(advEncName): // a kernel leaves the mark on what moves out
			found("name-mark", image.Error, advice, "inode %d lacks the mark of an encrypted name", d.Ino)
		case in.advise(advLostPino) || in.u32(offPino) != uint32(dir.ino) || in.u32(offLinks) > 1 && in.fileType() != image.TypeDirectory:
		case !bytes.Equal(name, d.Name):
			found("name-differs", image.Warning, advice, "inode %d keeps another name for recovery than its entry has", d.Ino)
		}
		return nil
	})
}
