package btrfs

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash/crc32"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/crypto/blake2b"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// Fields of struct btrfs_super_block.
const (
	superSize  = 4096
	superMagic = "_BHRfS_M"

	offCsum       = 0   // 32 bytes, of what follows
	offFsid       = 32  // 16 bytes
	offBytenr     = 48  // le64: physical, of this copy
	offFlags      = 56  // le64
	offMagic      = 64  // 8 bytes
	offGeneration = 72  // le64
	offRoot       = 80  // le64: logical, of the root tree
	offChunkRoot  = 88  // le64
	offLogRoot    = 96  // le64, 0 if there is none
	offTotalBytes = 112 // le64
	offBytesUsed  = 120 // le64
	offNumDevices = 136 // le64
	offSectorSize = 144 // le32
	offNodeSize   = 148 // le32
	offArraySize  = 160 // le32 sys_chunk_array_size
	offChunkGen   = 164 // le64 chunk_root_generation
	offCompatRO   = 180 // le64
	offIncompat   = 188 // le64
	offCsumType   = 196 // le16
	offRootLevel  = 198 // u8
	offChunkLevel = 199 // u8
	offDevItem    = 201 // 98 bytes
	offLabel      = 299 // 256 bytes
	offCacheGen   = 555 // le64 cache_generation
	offMetaUUID   = 571 // 16 bytes
	offMarkID     = 700 // 16 bytes of reserved space: id of an unfinished conversion
	offChunkArray = 811 // 2048 bytes
	chunkArrayMax = 2048
	offBackups    = 2859 // 4 x 168 bytes
	backupSize    = 168
	backups       = 4
)

// Fields of struct btrfs_dev_item.
const (
	offDevID    = 0  // le64
	offDevTotal = 8  // le64 total_bytes
	offDevUsed  = 16 // le64 bytes_used
	offDevUUID  = 66 // 16 bytes
	offDevFsid  = 82 // 16 bytes
	devItemSize = 98
)

// superAddrs are the places of the superblock and its copies.
var superAddrs = [...]int64{64 << 10, 64 << 20, 256 << 30}

// Features.
const (
	incompatMixedBackref = 1 << 0
	incompatDefault      = 1 << 1
	incompatMixedGroups  = 1 << 2
	incompatExtendedIref = 1 << 6
	incompatRaid56       = 1 << 7
	incompatSkinny       = 1 << 8
	incompatNoHoles      = 1 << 9
	incompatMetadataUUID = 1 << 10
	incompatEncrypt      = 1 << 15
	incompatSimpleQuota  = 1 << 16
	incompatInline       = 1 << 60 // ours: encrypted inline extents
	incompatUnfinished   = 1 << 61 // ours

	okIncompat = (1<<16-1)&^(1<<12|1<<13|1<<14) | incompatSimpleQuota | incompatInline | incompatUnfinished

	roFreeSpace      = 1 << 0
	roFreeSpaceValid = 1 << 1
	roVerity         = 1 << 2
	roBlockGroupTree = 1 << 3
	okRO             = roFreeSpace | roFreeSpaceValid | roVerity | roBlockGroupTree
)

var incompatNames = map[uint64]string{
	1 << 0: "mixed-backref", 1 << 1: "default-subvol", 1 << 2: "mixed-groups", 1 << 3: "compress-lzo", 1 << 4: "compress-zstd",
	1 << 5: "big-metadata", 1 << 6: "extref", 1 << 7: "raid56", 1 << 8: "skinny-metadata", 1 << 9: "no-holes",
	1 << 10: "metadata-uuid", 1 << 11: "raid1c34", 1 << 12: "zoned", 1 << 13: "extent-tree-v2", 1 << 14: "raid-stripe-tree",
	incompatEncrypt: "encrypt", incompatSimpleQuota: "squota", 1 << 17: "remap-tree",
	incompatInline: "encrypted_inline_data", incompatUnfinished: "fsenc_unfinished",
}

