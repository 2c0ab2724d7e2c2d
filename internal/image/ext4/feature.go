package ext4

import (
	"fmt"
	"math/bits"

	"fsenc/internal/image"
)

// s_feature_compat.
const (
	compatHasJournal   = 0x4
	compatExtAttr      = 0x8
	compatResizeInode  = 0x10
	compatDirIndex     = 0x20
	compatSparseSuper2 = 0x200
	compatFastCommit   = 0x400
	compatStableInodes = 0x800
	compatOrphanFile   = 0x1000
)

// s_feature_incompat.
const (
	incompatFiletype   = 0x2
	incompatRecover    = 0x4 // needs_recovery
	incompatJournalDev = 0x8
	incompatMetaBg     = 0x10
	incompatExtents    = 0x40
	incompat64bit      = 0x80
	incompatMMP        = 0x100
	incompatFlexBg     = 0x200
	incompatEaInode    = 0x400
	incompatCsumSeed   = 0x2000
	incompatLargeDir   = 0x4000
	incompatInlineData = 0x8000
	incompatEncrypt    = 0x10000
	incompatCasefold   = 0x20000

	// incompatEncInline says that encrypted files may lie inside inodes. It is
	// this project's own: no kernel and no checker opens such an image.
	incompatEncInline = 0x40000000

	// incompatUnfinished says that a conversion was interrupted. It is this
	// project's own too, set in the primary superblock only, and makes every
	// kernel and checker refuse the image until the conversion is finished.
	incompatUnfinished = 0x80000000
)

// s_feature_ro_compat.
const (
	roSparseSuper   = 0x1
	roLargeFile     = 0x2
	roHugeFile      = 0x8
	roGdtCsum       = 0x10 // uninit_bg
	roDirNlink      = 0x20
	roExtraIsize    = 0x40
	roQuota         = 0x100
	roBigalloc      = 0x200
	roMetadataCsum  = 0x400
	roReadonly      = 0x1000
	roProject       = 0x2000
	roSharedBlocks  = 0x4000
	roVerity        = 0x8000
	roOrphanPresent = 0x10000
)

// What may be set in an image that is written to. Incompat bits outside keep
// an image from being read as well.
const (
	okCompat = compatHasJournal | compatExtAttr | compatResizeInode | compatDirIndex |
		compatSparseSuper2 | compatFastCommit | compatStableInodes | compatOrphanFile
	okIncompat = incompatFiletype | incompatRecover | incompatMetaBg | incompatExtents |
		incompat64bit | incompatMMP | incompatFlexBg | incompatEaInode | incompatCsumSeed |
		incompatLargeDir | incompatInlineData | incompatEncrypt | incompatCasefold |
		incompatEncInline | incompatUnfinished
	okRO = roSparseSuper | roLargeFile | roHugeFile | roGdtCsum | roDirNlink | roExtraIsize |
		roQuota | roBigalloc | roMetadataCsum | roProject | roVerity | roOrphanPresent
)

// The names of the bits as dumpe2fs prints them, in its order.
var (
	compatNames = map[uint32]string{
		0x1: "dir_prealloc", 0x2: "imagic_inodes", compatHasJournal: "has_journal",
		compatExtAttr: "ext_attr", compatResizeInode: "resize_inode",
		compatDirIndex: "dir_index", 0x40: "lazy_bg", 0x100: "snapshot_bitmap",
		compatSparseSuper2: "sparse_super2", compatFastCommit: "fast_commit",
		compatStableInodes: "stable_inodes", compatOrphanFile: "orphan_file",
	}
	incompatNames = map[uint32]string{
		0x1: "compression", incompatFiletype: "filetype", incompatRecover: "needs_recovery",
		incompatJournalDev: "journal_dev", incompatMetaBg: "meta_bg",
		incompatExtents: "extent", incompat64bit: "64bit", incompatMMP: "mmp",
		incompatFlexBg: "flex_bg", incompatEaInode: "ea_inode", 0x1000: "dirdata",
		incompatCsumSeed: "metadata_csum_seed", incompatLargeDir: "large_dir",
		incompatInlineData: "inline_data", incompatEncrypt: "encrypt",
		incompatCasefold: "casefold", incompatEncInline: "encrypted_inline_data",
		incompatUnfinished: "fsenc_unfinished",
	}
	roNames = map[uint32]string{
		roSparseSuper: "sparse_super", roLargeFile: "large_file", roHugeFile: "huge_file",
		roGdtCsum: "uninit_bg", roDirNlink: "dir_nlink", roExtraIsize: "extra_isize",
		roQuota: "quota", roBigalloc: "bigalloc", roMetadataCsum: "metadata_csum",
		0x800: "replica", roReadonly: "read-only", roProject: "project",
		roSharedBlocks: "shared_blocks", roVerity: "verity",
		roOrphanPresent: "orphan_present",
	}
)

// featureWord is one of the three words of feature bits.
type featureWord struct {
	off    int // in the superblock
	kind   string
	letter byte // in names of bits without one: FEATURE_I30
	names  map[uint32]string
	ok     uint32
}

var featureWords = [3]featureWord{
	{offCompat, "compat", 'C', compatNames, okCompat},
	{offIncompat, "incompat", 'I', incompatNames, okIncompat},
	{offROCompat, "ro_compat", 'R', roNames, okRO},
}

// name returns the name of one bit of w.
func (w *featureWord) name(bit uint32) string {
	if n, ok := w.names[bit]; ok {
		return n
	}
	return fmt.Sprintf("FEATURE_%c%d", w.letter, bits.TrailingZeros32(bit))
}

// features lists the names of all bits that are set, lowest first.
func (sb *super) features() []string {
	var list []string
	for i := range featureWords {
		w := &featureWords[i]
		for v := sb.u32(w.off); v != 0; v &= v - 1 {
			list = append(list, w.name(v&-v))
		}
	}
	return list
}

// checkFeatures decides whether an image with these features can be opened.
// Reading takes any compat and ro_compat bit, as the kernel does for a
// read-only mount; writing takes what okCompat, okIncompat and okRO hold.
func (sb *super) checkFeatures(write bool) error {
	for i := range featureWords {
		w := &featureWords[i]
		if w.off != offIncompat && !write {
			continue
		}
		if bad := sb.u32(w.off) &^ w.ok; bad != 0 {
			bit := bad & -bad
			return fmt.Errorf("%w: %s feature %s (%#x)", image.ErrUnsupported, w.kind, w.name(bit), bit)
		}
	}
	if sb.hasRO(roBigalloc) && !sb.hasIncompat(incompatExtents) {
		return fmt.Errorf("%w: bigalloc without extents", image.ErrUnsupported)
	}
	return nil
}
