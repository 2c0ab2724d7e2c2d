package btrfs

// edits is what has changed since the last commit.
type edits struct {
	dirty map[uint64]*block
}

func (fs *FS) begin() { fs.dirty = make(map[uint64]*block) }

func (fs *FS) room() int64 {
	return int64(fs.sb.u64(offTotalBytes)) - int64(fs.sb.u64(offBytesUsed))
}
