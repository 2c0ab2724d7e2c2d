package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fsenc/test/linux"
)

// dirInImage is the directory of each image that is converted.
const dirInImage = "/tree"

// make makes one of the images that several measurements share.
func (b *bench) make(name, path string) error {
	switch name {
	case "big":
		return b.makeBig(path)
	case "few":
		return b.makeFiles(path, b.scale.few, smallFile)
	case "many":
		return b.makeFiles(path, b.scale.many, smallFile)
	case "few-names":
		return b.makeNames(path, b.scale.few)
	case "many-names":
		return b.makeNames(path, b.scale.many)
	case "big-secret", "many-secret":
		return b.makeSecret(strings.TrimSuffix(name, "-secret"), path)
	}
	return fmt.Errorf("no image %q", name)
}

const smallFile = 1 << 10 // bytes

// image returns the path of a shared image, which it makes on first use.
func (b *bench) image(name string) (string, error) {
	path := b.path(name + ".img")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	b.report.progress("making the image %s", name)
	if err := b.make(name, path); err != nil {
		return "", fmt.Errorf("make %s: %w", name, err)
	}
	return path, settle(path)
}

// dropImages removes the images of a measurement that no later one needs.
func (b *bench) dropImages(done measurement, later []measurement) {
	for _, name := range done.images {
		if !slices.ContainsFunc(later, func(m measurement) bool { return slices.Contains(m.images, name) }) {
			os.Remove(b.path(name + ".img"))
		}
	}
	os.Remove(b.path("run.img"))
}

// fresh copies an image for one run, waits until it is on the disk, and
// returns the copy.
func (b *bench) fresh(image string) (string, error) {
	run := b.path("run.img")
	if err := b.sh("cp", "--sparse=always", image, run); err != nil {
		return "", err
	}
	return run, settle(run)
}

// mke2fs makes an empty ext4 of size bytes that may hold encrypted files.
func (b *bench) mke2fs(path string, size int64, args ...string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return b.sh("mke2fs", append(append([]string{"-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-O", "encrypt"}, args...), path)...)
}

// mounted runs f on the mounted image of ext4.
func (b *bench) mounted(image string, f func(dir string) error) error {
	return b.mountedAs("ext4", image, f)
}

func (b *bench) mountedAs(fstype, image string, f func(dir string) error) error {
	m, err := linux.MountImage(image, b.path("mnt"), fstype, false, "")
	if err != nil {
		return err
	}
	err = f(m.Dir)
	if e := m.Unmount(); err == nil {
		err = e
	}
	return err
}

// makeSecret makes an image of another by encrypting the directory.
func (b *bench) makeSecret(name, path string) error {
	from, err := b.image(name)
	if err != nil {
		return err
	}
	if err := b.sh("cp", "--sparse=always", from, path); err != nil {
		return err
	}
	_, err = b.fsenc("encrypt-dir", path, dirInImage)
	return err
}

// makeBig makes an image with one large file and little else.
func (b *bench) makeBig(path string) error {
	if err := b.mke2fs(path, b.scale.bytes+b.scale.bytes/16+128<<20); err != nil {
		return err
	}
	return b.mounted(path, func(dir string) error {
		if err := os.Mkdir(filepath.Join(dir, dirInImage), 0o755); err != nil {
			return err
		}
		return writeRandom(filepath.Join(dir, dirInImage, "big"), b.scale.bytes)
	})
}

// writeRandom makes a file of bytes that no compression or deduplication below
// can make less of.
func writeRandom(path string, n int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := rand.NewChaCha8([32]byte{1})
	buf := make([]byte, 1<<20)
	for ; n > 0; n -= int64(len(buf)) {
		buf = buf[:min(n, int64(len(buf)))]
		r.Read(buf)
		if _, err := f.Write(buf); err != nil {
			return err
		}
	}
	return f.Sync()
}

const filesPerDir = 1000

// makeFiles makes an image with n files of size bytes in directories of a
// thousand.
func (b *bench) makeFiles(path string, n, size int) error {
	if err := b.mke2fs(path, 256<<20+int64(n)*5<<10, "-N", fmt.Sprint(n+n/filesPerDir+1000)); err != nil {
		return err
	}
	r := rand.NewChaCha8([32]byte{2})
	buf := make([]byte, size)
	return b.mounted(path, func(root string) error {
		for i := range n {
			dir := filepath.Join(root, dirInImage, fmt.Sprintf("directory %04d", i/filesPerDir))
			if i%filesPerDir == 0 {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return err
				}
			}
			r.Read(buf)
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("a small file %03d", i%filesPerDir)), buf, 0o644); err != nil {
				return err
			}
		}
		return nil
	})
}

// makeNames makes an image with n empty files in one directory.
func (b *bench) makeNames(path string, n int) error {
	if err := b.mke2fs(path, 512<<20+int64(n)<<10, "-N", fmt.Sprint(n+1000)); err != nil {
		return err
	}
	return b.mounted(path, func(root string) error {
		dir := filepath.Join(root, dirInImage)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		for i := range n {
			f, err := os.Create(filepath.Join(dir, fmt.Sprintf("one of many names %07d", i)))
			if err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
		return nil
	})
}
