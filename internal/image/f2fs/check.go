package f2fs

import (
	"errors"
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
	default:
		if err := fs.checkChain(); err != nil {
			found("not-replayed", image.Error, "mount the image once", "%v", err)
		}
	}
	if c.is(ckptError | ckptFsck) {
		found("errors-recorded", image.Error, adviceFsck, "the checkpoint asks for a check")
	}
	if c.is(ckptQuotaFsck) {
		found("quota-unreliable", image.Warning, adviceFsck, "the checkpoint says that quota files have to be checked")
	}
	fs.checkTable(found)
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
	case other.uuid() != fs.sb.uuid():
		found("superblocks-differ", image.Error, adviceFsck, "the copies have different UUIDs, from which keys are derived")
	}
	if fs.sb.has(featInlineEncrypt) && !fs.sb.has(featEncrypt) {
		found("inline-feature", image.Error, "set the encrypt feature too: fsenc setup",
			"encrypted_inline_data (%s) without the encrypt feature: kernels that know it do not mount this", InlineLayout)
	}
}

// maxAlike bounds the findings of one kind about the volume.
const maxAlike = 20

// checkTable compares the NAT with the SIT, the summaries and the checkpoint's
// counts: what each node's own block says is told with its inode.
func (fs *FS) checkTable(found finder) {
	var nodes, inodes uint64
	o, bad := fs.newOwnership(), 0
	err := fs.nats(0, fs.geo.nids, func(nid uint32, e natEntry) error {
		nodes++
		if e.ino == nid {
			inodes++
		}
		id, why := o.node(nid, e)
		if why == "" {
			return nil
		}
		if bad++; bad > maxAlike {
			return nil
		}
		found(id, image.Error, adviceFsck, "node %d of inode %d, block %d: %s", nid, e.ino, e.block, why)
		return nil
	})
	if err = errors.Join(err, o.err); err != nil {
		found("node-table-damaged", image.Error, adviceFsck, "%v", err)
		return
	}
	if nodes != fs.validNodes || inodes != fs.validInodes {
		found("node-counts", image.Error, adviceFsck, "the checkpoint counts %d nodes and %d inodes, the NAT has %d and %d",
			fs.validNodes, fs.validInodes, nodes, inodes)
	}
	if n := fs.emptySegments(); n != fs.ckpt.u32(offFreeSegs) {
		found("free-segments", image.Error, adviceFsck, "the checkpoint counts %d free segments, there are %d", fs.ckpt.u32(offFreeSegs), n)
	}
}
