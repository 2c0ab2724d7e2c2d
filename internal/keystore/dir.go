package keystore

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"fsenc/internal/image"
)

// Names under the root of a filesystem.
const (
	baseName       = ".fscrypt"
	policiesName   = "policies"
	protectorsName = "protectors"
	tempPrefix     = ".tmp" // files that fscrypt did not live to rename
)

const (
	// maxFileSize is fscrypt's limit on a metadata file, in bytes.
	maxFileSize = 16384
	// maxFiles bounds what a hostile directory makes us read: 64 MiB.
	maxFiles = 4096
	// maxLinkParts bounds the path that .fscrypt may be a symlink to.
	maxLinkParts = 40
)

const (
	modeSticky        = 0o1000
	modeWorldWritable = 0o0002
)

// metaDir is one of the two directories that hold files.
type metaDir struct {
	ino  image.Ino
	path string
	attr image.Attr
}

// findBase finds the directory .fscrypt, by way of a symlink if it is one.
func findBase(fs image.FS) (image.Ino, error) {
	d, err := fs.Lookup(fs.Root(), []byte(baseName))
	if errors.Is(err, image.ErrNotExist) {
		return 0, fmt.Errorf("%w: no directory /%s", ErrNotSetUp, baseName)
	}
	if err != nil {
		return 0, fmt.Errorf("/%s: %w", baseName, err)
	}
	attr, err := fs.Stat(d.Ino)
	if err != nil {
		return 0, fmt.Errorf("/%s: %w", baseName, err)
	}
	if attr.Type == image.TypeSymlink && !attr.Encrypted {
		return followBase(fs, d.Ino)
	}
	if err := plainDir(attr); err != nil {
		return 0, fmt.Errorf("/%s: %w", baseName, err)
	}
	return d.Ino, nil
}

// Dirs returns the directories that hold the metadata, as far as there are
// any. Encrypted, they would lock up what opens the encrypted trees.
func Dirs(fs image.FS) ([]image.Ino, error) {
	base, err := findBase(fs)
	if errors.Is(err, ErrNotSetUp) || errors.Is(err, ErrElsewhere) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	dirs := []image.Ino{base}
	for _, name := range []string{policiesName, protectorsName} {
		d, err := fs.Lookup(base, []byte(name))
		switch {
		case err == nil:
			dirs = append(dirs, d.Ino)
		case !errors.Is(err, image.ErrNotExist):
			return nil, fmt.Errorf("/%s/%s: %w", baseName, name, err)
		}
	}
	return dirs, nil
}

// followBase resolves the symlink .fscrypt, with no further symlinks in it.
func followBase(fs image.FS, link image.Ino) (image.Ino, error) {
	target, err := fs.ReadLink(link)
	if err != nil {
		return 0, fmt.Errorf("/%s: %w", baseName, err)
	}
	clean := path.Clean(string(target))
	if path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") {
		return 0, fmt.Errorf("the metadata is %w: /%s is a symlink to %q", ErrElsewhere, baseName, target)
	}
	parts := strings.Split(clean, "/")
	if len(parts) > maxLinkParts {
		return 0, fmt.Errorf("%w: /%s is a symlink to a path of %d names", ErrNotSetUp, baseName, len(parts))
	}
	at := fs.Root()
	for _, part := range parts {
		d, err := fs.Lookup(at, []byte(part))
		if err != nil && !errors.Is(err, image.ErrNotExist) {
			return 0, fmt.Errorf("/%s, a symlink to %q: %w", baseName, target, err)
		}
		if err != nil {
			return 0, fmt.Errorf("%w: /%s is a symlink to %q: %w", ErrNotSetUp, baseName, target, err)
		}
		attr, err := fs.Stat(d.Ino)
		if err == nil {
			err = plainDir(attr)
		}
		if err != nil {
			return 0, fmt.Errorf("/%s, a symlink to %q: %w", baseName, target, err)
		}
		at = d.Ino
	}
	return at, nil
}

// plainDir refuses what no metadata can be in.
func plainDir(a image.Attr) error {
	switch {
	case a.Type != image.TypeDirectory:
		return fmt.Errorf("%w: inode %d is a %v, not a directory", ErrNotSetUp, a.Ino, a.Type)
	case a.Encrypted:
		return fmt.Errorf("%w: directory inode %d is encrypted", ErrNotSetUp, a.Ino)
	}
	return nil
}

// openDir finds one of the directories of files and checks that it is safe.
func openDir(fs image.FS, base image.Ino, name string) (metaDir, error) {
	dir := metaDir{path: "/" + baseName + "/" + name}
	d, err := fs.Lookup(base, []byte(name))
	if errors.Is(err, image.ErrNotExist) {
		return dir, fmt.Errorf("%w: no directory %s", ErrNotSetUp, dir.path)
	}
	if err != nil {
		return dir, fmt.Errorf("%s: %w", dir.path, err)
	}
	if dir.attr, err = fs.Stat(d.Ino); err != nil {
		return dir, fmt.Errorf("%s: %w", dir.path, err)
	}
	if err := plainDir(dir.attr); err != nil {
		return dir, fmt.Errorf("%s: %w", dir.path, err)
	}
	if dir.attr.Mode&(modeSticky|modeWorldWritable) == modeWorldWritable {
		return dir, fmt.Errorf("%w: %s is world-writable without the sticky bit", ErrInsecure, dir.path)
	}
	dir.ino = d.Ino
	return dir, nil
}

// readFile returns the contents of a metadata file and who owns it.
func readFile(fs image.FS, ino image.Ino) ([]byte, image.Attr, error) {
	attr, err := fs.Stat(ino)
	if err != nil {
		return nil, attr, err
	}
	corrupt := func(format string, args ...any) error {
		return &image.CorruptError{What: "metadata file", Ino: ino, Why: fmt.Sprintf(format, args...)}
	}
	switch {
	case attr.Type != image.TypeRegular:
		return nil, attr, corrupt("it is a %v, not a regular file", attr.Type)
	case attr.Encrypted:
		return nil, attr, corrupt("it is encrypted")
	case attr.Size > maxFileSize:
		return nil, attr, corrupt("%d bytes, more than %d", attr.Size, maxFileSize)
	}
	data := make([]byte, attr.Size)
	if attr.Inline {
		inline, err := fs.Inline(ino)
		copy(data, inline)
		return data, attr, err
	}
	err = eachBlock(fs, ino, attr.Size, func(off int64, at image.Pblk, unwritten bool) error {
		if unwritten {
			return nil
		}
		block := make([]byte, fs.Super().BlockSize)
		if err := fs.ReadBlocks(block, at); err != nil {
			return err
		}
		copy(data[off:], block)
		return nil
	})
	return data, attr, err
}

// eachBlock calls f for each mapped block of a file below size bytes.
func eachBlock(fs image.FS, ino image.Ino, size int64, f func(off int64, at image.Pblk, unwritten bool) error) error {
	extents, err := fs.Extents(ino)
	if err != nil {
		return err
	}
	bs := uint64(fs.Super().BlockSize)
	blocks := (uint64(size) + bs - 1) / bs
	for _, e := range extents {
		if e.Packed != nil {
			return fmt.Errorf("%w: inode %d is compressed (%s)", image.ErrUnsupported, ino, e.Packed.Method)
		}
		for i := uint64(0); i < e.Len && uint64(e.Lblk)+i < blocks; i++ {
			off := int64((uint64(e.Lblk) + i) * bs)
			if err := f(off, e.Pblk+image.Pblk(i), e.Unwritten); err != nil {
				return err
			}
		}
	}
	return nil
}
