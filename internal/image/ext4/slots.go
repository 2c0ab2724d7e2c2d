package ext4

import (
	"sort"

	"fsenc/internal/image"
)

// Slots implements image.Slots.
func (fs *FS) Slots() (func(off int64) image.Ino, error) {
	order, err := fs.tableOrder()
	if err != nil {
		return nil, err
	}
	per, isize := uint64(fs.geo.inodesPerGroup), int64(fs.geo.inodeSize)
	return func(off int64) image.Ino {
		i := sort.Search(len(order), func(i int) bool { return order[i].off > off }) - 1
		if i < 0 {
			return 0
		}
		index := uint64((off - order[i].off) / isize)
		if index >= per {
			return 0
		}
		return image.Ino(uint64(order[i].group)*per + index + 1)
	}, nil
}
