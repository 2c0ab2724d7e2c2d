package f2fs

import "fsenc/internal/image"

// Fields of the value of the attribute that says where the descriptor of
// fs-verity lies: struct fsverity_descriptor_location.
const (
	offVerityVersion = 0 // le32, 1
	offVeritySize    = 4 // le32
	offVerityPos     = 8 // le64, bytes from the beginning of the file
	verityLocation   = 16
)

// VerityDescriptor implements image.VerityLocator.
func (fs *FS) VerityDescriptor(ino image.Ino) (at, size uint64, err error) {
	in, err := fs.inode(ino)
	if err != nil {
		return 0, 0, err
	}
	list, err := fs.xattrs(in)
	if err != nil {
		return 0, 0, err
	}
	x := findXattr(list, xattrVerity, xattrDescriptor)
	if x == nil || len(x.value) != verityLocation || le.Uint32(x.value[offVerityVersion:]) != 1 {
		return 0, 0, fs.corrupt("place of the verity descriptor", ino, in.at, "no attribute of version 1 with %d bytes", verityLocation)
	}
	return le.Uint64(x.value[offVerityPos:]), uint64(le.Uint32(x.value[offVeritySize:])), nil
}