var roNames = map[uint64]string{
	roFreeSpace: "free-space-tree", roFreeSpaceValid: "free-space-tree-valid", roVerity: "verity", roBlockGroupTree: "block-group-tree",
}

// badFlags are superblock flags with which nothing is written: errors, seeds,
// dumps, changes under way.
const badFlags = 1<<2 | 1<<32 | 1<<33 | 1<<34 | 1<<35 | 1<<36 | 1<<38 | 1<<39 | 1<<40

// super is a superblock, a view of its bytes.
type super struct{ raw []byte }

func (sb *super) u16(off int) uint16      { return le.Uint16(sb.raw[off:]) }
func (sb *super) u32(off int) uint32      { return le.Uint32(sb.raw[off:]) }
func (sb *super) u64(off int) uint64      { return le.Uint64(sb.raw[off:]) }
func (sb *super) set64(off int, v uint64) { le.PutUint64(sb.raw[off:], v) }
func (sb *super) has(bit uint64) bool     { return sb.u64(offIncompat)&bit != 0 }
func (sb *super) hasRO(bit uint64) bool   { return sb.u64(offCompatRO)&bit != 0 }
func (sb *super) devItem() []byte         { return sb.raw[offDevItem:][:devItemSize] }
func (sb *super) uuid() [16]byte          { return [16]byte(sb.raw[offFsid:]) }

// treeUUID is what headers of tree blocks hold.
func (sb *super) treeUUID() []byte {
	if sb.has(incompatMetadataUUID) {
		return sb.raw[offMetaUUID:][:16]
	}
	return sb.raw[offFsid:][:16]
}

