package ext4

import (
	"fsenc/internal/image"
	"fsenc/internal/image/quota"
)

// allocCluster takes a free cluster, the one of block goal if possible, else
// the next one behind it, and returns its first block.
func (fs *FS) allocCluster(goal image.Pblk) (image.Pblk, error) {
	if !fs.validBlock(goal) {
		goal = image.Pblk(fs.geo.superBlock) + 1
	}
	first, from := fs.geo.groupOf(goal)
	for i := range fs.geo.groups {
		num := uint32((uint64(first) + uint64(i)) % uint64(fs.geo.groups))
		p, err := fs.allocIn(num, from)
		if p != 0 || err != nil {
			return p, err
		}
		from = 0
	}
	return 0, image.ErrNoSpace
}

// allocIn takes a free cluster of group num, from bit from on and then before
// it. It returns 0 if there is none.
func (fs *FS) allocIn(num, from uint32) (image.Pblk, error) {
	gr, err := fs.group(num)
	if err != nil || gr.desc.freeClusters() == 0 {
		return 0, err
	}
	b, err := fs.blockBitmap(gr)
	if err != nil {
		return 0, err
	}
	n := fs.geo.clusters(num)
	bit := b.next(from, n, false)
	if bit == n {
		if bit = b.next(0, from, false); bit == from {
			return 0, fs.corrupt("group descriptor", 0, gr.desc.blockBitmap(),
				"group %d: %d free clusters, none in the bitmap", num, gr.desc.freeClusters())
		}
	}
	fs.initBlocks(gr, b)
	b.set(bit)
	gr.desc.setFreeClusters(gr.desc.freeClusters() - 1)
	fs.sb.setFreeBlocks(fs.sb.freeBlocks() - min(fs.sb.freeBlocks(), fs.geo.ratio))
	fs.touch(gr)
	return image.Pblk(fs.geo.firstBlock(num) + uint64(bit)*fs.geo.ratio), nil
}

// initBlocks makes a BLOCK_UNINIT group an ordinary one, before its bitmap b
// is changed.
func (fs *FS) initBlocks(gr *group, b *bitmap) {
	if fs.uninit(gr, bgBlockUninit) {
		gr.desc.setFlags(gr.desc.flags() &^ bgBlockUninit)
		b.touch(0, len(b.bits))
	}
}

// freeCluster gives back the cluster that block p is in.
func (fs *FS) freeCluster(p image.Pblk) error {
	if !fs.validBlock(p) {
		return fs.corrupt("block number", 0, p, "the filesystem has %d blocks", fs.geo.blocks)
	}
	if err := fs.loadSystem(); err != nil {
		return err
	}
	num, bit := fs.geo.groupOf(p)
	if fs.inSystem(image.Pblk(fs.geo.firstBlock(num)+uint64(bit)*fs.geo.ratio), fs.geo.ratio) {
		return fs.corrupt("block number", 0, p, "metadata of the filesystem cannot be freed")
	}
	gr, err := fs.group(num)
	if err != nil {
		return err
	}
	b, err := fs.blockBitmap(gr)
	if err != nil {
		return err
	}
	if !b.get(bit) {
		return fs.corrupt("block bitmap", 0, p, "a block to be freed is free already")
	}
	b.clear(bit)
	gr.desc.setFreeClusters(gr.desc.freeClusters() + 1)
	fs.sb.setFreeBlocks(fs.sb.freeBlocks() + fs.geo.ratio)
	fs.touch(gr)
	return nil
}

// charge adds clusters, or takes them off if negative, to i_blocks of in and
// to the quota of its owners.
func (fs *FS) charge(in *inode, clusters int64) error {
	if clusters == 0 {
		return nil
	}
	change := clusters * int64(fs.geo.ratio)
	if !in.raw.hasFlag(flHugeFile) {
		change *= int64(fs.bs / 512)
	}
	now := int64(in.raw.rawBlocks()) + change
	limit := int64(1) << 32
	if fs.sb.hasRO(roHugeFile) {
		limit = 1 << 48
	}
	if now < 0 || now >= limit {
		return fs.corrupt("inode", in.ino, 0, "i_blocks %d, changed by %d", in.raw.rawBlocks(), change)
	}
	in.raw.setRawBlocks(uint64(now))
	return fs.chargeQuota(in, quota.Change{Bytes: clusters * int64(fs.geo.ratio) * int64(fs.bs)})
}

// allocBytes is what i_blocks stands for.
func (fs *FS) allocBytes(r rawInode) int64 {
	if r.hasFlag(flHugeFile) {
		return int64(r.rawBlocks()) * int64(fs.bs)
	}
	return int64(r.rawBlocks()) * 512
}
