package main

import (
	"io/fs"
	"os"
	"path/filepath"

	"fsenc/test/linux"
)

// What a conversion may hold in memory: this much, and more for each inode of the tree.
const (
	residentBase     = 64 << 20
	residentPerInode = 200
)

// tree compares encrypt-dir in place with what one would do without it: mount, make
// an encrypted directory, copy the tree into it, sync. The plain copy has no
// cipher at all: a bound for kernels whose AES is faster than this one's.
func (b *bench) tree() error {
	plain, empty := b.path("tree.img"), b.path("empty.img")
	defer os.Remove(plain)
	defer os.Remove(empty)
	for _, path := range []string{plain, empty} {
		if err := b.mke2fs(path, 1<<30); err != nil {
			return err
		}
	}
	if err := b.mounted(plain, func(dir string) error { return b.sh("cp", "-a", b.source, filepath.Join(dir, dirInImage)) }); err != nil {
		return err
	}
	files, inodes, bytes, err := count(b.source)
	if err != nil {
		return err
	}
	b.report.progress("tree: %d files, %d inodes, %d MiB", files, inodes, bytes>>20)
	ours := side{label: "encrypt-dir", run: func() (sample, error) { return b.encryptDir(plain) }}
	runs, err := b.race("tree", ours,
		peer{side{label: "cp -a, encrypted, and sync", run: func() (sample, error) { return b.kernelCopy(empty, true) }}, 0.5},
		peer{side{label: "cp -a, plain, and sync", run: func() (sample, error) { return b.kernelCopy(empty, false) }}, 0})
	if err != nil {
		return err
	}
	b.resident("tree", ours.label, runs, residentBase+residentPerInode*inodes)
	return nil
}

// encryptDir encrypts the directory of a copy of an image.
func (b *bench) encryptDir(image string) (sample, error) {
	run, err := b.fresh(image)
	if err != nil {
		return sample{}, err
	}
	return b.fsenc("encrypt-dir", run, dirInImage, "--padding", "32")
}

// kernelCopy is cp -a of the source tree into a directory of the mounted
// image, and sync. Mounting is not counted.
func (b *bench) kernelCopy(empty string, encrypted bool) (s sample, err error) {
	run, err := b.fresh(empty)
	if err != nil {
		return s, err
	}
	err = b.mounted(run, func(root string) error {
		dir := filepath.Join(root, "into")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if encrypted {
			if err := b.setPolicy(root, dir); err != nil {
				return err
			}
		}
		s, err = clock(func() error {
			if err := b.sh("cp", "-a", b.source, filepath.Join(dir, "tree")); err != nil {
				return err
			}
			return b.sh("sync", "-f", dir)
		})
		return err
	})
	return s, err
}

// setPolicy makes a directory of a mounted image encrypted as encrypt-dir does.
func (b *bench) setPolicy(root, dir string) error {
	id, err := linux.AddKey(root, b.raw)
	if err != nil {
		return err
	}
	return linux.SetPolicy(dir, linux.PolicyV2{Contents: 1, Filenames: 4, Flags: 3, Identifier: id})
}

func count(tree string) (files, inodes, bytes int64, err error) {
	err = filepath.WalkDir(tree, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inodes++
		if !e.Type().IsRegular() {
			return nil
		}
		files++
		st, err := e.Info()
		if err != nil {
			return err
		}
		bytes += st.Size()
		return nil
	})
	return files, inodes, bytes, err
}
