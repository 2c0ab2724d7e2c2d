package f2fs

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"fsenc/internal/image"
)

// sampleImage is a small sound image with an encrypted tree and the same in plain.
const sampleImage = "f2fs-check"

// What keeps an image from being written or read, and what is said then.
func TestRefusals(t *testing.T) {
	feature := func(bits uint32) func(*damager) {
		return func(d *damager) { d.super(func(sb *super) { sb.set32(offFeature, sb.u32(offFeature)|bits) }) }
	}
	word := func(off int, v uint32) func(*damager) {
		return func(d *damager) { d.super(func(sb *super) { sb.set32(off, v) }) }
	}
	flags := func(set, clear uint32) func(*damager) { return func(d *damager) { d.setFlags(set, clear) } }
	field := func(off int, v uint32) func(*damager) {
		return func(d *damager) { d.pack(func(c *checkpoint) { le.PutUint32(c.head[off:], v) }) }
	}
	unsupported, recovery, corrupt := image.ErrUnsupported, image.ErrNeedsRecovery, image.ErrCorrupt
	for _, tt := range []struct {
		name        string
		edit        func(*damager)
		write, read error
		says        string
	}{
		{"unknown feature", feature(1 << 20), unsupported, unsupported, "0x100000"},
		{"zoned", feature(featBlkzoned), unsupported, nil, "blkzoned"},
		{"read-only", feature(featRO), unsupported, nil, "ro"},
		{"alias", feature(featDeviceAlias), unsupported, nil, "device_alias"},
		{"packed_ssa", feature(0x10000), nil, nil, ""},
		{"encrypted inline data", feature(featInlineEncrypt), nil, nil, ""},
		{"encoding", feature(featCasefold), unsupported, unsupported, "encoding 0"},
		{"devices", func(d *damager) {
			d.super(func(sb *super) { copy(sb.raw[offDevices:], "/dev/vdb\x00rest") })
		}, unsupported, unsupported, `"/dev/vdb"`},
		{"no magic", word(offMagic, 1), image.ErrUnknown, image.ErrUnknown, ""},
		{"blocks of 16 KiB", word(offLogBlock, 14), unsupported, unsupported, "16384 bytes"},
		{"blocks of 1 KiB", word(offLogBlock, 10), corrupt, corrupt, "2^10 bytes"},
		{"sectors", word(offLogSector, 13), corrupt, corrupt, "sectors"},
		{"segments", word(offLogSegment, 8), corrupt, corrupt, "2^8 blocks"},
		{"unfinished", word(offLogSegment, markedLogSegment), image.ErrUnfinished, image.ErrUnfinished, ""},
		{"root", word(offRootIno, 4), corrupt, corrupt, "inodes 4, 1 and 2"},
		{"areas apart", word(offNATAddr, 1), corrupt, corrupt, "NAT area at block 1"},
		{"huge SIT", word(offSegsSIT, 0xfffffffe), corrupt, corrupt, "NAT area"},
		{"huge main area", word(offSegsMain, 0xffffffff), corrupt, corrupt, "main area"},
		{"no main area", word(offSegsMain, 0), corrupt, corrupt, "sections"},
		{"few segments", word(offSegmentCount, 8), corrupt, corrupt, "main area ends"},
		{"sections", word(offSegsPerSec, 0), corrupt, corrupt, "sections"},
		{"payload", word(offCkptPayload, 504), corrupt, corrupt, "payload"},

		{"not unmounted", flags(0, ckptUmount), recovery, recovery, "not unmounted"},
		{"orphans", flags(ckptOrphans, 0), recovery, recovery, "orphans"},
		{"error", flags(ckptError, 0), recovery, nil, "fsck.f2fs"},
		{"fsck", flags(ckptFsck, 0), recovery, nil, "fsck.f2fs"},
		{"quota", flags(ckptQuotaFsck, 0), recovery, nil, "quota"},
		{"disabled", flags(ckptDisabled, 0), recovery, nil, "disabled"},
		{"disabled quickly", flags(ckptDisabledFast, 0), recovery, nil, "disabled"},
		{"resize", flags(ckptResize, 0), recovery, nil, "resize"},

		{"bitmap of SIT", field(offSITBytes, 128), corrupt, corrupt, "SIT bitmap of 128"},
		{"bitmap of NAT", field(offNATBytes, 0), corrupt, corrupt, "NAT bitmap of 0"},
		{"start of summaries", field(offPackStartSum, 506), corrupt, corrupt, "summaries at block 506"},
		{"no reserve", field(offReservedSegs, 0), corrupt, corrupt, "0 reserved"},
		{"too many blocks", field(offValidBlocks, 1<<20), corrupt, corrupt, "in use"},
		{"too many nodes", field(offValidNodes, 1<<24), corrupt, corrupt, "nodes"},
		{"other count of nodes", field(offValidNodes, 40), corrupt, corrupt, "40 nodes, segments of nodes have"},
		{"segment of a log", field(offNodeSegno, 1<<20), corrupt, corrupt, "log 3"},
		{"two logs in a segment", func(d *damager) {
			d.pack(func(c *checkpoint) { copy(c.head[offDataSegno:], c.head[offNodeSegno:][:4]) })
		}, corrupt, corrupt, "log 0 too"},
		{"next block in use", func(d *damager) {
			seg, next := d.fs.ckpt.curSeg(logWarmNode)
			for next--; !d.fs.segment(seg).used(uint32(next)); next-- {
			}
			d.pack(func(c *checkpoint) { le.PutUint16(c.head[offNodeBlkoff+2:], next) })
		}, corrupt, corrupt, "is in use"},
		{"large bitmap without its checksum", flags(ckptLargeNAT, 0), corrupt, corrupt, "no room"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDamager(t, sampleImage)
			tt.edit(d)
			before := bytes.Clone(d.block(1))
			_, err := Open(d, image.Options{Write: true})
			if !errors.Is(err, tt.write) || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("for writing: %v, want %v with %q", err, tt.write, tt.says)
			}
			if _, err := Open(d, image.Options{}); !errors.Is(err, tt.read) {
				t.Errorf("for reading: %v, want %v", err, tt.read)
			}
			if tt.read == recovery || tt.read == image.ErrUnfinished {
				fs, err := Open(d, image.Options{AllowDirty: true, AllowUnfinished: true})
				if err == nil {
					err = use(fs)
				}
				if err != nil {
					t.Errorf("for looking at it: %v", err)
				}
			}
			if !bytes.Equal(before, d.block(1)) {
				t.Error("opening has written")
			}
		})
	}
}

