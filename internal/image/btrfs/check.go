package btrfs

import (
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
	if isVacant(obj) {
		return
	}
	if gen := fs.sb.u64(offGeneration); r.u64(offInoGen) > gen || r.u64(offInoTrans) > gen {
		found("inode-generation", image.Error, adviceCheck, "of generation %d, changed in %d; the filesystem is of %d", r.u64(offInoGen), r.u64(offInoTrans), gen)
	}
	// What cannot be read of it is reported by who reads contexts.
	_ = fs.eachOf(t, obj, keyInodeContext, func(off uint64, _ []byte) error {
		if off != 0 {
			found("context-misplaced", image.Error, restoreAdvice, "an encryption context at offset %d, where no kernel looks", off)
		}
		return nil
	})
	fs.checkNames(t, obj, r, found)
	fs.checkXattrs(t, obj, found)
	switch r.fileType() {
	case image.TypeDirectory:
		fs.checkDir(t, obj, r, found)
	case image.TypeSymlink:
		fs.checkLink(t, obj, r, found)
	case image.TypeRegular:
		fs.checkFile(t, obj, r, found)
	}
}

func (fs *FS) checkLink(t *tree, obj uint64, r rawInode, found finder) {
	e, err := fs.inlineItem(t, obj)
	if err != nil {
		return
	}
	if e.enc != 0 {
		found("symlink-mark", image.Error, adviceCheck, "the extent of a symlink is marked encrypted: kernels look for a context")
	}
	if n := uint64(len(e.raw) - extInlineData); r.flag(inoEncrypt) && (e.compr != 0 || e.ram != n || r.u64(offInoBytes) != n) {
		found("symlink-size", image.Error, adviceCheck, "stores %d bytes, compression %d; its item says %d, the inode %d", n, e.compr, e.ram, r.u64(offInoBytes))
	}
}

// checkFile checks marks and contexts of a file's extents.
func (fs *FS) checkFile(t *tree, obj uint64, r rawInode, found finder) {
	list, err := fs.fileExtents(t, obj)
	if err != nil {
		found("mapping-damaged", image.Error, adviceCheck, "%v", err)
		return
	}
	fs.checkMapping(r, list, found)
	encrypted := r.flag(inoEncrypt)
	if v, err := fs.hasVerity(t, obj); err == nil && v && encrypted {
		found("verity-encrypted", image.Error, restoreAdvice, "has items of fs-verity, which no kernel reads in an encrypted file")
	}
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
			found("extent-contexts-differ", image.Error, adviceWhichContext, "two contexts for the extent at block %d", fs.pblk(e.disk))
		}
		byDisk[e.disk] = e.context
	}
	_ = fs.eachOf(t, obj, keyContext, func(off uint64, _ []byte) error { // damage was met before
		if !wanted[off] {
			found("extent-context-stale", image.Warning, "fsenc fsck --repair removes it: the next write there would fail",
				"a context for offset %d, where no encrypted extent is", off)
		}
		return nil
	})
}

// checkMapping checks that the extents make up the file.
func (fs *FS) checkMapping(r rawInode, list []fileExtent, found finder) {
	bytes, end := uint64(0), uint64(0)
	for i := range list {
		e := &list[i]
		if e.off > end && end < r.u64(offInoSize) && !fs.sb.has(incompatNoHoles) {
			found("mapping-gap", image.Error, adviceCheck, "no item between the offsets %d and %d, which takes the feature no-holes", end, e.off)
		}
		if e.kind == extInline || e.disk != 0 {
			bytes += e.len
		}
		if end = e.off + e.len; e.kind == extInline {
			end = uint64(fs.ss)
		}
		if v5, err := fs.layout(); err == nil && (e.appended || e.enc == 1 && e.context != "") && e.appended != v5 {
			found("layouts-mixed", image.Error, restoreAdvice, "the extent at offset %d has its context in the layout of another series", e.off)
		}
		if e.kind == extInline {
			checkInline(r, e, len(list), found)
		}
	}
	if got := r.u64(offInoBytes); got != bytes {
		found("inode-bytes", image.Error, adviceCheck, "says %d bytes, its extents have %d", got, bytes)
	}
}

// checkInline checks data inside of an item. Plain ones may have extents behind
// them, encrypted ones are all that the file has.
func checkInline(r rawInode, e *fileExtent, extents int, found finder) {
	size, n := r.u64(offInoSize), uint64(len(e.raw)-extInlineData)
	if e.compr == 0 && e.ram != n || extents == 1 && size > e.ram && e.enc == 0 {
		found("inline-size", image.Error, adviceCheck, "%d bytes of inline data, the item says %d, the file has %d", n, e.ram, size)
	}
	if e.enc == 1 && (extents > 1 || e.compr != 0 || e.ram%16 != 0 || e.ram < size || e.ram-size >= 16) {
		found("inline-size", image.Error, adviceCheck, "%d bytes of encrypted inline data, compression %d, beside %d other extents, for a file of %d",
			e.ram, e.compr, extents-1, size)
	}
}

// hasVerity reports whether a file has items of fs-verity.
func (fs *FS) hasVerity(t *tree, obj uint64) (found bool, err error) {
	for _, kind := range []uint8{keyVerityDesc, keyVerityTree} {
		e := fs.eachOf(t, obj, kind, func(uint64, []byte) error {
			found = true
			return errStop
		})
		if e != nil && e != errStop {
			return false, e
		}
	}
	return found, nil
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

const (
	restoreAdvice      = "restore the file from a backup"
	adviceWhichContext = "fsenc fsck --repair --key-file finds out which one decrypts, if the end of a file is in the extent"
)
