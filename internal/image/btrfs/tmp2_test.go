package btrfs

import "fsenc/internal/image"

func (r ro) Super() image.Super                                    { return r.FS.Super() }
func (r ro) LostFound() (image.Ino, error)                         { return r.FS.LostFound() }
func (r ro) Stat(a image.Ino) (image.Attr, error)                  { return r.FS.Stat(a) }
func (r ro) Inodes(a func(image.Attr, error) error) error          { return r.FS.Inodes(a) }
func (r ro) Context(a image.Ino) ([]byte, error)                   { return r.FS.Context(a) }
func (r ro) ReadDir(a image.Ino, b func(image.Dirent) error) error { return r.FS.ReadDir(a, b) }
func (r ro) Lookup(a image.Ino, b []byte) (image.Dirent, error)    { return r.FS.Lookup(a, b) }
func (r ro) ReadLink(a image.Ino) ([]byte, error)                  { return r.FS.ReadLink(a) }
func (r ro) Extents(a image.Ino) ([]image.Extent, error)           { return r.FS.Extents(a) }
func (r ro) DataExtents(a image.Ino) ([]image.Extent, error)       { return r.FS.DataExtents(a) }
func (r ro) Inline(a image.Ino) ([]byte, error)                    { return r.FS.Inline(a) }
func (r ro) Xattrs(a image.Ino) ([]image.Xattr, error)             { return r.FS.Xattrs(a) }
func (r ro) ReadBlocks(a []byte, b image.Pblk) error               { return r.FS.ReadBlocks(a, b) }
func (r ro) Places(a image.Pblk, b uint64, c func(skip uint64, off, n int64) error) error {
	return r.FS.Places(a, b, c)
}
func (r ro) Flush() error                                     { return nil }
func (r ro) Unpack(p *image.Packed, s []byte) ([]byte, error) { return r.FS.Unpack(p, s) }
