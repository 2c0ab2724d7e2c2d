package ext4

import (
	"fsenc/internal/image"
)

// bootDirs are where boot loaders keep what they read, in the root filesystem
// and in a partition for /boot.
var bootDirs = []string{"grub", "grub2", "extlinux", "syslinux", "loader"}

// bootHint returns the directory of a boot loader in this filesystem, "" if
// there is none. It is a hint only: what cannot be read has no loader in it.
func (fs *FS) bootHint() string {
	for _, dir := range bootDirs {
		if fs.isDir(inoRoot, dir) != 0 {
			return "/" + dir
		}
	}
	boot := fs.isDir(inoRoot, "boot")
	if boot == 0 {
		return ""
	}
	for _, dir := range bootDirs {
		if fs.isDir(boot, dir) != 0 {
			return "/boot/" + dir
		}
	}
	return ""
}

// isDir returns the inode of a directory of that name, 0 if there is none.
func (fs *FS) isDir(parent image.Ino, name string) image.Ino {
	d, err := fs.Lookup(parent, []byte(name))
	if err != nil {
		return 0
	}
	if in, err := fs.inode(d.Ino); err != nil || in.raw.fileType() != image.TypeDirectory {
		return 0
	}
	return d.Ino
}
