package f2fs

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strings"
	"unicode/utf16"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// Fields of struct f2fs_super_block, which lies at byte 1024 of blocks 0 and 1.
const (
	superOffset = 1024
	superSize   = 3072
	superMagic  = 0xf2f52010

	offMagic          = 0x000 // le32
	offLogSector      = 0x008 // le32 log_sectorsize
	offLogPerBlock    = 0x00c // le32 log_sectors_per_block
	offLogBlock       = 0x010 // le32 log_blocksize
	offLogSegment     = 0x014 // le32 log_blocks_per_seg
	offSegsPerSec     = 0x018 // le32
	offSecsPerZone    = 0x01c // le32
	offChecksumOffset = 0x020 // le32
	offBlockCount     = 0x024 // le64
	offSectionCount   = 0x02c // le32
	offSegmentCount   = 0x030 // le32
	offSegsCkpt       = 0x034 // le32 segment_count_ckpt
	offSegsSIT        = 0x038 // le32
	offSegsNAT        = 0x03c // le32
	offSegsSSA        = 0x040 // le32
	offSegsMain       = 0x044 // le32
	offSegment0       = 0x048 // le32 segment0_blkaddr
	offCkptAddr       = 0x04c // le32 cp_blkaddr
	offSITAddr        = 0x050 // le32
	offNATAddr        = 0x054 // le32
	offSSAAddr        = 0x058 // le32
	offMainAddr       = 0x05c // le32
	offRootIno        = 0x060 // le32
	offNodeIno        = 0x064 // le32
	offMetaIno        = 0x068 // le32
	offUUID           = 0x06c // 16 bytes
	offVolumeName     = 0x07c // le16[512]
	offCkptPayload    = 0x680 // le32 cp_payload
	offFeature        = 0x884 // le32
	offDevices        = 0x899 // 8 x 68 bytes, path[64] first
	offQuotaInos      = 0xab9 // le32[3]: user, group, project
	offEncoding       = 0xac6 // le16 s_encoding
	offEncodingFlags  = 0xac8 // le16
	offMarkID         = 0xb00 // 16 bytes of reserved space: id of an unfinished conversion
	offSuperChecksum  = 0xbfc // le32 crc
)

// Features, with the names that mkfs.f2fs has for them.
const (
	featEncrypt       = 0x00001
	featBlkzoned      = 0x00002
	featExtraAttr     = 0x00008
	featPrjquota      = 0x00010
	featInodeChksum   = 0x00020
	featFlexInline    = 0x00040
	featQuotaIno      = 0x00080
	featInodeCrtime   = 0x00100
	featLostFound     = 0x00200
	featVerity        = 0x00400
	featSBChksum      = 0x00800
	featCasefold      = 0x01000
	featCompression   = 0x02000
	featRO            = 0x04000
	featDeviceAlias   = 0x08000
	featInlineEncrypt = 0x20000 // proposed: encrypted inline data
)

var featureNames = []struct {
	bit  uint32
	name string
}{
	{featEncrypt, "encrypt"}, {featBlkzoned, "blkzoned"}, {0x4, "atomic_write"}, {featExtraAttr, "extra_attr"},
	{featPrjquota, "project_quota"}, {featInodeChksum, "inode_checksum"}, {featFlexInline, "flexible_inline_xattr"},
	{featQuotaIno, "quota"}, {featInodeCrtime, "inode_crtime"}, {featLostFound, "lost_found"}, {featVerity, "verity"},
	{featSBChksum, "sb_checksum"}, {featCasefold, "casefold"}, {featCompression, "compression"}, {featRO, "ro"},
	{featDeviceAlias, "device_alias"}, {0x10000, "packed_ssa"}, {featInlineEncrypt, "encrypted_inline_data"},
}

// While a conversion is unfinished both superblocks say so: the kernel has no
// mask of features that it would have to know, so the mark is a size of
// segments that kernel and fsck.f2fs refuse. Its reverse is markedLogSegment.
const (
	logSegment       = 9
	markedLogSegment = 0x66730009 // "fs", then the true value
)

// crcF2FS continues the reflected CRC-32 (polynomial 0xEDB88320) from seed over
// p, without inversion of either.
func crcF2FS(seed uint32, p []byte) uint32 { return ^crc32.Update(^seed, crc32.IEEETable, p) }

// super is one of the two superblocks, a view of its bytes.
type super struct{ raw []byte }

func (sb *super) u16(off int) uint16       { return le.Uint16(sb.raw[off:]) }
func (sb *super) u32(off int) uint32       { return le.Uint32(sb.raw[off:]) }
func (sb *super) u64(off int) uint64       { return le.Uint64(sb.raw[off:]) }
func (sb *super) set32(off int, v uint32)  { le.PutUint32(sb.raw[off:], v) }
func (sb *super) has(feature uint32) bool  { return sb.u32(offFeature)&feature != 0 }
func (sb *super) uuid() [16]byte           { return [16]byte(sb.raw[offUUID:][:16]) }
func (sb *super) marked() bool             { return sb.u32(offLogSegment) == markedLogSegment }
func (sb *super) quotaIno(kind int) uint32 { return sb.u32(offQuotaInos + 4*kind) }