// One sound superblock is enough, whichever it is, and none is not.
func TestSuperblockCopies(t *testing.T) {
	for _, name := range []string{"f2fs-check", "f2fs-full"} { // without and with a checksum
		for n := range int64(2) {
			d := newDamager(t, name)
			d.block(n)[superOffset+offLogBlock] ^= 1
			fs, err := Open(d, image.Options{Write: true})
			if err != nil {
				t.Fatalf("%s: copy %d damaged: %v", name, n, err)
			}
			if fs.copy != int(1-n) || !findings(fs)["superblock-damaged"] {
				t.Errorf("%s: copy %d damaged: copy %d is in use, findings %v", name, n, fs.copy, findings(fs))
			}
			d.block(1 - n)[superOffset+offSegsPerSec] ^= 1
			if _, err := Open(d, image.Options{}); !errors.Is(err, image.ErrCorrupt) {
				t.Errorf("%s: both damaged: %v", name, err)
			}
		}
	}
	d := newDamager(t, "f2fs-full")
	d.block(0)[superOffset+offVolumeName] ^= 1
	if fs, err := Open(d, image.Options{}); err != nil || fs.copy != 1 {
		t.Errorf("wrong checksum in the first: %v", err)
	}
}

// The newest sound pack counts; without any the image is damaged.
func TestCheckpointPacks(t *testing.T) {
	d := newDamager(t, sampleImage)
	newest, total := d.fs.ckpt.pack, int64(d.fs.ckpt.u32(offPackTotal))
	start := func(pack int) int64 { return d.fs.geo.packStart(pack) }
	d.block(start(1 - newest))[0] ^= 1
	fs, err := Open(d, image.Options{Write: true})
	if err != nil || fs.ckpt.pack != newest || !findings(fs)["checkpoint-damaged"] {
		t.Fatalf("the older damaged: %v", err)
	}
	for _, at := range []int64{start(newest), start(newest) + total - 1} {
		d.block(at)[200] ^= 1
		if _, err := Open(d, image.Options{AllowDirty: true}); !errors.Is(err, image.ErrCorrupt) || !strings.Contains(err.Error(), "no valid checkpoint") {
			t.Errorf("block %d damaged: %v", at, err)
		}
		d.block(at)[200] ^= 1
	}

	// The same pack in both places: the first counts. One version later: the second.
	d = newDamager(t, sampleImage)
	for n := range total {
		copy(d.block(start(1-newest)+n), d.block(start(newest)+n))
	}
	if fs, err = Open(d, image.Options{}); err != nil || fs.ckpt.pack != 0 {
		t.Errorf("equal packs: %v", err)
	}
	d.fs.ckpt.pack = 1
	d.pack(func(c *checkpoint) { le.PutUint64(c.head[offCkptVer:], c.version()+1) })
	if fs, err = Open(d, image.Options{}); err != nil || fs.ckpt.pack != 1 {
		t.Errorf("a later second pack: %v", err)
	}
	// Versions wrap around.
	d.pack(func(c *checkpoint) { le.PutUint64(c.head[offCkptVer:], 0) })
	d.fs.ckpt.pack = 0
	d.pack(func(c *checkpoint) { le.PutUint64(c.head[offCkptVer:], ^uint64(0)) })
	if fs, err = Open(d, image.Options{}); err != nil || fs.ckpt.pack != 1 {
		t.Errorf("versions around zero: %v", err)
	}
}

