package btrfs

import (
	"bytes"
	"fmt"

	"fsenc/internal/image"
)

const adviceCheck = "run btrfs check, on a copy with the encryption marks taken away if it refuses"

// finder reports one finding.
type finder func(id string, s image.Severity, advice, format string, a ...any)

// Fields of an inode's context that its extents' contexts repeat.
const (
	offCtxMode   = 1 // contents mode
	offCtxID     = 8 // key identifier, 16 bytes
	ctxSize      = 40
	offExtCtxID  = 2
	offExtNonce  = 18
	extCtxEnd    = 34
	extCtxFormat = 1
)

// CheckInode implements image.Checker. What FS reports itself when it reads the
// inode is not repeated here.
func (fs *FS) CheckInode(ino image.Ino, report func(image.Finding)) {
	t, obj, r, err := fs.look(ino)
	if err != nil {
		return
	}
	found := func(id string, s image.Severity, advice, format string, a ...any) {
		report(image.Finding{ID: id, Severity: s, Ino: ino, Text: fmt.Sprintf(format, a...), Advice: advice})
	}
	switch r.fileType() {
	case image.TypeDirectory:
		fs.checkDir(t, obj, r, found)
	case image.TypeSymlink:
		fs.checkLink(t, obj, r, found)
	case image.TypeRegular:
		fs.checkFile(t, obj, r, found)
	}
}

// checkDir compares the entries by index with those by hash, and with the marks
// and the size that the directory should have.
func (fs *FS) checkDir(t *tree, obj uint64, r rawInode, found finder) {
	list, err := fs.storedEntries(t, obj)
	if err != nil {
		return
	}
	size := uint64(0)
	for i := range list {
		e := &list[i]
		size += 2 * uint64(len(e.old))
		if enc := e.kind&dirTypeEncrypted != 0; enc != r.flag(inoEncrypt) {
			found("entry-mark", image.Error, adviceCheck, "entry %d: the mark of an encrypted name is %v, of the directory %v", e.index, enc, r.flag(inoEncrypt))
		}
		if e.location.kind == keyRoot {
			continue
		}
		names, err := fs.refsIn(t, e.location.obj, obj)
		if err == nil && !bytes.Equal(names[e.index], e.old) {
			found("name-differs", image.Error, adviceCheck, "entry %d: inode %d does not refer back with the same name", e.index, e.location.obj)
		}
	}
	if got := r.u64(offInoSize); got != size {
		found("directory-size", image.Error, adviceCheck, "size %d, its names make up %d", got, size)
	}
}

func (fs *FS) checkLink(t *tree, obj uint64, r rawInode, found finder) {
	e, err := fs.inlineItem(t, obj)
	if err == nil && e.enc != 0 && r.flag(inoEncrypt) {
		found("symlink-mark", image.Error, adviceCheck, "the extent of a symlink is marked encrypted: kernels look for a context")
	}
}

// checkFile checks marks and contexts of a file's extents.
func (fs *FS) checkFile(t *tree, obj uint64, r rawInode, found finder) {
	list, err := fs.fileExtents(t, obj)
	if err != nil {
		found("mapping-damaged", image.Error, adviceCheck, "%v", err)
		return
	}
	encrypted := r.flag(inoEncrypt)
	inode, err := fs.item(t, key{obj, keyInodeContext, 0})
	if err != nil {
		return
	}
	wanted := make(map[uint64]bool)
	byDisk := make(map[uint64]string)
	for i := range list {
		e := &list[i]
		if e.enc == 1 && e.kind != extInline && e.disk != 0 {
			wanted[e.off] = true
		}
		fs.checkExtent(e, encrypted, inode, found)
		if e.disk == 0 || e.kind == extInline || e.context == "" {
			continue
		}
		if c, ok := byDisk[e.disk]; ok && c != e.context {
			found("extent-contexts-differ", image.Error, "find out with the key which one decrypts", "two contexts for the extent at block %d", fs.pblk(e.disk))
		}
		byDisk[e.disk] = e.context
	}
	if fs.v5 {
		return
	}
	_ = fs.eachOf(t, obj, keyContext, func(off uint64, _ []byte) error { // damage was met before
		if !wanted[off] {
			found("extent-context-stale", image.Warning, "fsenc fsck --repair removes it: the next write there would fail",
				"a context for offset %d, where no encrypted extent is", off)
		}
		return nil
	})
}

// checkExtent checks one extent of a file.
func (fs *FS) checkExtent(e *fileExtent, encrypted bool, inode []byte, found finder) {
	hole := e.kind != extInline && e.disk == 0
	switch {
	case e.enc == 1 && hole:
		found("extent-mark", image.Error, adviceCheck, "a hole at offset %d is marked encrypted", e.off)
	case e.enc == 1 && !encrypted:
		found("extent-mark", image.Error, adviceCheck, "the extent at offset %d is marked encrypted, in a file that is not", e.off)
	case e.enc == 1 && e.kind == extInline && !fs.sb.has(incompatInline):
		found("extent-mark", image.Error, adviceCheck, "inline data are marked encrypted, without the feature for that")
	case e.enc == 0 && encrypted && !hole && e.kind != extPrealloc:
		found("extent-plaintext", image.Error, "copy the file and remove this one", "the extent at offset %d is not encrypted, in an encrypted file", e.off)
	case e.enc == 0 || e.kind == extInline:
	case e.context == "":
		found("extent-context-missing", image.Error, "fsenc fsck --repair --key-file takes it from another reference to the same blocks",
			"no context for the extent at offset %d: kernels answer EIO", e.off)
	case len(e.context) < contextSize || len(e.context) > maxContext || e.context[0] != extCtxFormat:
		found("extent-context-invalid", image.Error, restoreAdvice, "the context for offset %d has %d bytes and format %d", e.off, len(e.context), e.context[0])
	case len(inode) == ctxSize && (e.context[1] != inode[offCtxMode] || e.context[offExtCtxID:offExtNonce] != string(inode[offCtxID:offCtxID+16])):
		found("extent-context-foreign", image.Error, restoreAdvice, "the context for offset %d has another key or mode than the file: kernels answer EINVAL", e.off)
	}
}

const restoreAdvice = "restore the file from a backup"
