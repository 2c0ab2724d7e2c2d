package ext4

import (
	"bytes"
	"fmt"

	"fsenc/internal/image"
)

const adviceE2fsck = "mount the image once, or run e2fsck"

// CheckVolume implements image.Checker.
func (fs *FS) CheckVolume(report func(image.Finding)) {
	found := func(id, advice, format string, a ...any) {
		report(image.Finding{ID: id, Severity: image.Error, Text: fmt.Sprintf(format, a...), Advice: advice})
	}
	if fs.sb.hasIncompat(incompatUnfinished) {
		found("unfinished", "run fsenc resume or fsenc undo", "a conversion of this image was interrupted")
	}
	if fs.sb.hasIncompat(incompatRecover) || fs.journal.ino != 0 && !fs.journal.empty {
		found("journal-dirty", adviceE2fsck, "the journal has to be replayed, or the image is mounted")
	}
	if last := fs.sb.u32(offLastOrphan); last != 0 {
		found("orphans", adviceE2fsck, "inode %d heads a list of orphans", last)
	} else if fs.sb.hasRO(roOrphanPresent) {
		found("orphans", adviceE2fsck, "there are inodes in the orphan file")
	}
	if err := fs.checkMMP(); err != nil {
		found("mmp", "find out who uses it; if nobody does, run e2fsck", "%v", err)
	}
	switch state := fs.sb.state(); {
	case state&stateErrors != 0:
		found("errors-recorded", "run e2fsck", "the kernel has recorded errors in the superblock")
	case state&stateValid == 0 || state&stateOrphans != 0:
		found("not-clean", "run e2fsck", "not cleanly unmounted, or mounted")
	}
	if fs.sb.state() == stateValid && !fs.sb.hasIncompat(incompatRecover) {
		if super, groups, err := fs.checkFree(); err != nil {
			found("descriptors-damaged", "run e2fsck", "%v", err)
		} else if super != groups {
			report(image.Finding{ID: "free-count", Severity: image.Warning, Advice: "run e2fsck",
				Text: fmt.Sprintf("the superblock counts %d free blocks, the groups have %d", super, groups)})
		}
	}
	if fs.sb.hasIncompat(incompatEncInline) && !fs.sb.hasIncompat(incompatEncrypt) {
		found("inline-feature", "set it with fsenc setup", "encrypted_inline_data is set (%s), but not encrypt, which it needs", InlineLayout)
	}
	if fs.sb.hasIncompat(incompatEncInline) && !fs.sb.hasIncompat(incompatInlineData) {
		found("inline-feature", "restore the superblock", "encrypted_inline_data is set (%s), but not inline_data, which it needs", InlineLayout)
	}
	if fs.sb.hasRO(roSharedBlocks) {
		found("shared-blocks", "leave it as it is: no block may be encrypted for one of its owners", "files share blocks")
	}
}

// CheckInode implements image.Checker. What FS reports itself when it reads
// the inode is not repeated here.
func (fs *FS) CheckInode(ino image.Ino, report func(image.Finding)) {
	in, err := fs.look(ino)
	if err != nil {
		return
	}
	found := func(id string, s image.Severity, advice, format string, a ...any) {
		report(image.Finding{ID: id, Severity: s, Ino: ino, Text: fmt.Sprintf(format, a...), Advice: advice})
	}
	fs.checkContexts(in, found)
	if in.raw.hasFlag(flInlineData) && fs.inlineCipher(in) {
		fs.checkInline(in, found)
	}
	if in.raw.fileType() == image.TypeSymlink && !in.raw.hasFlag(flInlineData) {
		fs.checkLinkForm(in, found)
	}
}

// finder reports one finding about the inode at hand.
type finder func(id string, s image.Severity, advice, format string, a ...any)

// checkContexts looks for what passes for a context with some readers only:
// a second one in the block, which kernels and e2fsck do not look at, and one
// under a name index that e2fsck takes and kernels do not.
func (fs *FS) checkContexts(in *inode, found finder) {
	body, err := fs.ibodyXattrs(in)
	if err != nil {
		return
	}
	var block []xattr
	if b, err := fs.xattrBlock(in); err != nil {
		return
	} else if b != nil {
		block = b.list
	}
	contexts := 0
	for _, list := range [][]xattr{body, block} {
		for _, x := range list {
			_, known := xattrPrefixes[x.index]
			switch {
			case x.is(xattrEncryption, xattrContext):
				contexts++
			case x.index == xattrEncryption:
				found("context-name", image.Warning, "remove the attribute",
					"an attribute %q with the index of encryption contexts, which are called %q", x.name, xattrContext)
			case !known && x.name == xattrContext:
				found("context-index", image.Error, "give it index 9, or remove it",
					"an attribute called like an encryption context, with index %d: e2fsck takes it for one, kernels do not", x.index)
			}
		}
	}
	if contexts > 1 {
		found("context-twice", image.Error, "remove the one that is not used, which is that in the block",
			"%d encryption contexts", contexts)
	}
}

// checkLinkForm checks that the two ways of telling a fast symlink from a slow
// one agree, and that behind the bytes of an encrypted target there are none.
func (fs *FS) checkLinkForm(in *inode, found finder) {
	slow, err := fs.slowLink(in)
	if err != nil {
		return
	}
	area := in.raw.iblock()
	if slow {
		at, err := fs.linkBlock(in)
		if err != nil {
			return
		}
		area = make([]byte, fs.bs)
		if fs.readBlock(at, area) != nil {
			return
		}
	} else if in.raw.hasFlag(flExtents) {
		found("symlink-form", image.Error, "run e2fsck", "the target lies in the inode, but the inode says that it has extents")
	}
	if in.raw.hasFlag(flIndex) {
		found("symlink-form", image.Error, "run e2fsck", "has the flag of an indexed directory")
	}
	if rest := area[in.raw.size():]; in.raw.hasFlag(flEncrypt) && len(bytes.TrimLeft(rest, "\x00")) > 0 {
		found("symlink-slack", image.Warning, "make the link anew", "bytes behind the encrypted target: remains of another one")
	}
}

// checkInline checks where the pieces of encrypted inline data lie: whole cipher
// blocks, as much in the attribute as i_block has no room for, nothing behind.
func (fs *FS) checkInline(in *inode, found finder) {
	const restore = "restore the inode from a backup, or remove it"
	if in.raw.hasFlag(flExtents) {
		found("inline-form", image.Error, restore, "the contents lie in the inode (%s), which says that it has extents", InlineLayout)
	}
	rest, err := fs.inlineRest(in)
	if err != nil {
		return // Inline reports it
	}
	stored := image.StoredInline(in.raw.size())
	if want := max(stored, iblockSize) - iblockSize; uint64(len(rest)) != want {
		found("inline-form", image.Error, restore, "%d bytes of contents (%s) behind those in i_block, a size of %d has %d",
			len(rest), InlineLayout, in.raw.size(), want)
	}
	if slack := in.raw.iblock()[min(stored, iblockSize):]; len(bytes.TrimLeft(slack, "\x00")) > 0 {
		found("inline-slack", image.Warning, "write the file anew", "bytes behind the encrypted contents in the inode (%s): remains of others", InlineLayout)
	}
	if body, err := fs.ibodyXattrs(in); err == nil && findXattr(body, xattrEncryption, xattrContext) == nil {
		found("inline-context", image.Warning, "fsenc rekey places it anew",
			"the context of a file with encrypted inline data (%s) is not in the inode", InlineLayout)
	}
}