// fsck.f2fs leaves a checkpoint that says it was unmounted over nodes that the
// kernel will replay nevertheless.
func TestChainAfterFsck(t *testing.T) {
	for _, flag := range []uint32{0, ckptNoCRC} {
		d := newDamager(t, sampleImage)
		d.setFlags(flag, 0)
		fs, err := Open(d, image.Options{})
		if err != nil {
			t.Fatal(err)
		}
		seg, next := fs.ckpt.curSeg(logWarmNode)
		at, version := int64(fs.geo.blockOf(seg, uint32(next))), fs.ckpt.nodeVersion()
		if flag != 0 {
			version ^= 1 << 40 // these bits are not compared
		}
		// links writes a chain; the last node leads to next.
		links := func(n int64, flag uint32, next int64) {
			for i := range n {
				r := rawNode(d.block(at + i))
				le.PutUint64(r[offFootVer:], version)
				le.PutUint32(r[offFootFlag:], 0)
				le.PutUint32(r[offFootNext:], uint32(at+i+1))
			}
			le.PutUint32(d.block(at + n - 1)[offFootFlag:], flag)
			le.PutUint32(d.block(at + n - 1)[offFootNext:], uint32(next))
		}
		links(3, footFsync, 0)
		if _, err := Open(d, image.Options{}); !errors.Is(err, image.ErrNeedsRecovery) || !strings.Contains(err.Error(), "replayed") {
			t.Errorf("a chain below a clean checkpoint: %v", err)
		}
		if fs, err = Open(d, image.Options{AllowDirty: true}); err != nil || !findings(fs)["not-replayed"] {
			t.Errorf("findings of a chain: %v, %v", findings(fs), err)
		}
		for _, n := range []int64{1, 2, 7} {
			links(n, 0, at)
			if _, err := Open(d, image.Options{}); !errors.Is(err, image.ErrCorrupt) || !strings.Contains(err.Error(), "no end") {
				t.Errorf("a ring of %d nodes: %v", n, err)
			}
			links(n, 0, 0)
			if _, err := Open(d, image.Options{}); err != nil {
				t.Errorf("%d nodes without the mark of an fsync: %v", n, err)
			}
		}
	}
}

// An image that is shorter than its superblock says is refused, and so is less
// than a superblock.
func TestTruncated(t *testing.T) {
	img := newDamager(t, sampleImage).Bytes()
	for n, want := range map[int]error{
		0: image.ErrUnknown, 1024: image.ErrUnknown, 8191: image.ErrUnknown,
		8192: image.ErrCorrupt, 1 << 20: image.ErrCorrupt, len(img) - 4096*600: image.ErrCorrupt,
	} {
		if _, err := Open(newOverlay(img[:n:n]), image.Options{}); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v, want %v", n, err, want)
		}
	}
}
