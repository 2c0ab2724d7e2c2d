package f2fs

import (
	"bytes"
	"fmt"

	"fsenc/internal/image"
	"fsenc/internal/store"
)

// Fields of struct f2fs_checkpoint, the first block of a pack and a copy of it
// as the last.
const (
	offCkptVer      = 0   // le64 checkpoint_ver
	offUserBlocks   = 8   // le64 user_block_count
	offValidBlocks  = 16  // le64 valid_block_count
	offReservedSegs = 24  // le32 rsvd_segment_count
	offOverprovSegs = 28  // le32
	offFreeSegs     = 32  // le32 free_segment_count
	offNodeSegno    = 36  // le32[8] cur_node_segno
	offNodeBlkoff   = 68  // le16[8]
	offDataSegno    = 84  // le32[8]
	offDataBlkoff   = 116 // le16[8]
	offCkptFlags    = 132 // le32 ckpt_flags
	offPackTotal    = 136 // le32 cp_pack_total_block_count
	offPackStartSum = 140 // le32 cp_pack_start_sum
	offValidNodes   = 144 // le32
	offValidInodes  = 148 // le32
	offNextFreeNid  = 152 // le32
	offSITBytes     = 156 // le32 sit_ver_bitmap_bytesize
	offNATBytes     = 160 // le32
	offCkptChksum   = 164 // le32 checksum_offset
	offAllocType    = 176 // u8[16]: data 0 to 2, node 3 to 5
	offBitmaps      = 192

	ckptChksumDefault = 4092
	largeNATOffset    = 196 // of the NAT bitmap with ckptLargeNAT
)

// ckpt_flags.
const (
	ckptUmount       = 0x0001
	ckptOrphans      = 0x0002
	ckptCompactSum   = 0x0004
	ckptError        = 0x0008
	ckptFsck         = 0x0010
	ckptFastboot     = 0x0020
	ckptCRCRecovery  = 0x0040
	ckptNATBits      = 0x0080
	ckptTrimmed      = 0x0100
	ckptNoCRC        = 0x0200 // NOCRC_RECOVERY
	ckptLargeNAT     = 0x0400
	ckptQuotaFsck    = 0x0800
	ckptDisabled     = 0x1000
	ckptDisabledFast = 0x2000
	ckptResize       = 0x4000
)

// The six logs, as alloc_type and SIT number them.
const (
	logHotData = iota
	logWarmData
	logColdData
	logHotNode
	logWarmNode
	logColdNode
	logs
)

func isNodeLog(log int) bool { return log >= logHotNode }

// checkpoint is the newest valid pack. head is a view of its first block,
// payload of the blocks behind it.
type checkpoint struct {
	pack    int // 0 or 1: which of the two it is
	head    []byte
	payload []byte
	sums    [logs][]byte // summary blocks of the current segments
}

func (c *checkpoint) u16(off int) uint16   { return le.Uint16(c.head[off:]) }
func (c *checkpoint) u32(off int) uint32   { return le.Uint32(c.head[off:]) }
func (c *checkpoint) u64(off int) uint64   { return le.Uint64(c.head[off:]) }
func (c *checkpoint) version() uint64      { return c.u64(offCkptVer) }
func (c *checkpoint) flags() uint32        { return c.u32(offCkptFlags) }
func (c *checkpoint) is(flag uint32) bool  { return c.flags()&flag != 0 }
func (c *checkpoint) chksumOffset() uint32 { return c.u32(offCkptChksum) }
func (c *checkpoint) crc() uint32          { return c.u32(int(c.chksumOffset())) }

// curSeg is the segment that a log writes to, and its next free block.
func (c *checkpoint) curSeg(log int) (seg uint32, next uint16) {
	if isNodeLog(log) {
		i := log - logHotNode
		return c.u32(offNodeSegno + 4*i), c.u16(offNodeBlkoff + 2*i)
	}
	return c.u32(offDataSegno + 4*log), c.u16(offDataBlkoff + 2*log)
}

// nodeVersion is what footers of nodes written since hold: recovery looks for it.
func (c *checkpoint) nodeVersion() uint64 {
	v := c.version()
	if c.is(ckptCRCRecovery) {
		v |= uint64(c.crc()) << 32
	}
	return v
}