// label is the volume name, UTF-16.
func (sb *super) label() string {
	var units []uint16
	for i := range 512 {
		u := sb.u16(offVolumeName + 2*i)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// features lists what is set, an unknown bit as a number.
func (sb *super) features() []string {
	var out []string
	left := sb.u32(offFeature)
	for _, f := range featureNames {
		if left&f.bit != 0 {
			out = append(out, f.name)
			left &^= f.bit
		}
	}
	if left != 0 {
		out = append(out, fmt.Sprintf("%#x", left))
	}
	return out
}

// seal computes the checksum anew, where there is one.
func (sb *super) seal() {
	if sb.has(featSBChksum) {
		sb.set32(offSuperChecksum, crcF2FS(superMagic, sb.raw[:offSuperChecksum]))
	}
}

func superError(format string, a ...any) error {
	return &image.CorruptError{What: "superblock", Why: fmt.Sprintf(format, a...)}
}

// readSupers reads both superblocks and returns the first sound one, and which
// it is. The error wraps ErrUnknown if neither has the magic.
func readSupers(s store.Store) (*super, int, error) {
	if s.Size() < 2*blockSize {
		return nil, 0, image.ErrUnknown
	}
	var first error
	found := false
	for n := range 2 {
		sb := &super{raw: make([]byte, superSize)}
		if err := store.ReadFull(s, sb.raw, int64(n*blockSize+superOffset)); err != nil {
			return nil, 0, err
		}
		if sb.u32(offMagic) != superMagic {
			if first == nil {
				first = superError("copy %d: magic %#x, want %#x", n, sb.u32(offMagic), superMagic)
			}
			continue
		}
		found = true
		err := sb.verify()
		if err == nil {
			return sb, n, nil
		}
		if first == nil || n == 1 && sb.u32(offMagic) == superMagic {
			first = fmt.Errorf("copy %d: %w", n, err)
		}
	}
	if !found {
		return nil, 0, image.ErrUnknown
	}
	return nil, 0, first
}

// verify checks one superblock: its checksum, and what the kernel insists on.
func (sb *super) verify() error {
	if sb.has(featSBChksum) {
		if off := sb.u32(offChecksumOffset); off != offSuperChecksum {
			return superError("checksum at %d, want %d", off, offSuperChecksum)
		}
		if got, want := sb.u32(offSuperChecksum), crcF2FS(superMagic, sb.raw[:offSuperChecksum]); got != want {
			return superError("checksum %#08x, want %#08x", got, want)
		}
	}
	if n := sb.u32(offLogBlock); n != blockBits {
		if n == 14 || n == 16 {
			return fmt.Errorf("%w: blocks of %d bytes", image.ErrUnsupported, 1<<n)
		}
		return superError("blocks of 2^%d bytes", n)
	}
	if a, b := sb.u32(offLogSector), sb.u32(offLogPerBlock); a < 9 || a > blockBits || a+b != blockBits {
		return superError("sectors of 2^%d bytes, 2^%d of them in a block", a, b)
	}
	if n := sb.u32(offLogSegment); n != logSegment && n != markedLogSegment {
		return superError("segments of 2^%d blocks", n)
	}
	if a, b, c := sb.u32(offRootIno), sb.u32(offNodeIno), sb.u32(offMetaIno); a != 3 || b != 1 || c != 2 {
		return superError("inodes %d, %d and %d of root, nodes and metadata", a, b, c)
	}
	return sb.verifyAreas()
}

// minSegments is the least number of segments, those of metadata included.
const minSegments = 9

// verifyAreas checks that the areas lie one behind the other and are as large as
// what they describe.
func (sb *super) verifyAreas() error {
	at := uint64(sb.u32(offSegment0))
	for _, a := range []struct {
		name     string
		off, len int
	}{
		{"checkpoint", offCkptAddr, offSegsCkpt}, {"SIT", offSITAddr, offSegsSIT}, {"NAT", offNATAddr, offSegsNAT},
		{"SSA", offSSAAddr, offSegsSSA}, {"main", offMainAddr, offSegsMain},
	} {
		if got := uint64(sb.u32(a.off)); got != at {
			return superError("%s area at block %d, want %d", a.name, got, at)
		}
		at += uint64(sb.u32(a.len)) * segBlocks
	}
	main, perSec := uint64(sb.u32(offSegsMain)), uint64(sb.u32(offSegsPerSec))
	sit, nat := uint64(sb.u32(offSegsSIT)), uint64(sb.u32(offSegsNAT))
	switch {
	case at > uint64(sb.u32(offSegment0))+uint64(sb.u32(offSegmentCount))*segBlocks || at > sb.u64(offBlockCount):
		return superError("main area ends at block %d, behind the end", at)
	case sb.u32(offSegsCkpt) != 2 || sit == 0 || sit%2 != 0 || nat == 0 || nat%2 != 0:
		return superError("%d segments of checkpoints, %d of SIT, %d of NAT", sb.u32(offSegsCkpt), sit, nat)
	case perSec == 0 || sb.u32(offSecsPerZone) == 0 || uint64(sb.u32(offSectionCount))*perSec != main:
		return superError("%d sections of %d segments, %d segments in all", sb.u32(offSectionCount), perSec, main)
	case sb.u32(offSegmentCount) < minSegments || main == 0 || main > sit/2*segBlocks*sitPerBlock || !sb.has(featRO) && main > uint64(sb.u32(offSegsSSA))*segBlocks:
		return superError("%d segments in the main area", main)
	case sb.u32(offCkptPayload) >= segBlocks-8:
		return superError("%d payload blocks in a checkpoint", sb.u32(offCkptPayload))
	}
	return nil
}

// Features that can be read, and those that can be written to besides.
const (
	featReadable = featEncrypt | 0x4 | featExtraAttr | featPrjquota | featInodeChksum | featFlexInline | featQuotaIno |
		featInodeCrtime | featLostFound | featVerity | featSBChksum | featCasefold | featCompression | featRO |
		featDeviceAlias | featBlkzoned | 0x10000 | featInlineEncrypt
	featNotWritable = featRO | featDeviceAlias | featBlkzoned
)

// checkFeatures is stricter than kernel and fsck.f2fs, which ignore bits that
// they do not know.
func (sb *super) checkFeatures(write bool) error {
	if unknown := sb.u32(offFeature) &^ featReadable; unknown != 0 {
		return fmt.Errorf("%w: unknown feature bits %#x", image.ErrUnsupported, unknown)
	}
	if sb.raw[offDevices] != 0 {
		path, _, _ := bytes.Cut(sb.raw[offDevices:][:64], []byte{0})
		return fmt.Errorf("%w: a filesystem over several devices (%q is one)", image.ErrUnsupported, path)
	}
	if sb.has(featCasefold) && sb.u16(offEncoding) != 1 {
		return fmt.Errorf("%w: character encoding %d", image.ErrUnsupported, sb.u16(offEncoding))
	}
	if no := sb.u32(offFeature) & featNotWritable; write && no != 0 {
		var names []string
		for _, f := range featureNames {
			if no&f.bit != 0 {
				names = append(names, f.name)
			}
		}
		return fmt.Errorf("%w: writing with the feature %s", image.ErrUnsupported, strings.Join(names, ", "))
	}
	return nil
}

// geometry is what the superblock says, checked.
type geometry struct {
	ckpt, sit, nat, ssa, main uint64 // first blocks of the areas
	end                       uint64 // behind the main area
	segs                      uint32 // in the main area
	perSec                    uint32 // segments in a section
	sitSegs, natSegs          uint32 // both copies
	payload                   uint32
	nids                      uint64 // numbers of nodes, from 0
}

func newGeometry(sb *super, size int64) (geometry, error) {
	g := geometry{
		ckpt: uint64(sb.u32(offCkptAddr)), sit: uint64(sb.u32(offSITAddr)), nat: uint64(sb.u32(offNATAddr)),
		ssa: uint64(sb.u32(offSSAAddr)), main: uint64(sb.u32(offMainAddr)),
		segs: sb.u32(offSegsMain), perSec: sb.u32(offSegsPerSec),
		sitSegs: sb.u32(offSegsSIT), natSegs: sb.u32(offSegsNAT), payload: sb.u32(offCkptPayload),
	}
	g.end = g.main + uint64(g.segs)*segBlocks
	g.nids = min(uint64(g.natSegs)/2*segBlocks*natPerBlock, 1<<32)
	if g.end > uint64(size)/blockSize {
		return g, superError("%d blocks, the image has %d", g.end, uint64(size)/blockSize)
	}
	return g, nil
}

// segment and offset of a block of the main area, and back.
func (g *geometry) segOf(p image.Pblk) (seg uint32, off uint32) {
	n := uint64(p) - g.main
	return uint32(n / segBlocks), uint32(n % segBlocks)
}

func (g *geometry) blockOf(seg, off uint32) image.Pblk {
	return image.Pblk(g.main + uint64(seg)*segBlocks + uint64(off))
}

// inMain reports whether p is a block of the main area.
func (g *geometry) inMain(p image.Pblk) bool { return uint64(p) >= g.main && uint64(p) < g.end }