// summer is one of the checksums.
type summer struct {
	name string
	size int
	sum  func(dst, p []byte)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// summers are numbered as csum_type numbers them.
var summers = [...]summer{
	{"crc32c", 4, func(dst, p []byte) { le.PutUint32(dst, crc32.Checksum(p, castagnoli)) }},
	{"xxhash64", 8, func(dst, p []byte) { le.PutUint64(dst, xxhash.Sum64(p)) }},
	{"sha256", 32, func(dst, p []byte) { s := sha256.Sum256(p); copy(dst, s[:]) }},
	{"blake2b", 32, func(dst, p []byte) { s := blake2b.Sum256(p); copy(dst, s[:]) }},
}

// sumOf is the checksum of a structure that begins with one of 32 bytes.
func (s *summer) sumOf(b []byte) (out [32]byte) {
	s.sum(out[:], b[32:])
	return out
}

func (s *summer) good(b []byte) bool {
	want := s.sumOf(b)
	return bytes.Equal(b[:s.size], want[:s.size])
}

// seal stores the checksum of a structure that begins with it.
func (s *summer) seal(b []byte) {
	want := s.sumOf(b)
	copy(b[:32], want[:])
}

func superError(format string, a ...any) error {
	return &image.CorruptError{What: "superblock", Why: fmt.Sprintf(format, a...)}
}

// readSuper reads the first superblock that is sound. Only the first copy is one
// that a kernel mounts: copy tells which it is.
func readSuper(s store.Store) (sb *super, copy int, err error) {
	var first error
	var best *super
	for i, at := range superAddrs {
		if at+superSize > s.Size() {
			break
		}
		c := &super{raw: make([]byte, superSize)}
		if err := store.ReadFull(s, c.raw, at); err != nil {
			return nil, 0, err
		}
		if string(c.raw[offMagic:][:8]) != superMagic {
			if first == nil {
				first = image.ErrUnknown
			}
			continue
		}
		if err := c.verify(at); err != nil {
			if first == nil || first == image.ErrUnknown {
				first = fmt.Errorf("copy %d: %w", i, err)
			}
			continue
		}
		if i == 0 {
			return c, 0, nil
		}
		if best == nil || c.u64(offGeneration) > best.u64(offGeneration) {
			best, copy = c, i
		}
	}
	switch {
	case best != nil:
		return best, copy, nil
	case first == nil:
		first = image.ErrUnknown
	}
	return nil, 0, first
}

// verify checks a superblock that was read at a place.
func (sb *super) verify(at int64) error {
	t := sb.u16(offCsumType)
	if int(t) >= len(summers) {
		return fmt.Errorf("%w: checksum type %d", image.ErrUnsupported, t)
	}
	ss, ns := sb.u32(offSectorSize), sb.u32(offNodeSize)
	pow := func(n uint32) bool { return n >= 4096 && n <= 65536 && n&(n-1) == 0 }
	dev := sb.devItem()
	switch {
	case !summers[t].good(sb.raw):
		return superError("checksum %x, want %x", sb.raw[:summers[t].size], summers[t].sumOf(sb.raw))
	case sb.u64(offBytenr) != uint64(at):
		return superError("says that it lies at %d, lies at %d", sb.u64(offBytenr), at)
	case !pow(ss) || !pow(ns) || ss > ns:
		return superError("sectors of %d and nodes of %d bytes", ss, ns)
	case sb.raw[offRootLevel] >= maxLevel || sb.raw[offChunkLevel] >= maxLevel:
		return superError("trees of %d and %d levels", sb.raw[offRootLevel], sb.raw[offChunkLevel])
	case sb.u32(offArraySize) > chunkArrayMax:
		return superError("array of %d bytes", sb.u32(offArraySize))
	case le.Uint64(dev[offDevTotal:]) == 0 || sb.u64(offTotalBytes) < le.Uint64(dev[offDevTotal:]):
		return superError("%d bytes, of which %d are on this device", sb.u64(offTotalBytes), le.Uint64(dev[offDevTotal:]))
	case !bytes.Equal(dev[offDevFsid:][:16], sb.raw[offFsid:][:16]) && !bytes.Equal(dev[offDevFsid:][:16], sb.treeUUID()):
		return superError("belongs to a device of another filesystem")
	}
	return nil
}

// checkFeatures decides whether the filesystem can be read, or written to.
func (sb *super) checkFeatures(write bool) error {
	if !sb.has(incompatMixedBackref) {
		return fmt.Errorf("%w: a btrfs of before 2009", image.ErrUnsupported)
	}
	if bad := sb.u64(offIncompat) &^ okIncompat; bad != 0 {
		return fmt.Errorf("%w: the feature %s", image.ErrUnsupported, bitName(bad, incompatNames))
	}
	if n := sb.u64(offNumDevices); n != 1 {
		return fmt.Errorf("%w: a filesystem of %d devices", image.ErrUnsupported, n)
	}
	if !write {
		return nil
	}
	if bad := sb.u64(offCompatRO) &^ okRO; bad != 0 {
		return fmt.Errorf("%w: writing with the feature %s", image.ErrUnsupported, bitName(bad, roNames))
	}
	if sb.has(incompatSimpleQuota) {
		return fmt.Errorf("%w: writing with the feature squota", image.ErrUnsupported)
	}
	if bad := sb.u64(offFlags) & badFlags; bad != 0 {
		return fmt.Errorf("%w: flags %#x in the superblock (errors, a seed, or a change under way): run btrfs check", image.ErrNeedsRecovery, bad)
	}
	if sb.hasRO(roFreeSpace) && !sb.hasRO(roFreeSpaceValid) {
		return fmt.Errorf("%w: the free space tree is not valid", image.ErrNeedsRecovery)
	}
	return nil
}

// bitName names the lowest bit of a word.
func bitName(word uint64, names map[uint64]string) string {
	for i := range 64 {
		if bit := uint64(1) << i; word&bit != 0 {
			if n, ok := names[bit]; ok {
				return n
			}
			return fmt.Sprintf("bit %d", i)
		}
	}
	return "none"
}

// features lists what is set.
func (sb *super) features() []string {
	var out []string
	for _, w := range []struct {
		word  uint64
		names map[uint64]string
	}{{sb.u64(offIncompat), incompatNames}, {sb.u64(offCompatRO), roNames}} {
		for i := range 64 {
			if bit := uint64(1) << i; w.word&bit != 0 {
				out = append(out, bitName(bit, w.names))
			}
		}
	}
	return out
}