// bitmaps returns the version bitmaps: which copy of each block of SIT and NAT
// is the current one.
func (c *checkpoint) bitmaps() (sit, nat []byte) {
	sitLen, natLen := int(c.u32(offSITBytes)), int(c.u32(offNATBytes))
	all := append(c.head[offBitmaps:len(c.head):len(c.head)], c.payload...)
	switch {
	case c.is(ckptLargeNAT):
		all = all[largeNATOffset-offBitmaps:]
		return all[natLen:][:sitLen], all[:natLen]
	case len(c.payload) > 0:
		return c.payload[:sitLen], all[:natLen]
	}
	return all[:sitLen], all[sitLen:][:natLen]
}

// setBitmaps stores what bitmaps returned, changed.
func (c *checkpoint) setBitmaps(sit, nat []byte) {
	all := append(bytes.Clone(c.head[offBitmaps:]), c.payload...)
	head := len(c.head) - offBitmaps
	switch {
	case c.is(ckptLargeNAT):
		copy(all[largeNATOffset-offBitmaps:], nat)
		copy(all[largeNATOffset-offBitmaps+len(nat):], sit)
	case len(c.payload) > 0:
		copy(all[head:], sit)
		copy(all, nat)
	default:
		copy(all, sit)
		copy(all[len(sit):], nat)
	}
	copy(c.head[offBitmaps:], all[:head])
	copy(c.payload, all[head:])
}

// ckptCRC is the checksum of a checkpoint block that has it at off.
func ckptCRC(b []byte, off int) uint32 {
	c := crcF2FS(superMagic, b[:off])
	if off < ckptChksumDefault {
		c = crcF2FS(c, b[off+4:blockSize])
	}
	return c
}

func packError(pack int, format string, a ...any) error {
	return &image.CorruptError{What: fmt.Sprintf("checkpoint pack %d", pack+1), Why: fmt.Sprintf(format, a...)}
}

// packStart is the first block of a pack.
func (g *geometry) packStart(pack int) int64 { return int64(g.ckpt) + int64(pack)*segBlocks }

// readPack reads and verifies a pack, without its summaries.
func readPack(s store.Store, g *geometry, pack int) (*checkpoint, error) {
	start := g.packStart(pack)
	c := &checkpoint{pack: pack, head: make([]byte, blockSize), payload: make([]byte, int(g.payload)*blockSize)}
	last := make([]byte, blockSize)
	if err := store.ReadFull(s, c.head, start*blockSize); err != nil {
		return nil, err
	}
	if err := checkCkptBlock(c.head, pack); err != nil {
		return nil, err
	}
	total := c.u32(offPackTotal)
	if total < 3 || total > segBlocks || total < 2+g.payload {
		return nil, packError(pack, "%d blocks", total)
	}
	if err := store.ReadFull(s, last, (start+int64(total)-1)*blockSize); err != nil {
		return nil, err
	}
	if err := checkCkptBlock(last, pack); err != nil {
		return nil, err
	}
	if a, b := c.version(), le.Uint64(last[offCkptVer:]); a != b {
		return nil, packError(pack, "begins as version %d, ends as %d", a, b)
	}
	if err := store.ReadFull(s, c.payload, (start+1)*blockSize); err != nil {
		return nil, err
	}
	return c, nil
}

func checkCkptBlock(b []byte, pack int) error {
	off := le.Uint32(b[offCkptChksum:])
	if off < offBitmaps || off > ckptChksumDefault || off%4 != 0 {
		return packError(pack, "checksum at %d", off)
	}
	if got, want := le.Uint32(b[off:]), ckptCRC(b, int(off)); got != want {
		return packError(pack, "checksum %#08x, want %#08x", got, want)
	}
	return nil
}

// readCheckpoint finds the newest valid pack; of equal ones it is the first.
func readCheckpoint(s store.Store, sb *super, g *geometry) (*checkpoint, error) {
	a, errA := readPack(s, g, 0)
	b, errB := readPack(s, g, 1)
	c := a
	switch {
	case errA != nil && errB != nil:
		return nil, fmt.Errorf("no valid checkpoint: %w; %w", errA, errB)
	case errA != nil, errB == nil && int64(b.version()-a.version()) > 0:
		c = b
	}
	if err := c.verify(sb, g); err != nil {
		return nil, err
	}
	return c, c.readSums(s, g)
}

// verify checks what the kernel insists on at mount.
func (c *checkpoint) verify(sb *super, g *geometry) error {
	bad := func(format string, a ...any) error { return packError(c.pack, format, a...) }
	if a, b := uint64(c.u32(offSITBytes)), uint64(g.sitSegs)/2*(segBlocks/8); a != b {
		return bad("SIT bitmap of %d bytes, want %d", a, b)
	}
	if a, b := uint64(c.u32(offNATBytes)), uint64(g.natSegs)/2*(segBlocks/8); a != b {
		return bad("NAT bitmap of %d bytes, want %d", a, b)
	}
	sit, nat, room := int(c.u32(offSITBytes)), int(c.u32(offNATBytes)), len(c.head)+len(c.payload)-offBitmaps
	switch {
	case c.is(ckptLargeNAT):
		if c.chksumOffset() != offBitmaps || sit+nat > room-(largeNATOffset-offBitmaps) {
			return bad("bitmaps of %d and %d bytes have no room", sit, nat)
		}
	case len(c.payload) > 0:
		if sit > len(c.payload) || nat > ckptChksumDefault-offBitmaps {
			return bad("bitmaps of %d and %d bytes have no room", sit, nat)
		}
	case sit+nat > ckptChksumDefault-offBitmaps:
		return bad("bitmaps of %d and %d bytes have no room", sit, nat)
	}
	user, valid := c.u64(offUserBlocks), c.u64(offValidBlocks)
	limit := uint64(g.segs) * segBlocks
	if sb.has(featRO) {
		limit++ // nothing is kept back for cleaning
	}
	if user == 0 || user >= limit || valid > user {
		return bad("%d of %d blocks in use", valid, user)
	}
	if !sb.has(featRO) && (c.u32(offReservedSegs) == 0 || c.u32(offOverprovSegs) == 0) {
		return bad("%d reserved and %d overprovisioned segments", c.u32(offReservedSegs), c.u32(offOverprovSegs))
	}
	if n := uint64(c.u32(offValidNodes)); n > g.nids || uint64(c.u32(offValidInodes)) > n {
		return bad("%d nodes, %d inodes", n, c.u32(offValidInodes))
	}
	start := c.u32(offPackStartSum)
	if start < 1+g.payload || start > segBlocks-1-6 {
		return bad("summaries at block %d", start)
	}
	return c.verifyLogs(sb, g)
}

func (c *checkpoint) verifyLogs(sb *super, g *geometry) error {
	seen := make(map[uint32]int)
	for log := range logs {
		if sb.has(featRO) && log != logHotData && log != logHotNode {
			continue
		}
		seg, next := c.curSeg(log)
		other, twice := seen[seg]
		if seg >= g.segs || next >= segBlocks || twice {
			return packError(c.pack, "log %d writes to segment %d, block %d (log %d too: %v)", log, seg, next, other, twice)
		}
		seen[seg] = log
	}
	return nil
}

// checkState refuses what needs a mount or a check first.
func (c *checkpoint) checkState(o image.Options) error {
	switch {
	case c.is(ckptOrphans):
		if !o.AllowDirty {
			return fmt.Errorf("%w: deleted files wait for their removal (orphans)", image.ErrNeedsRecovery)
		}
	case !c.is(ckptUmount):
		if !o.AllowDirty {
			return fmt.Errorf("%w: it was not unmounted", image.ErrNeedsRecovery)
		}
	}
	if !o.Write {
		return nil
	}
	for _, f := range []struct {
		flag uint32
		what string
	}{
		{ckptError, "an error was recorded"}, {ckptFsck, "a check is demanded"}, {ckptQuotaFsck, "quota files have to be checked"},
		{ckptDisabled | ckptDisabledFast, "checkpoints are disabled"}, {ckptResize, "a resize was interrupted"},
	} {
		if c.is(f.flag) {
			return fmt.Errorf("%w: %s: run fsck.f2fs first", image.ErrNeedsRecovery, f.what)
		}
	}
	return nil
}

// text says in words what the checkpoint is.
func (c *checkpoint) text() string {
	state := "clean"
	switch {
	case c.is(ckptError | ckptFsck):
		state = "marked for fsck"
	case c.is(ckptOrphans):
		state = "orphans to be removed"
	case !c.is(ckptUmount):
		state = "needs recovery"
	}
	return fmt.Sprintf("checkpoint %d, %s", c.version(), state)
}
