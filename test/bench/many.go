package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// residentMany is what a conversion of a million files may hold in memory.
const residentMany = 256 << 20

// many compares the time for each file of a large tree with that of a small one.
func (b *bench) many() error {
	return b.linear("many", "files", "few", "many")
}

// names does the same with names of one directory.
func (b *bench) names() error {
	return b.linear("names", "names", "few-names", "many-names")
}

// linear compares the time for each thing of a large tree with that of a small
// one.
func (b *bench) linear(name, things, few, many string) error {
	of := func(image string, n int) side {
		return side{label: fmt.Sprintf("encrypt-dir of %d %s", n, things), per: n, run: func() (sample, error) {
			path, err := b.image(image)
			if err != nil {
				return sample{}, err
			}
			return b.encryptDir(path)
		}}
	}
	ours := of(many, b.scale.many)
	runs, err := b.race(name, ours, peer{of(few, b.scale.few), 1.3})
	if err != nil {
		return err
	}
	b.resident(name, ours.label, runs, residentMany)
	return nil
}

// fsck compares checking the encryption metadata of all files, without a key,
// with e2fsck's check of the filesystem.
func (b *bench) fsck() error {
	image, err := b.image("many-secret")
	if err != nil {
		return err
	}
	for _, v := range []struct {
		name string
		cold bool
	}{{"fsck", false}, {"fsck cold", true}} {
		with := func(label string, program string, args ...string) side {
			return side{label: label, run: func() (sample, error) {
				if v.cold {
					if err := evict(image); err != nil {
						return sample{}, err
					}
				}
				return b.command(program, append(args, image)...)
			}}
		}
		ours := with("fsck", b.bin, "fsck")
		runs, err := b.race(v.name, ours, peer{with("e2fsck -fn", "e2fsck", "-fn"), 1})
		if err != nil {
			return err
		}
		b.resident(v.name, ours.label, runs, residentMany)
	}
	return nil
}

// sparse encrypts a file of 1 TiB with little in it, in an image of 8 TiB.
// There is no peer; the time and the memory are told.
func (b *bench) sparse() error {
	image := b.path("sparse.img")
	defer os.Remove(image)
	const size, pieces = 1 << 40, 64
	if err := b.mke2fs(image, 8<<40, "-E", "lazy_journal_init=1"); err != nil {
		return err
	}
	err := b.mounted(image, func(root string) error {
		if err := os.Mkdir(filepath.Join(root, dirInImage), 0o755); err != nil {
			return err
		}
		return writeSparse(filepath.Join(root, dirInImage, "sparse"), size, pieces)
	})
	if err != nil {
		return err
	}
	label := fmt.Sprintf("encrypt-dir of %d MiB in a file of 1 TiB", pieces)
	s, err := b.fsenc("encrypt-dir", image, dirInImage)
	if err != nil {
		return err
	}
	b.report.row(row{Name: "sparse", Ours: label, Value: s.wall.Seconds(), Unit: "s"})
	b.resident("sparse", label, []sample{s}, residentMany)
	return nil
}

// writeSparse makes a file with pieces of 1 MiB at equal distances.
func writeSparse(path string, size int64, pieces int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for i := range buf {
		buf[i] = byte(i>>8) | 1
	}
	for i := range int64(pieces) {
		if _, err := f.WriteAt(buf, i*(size/int64(pieces))); err != nil {
			return err
		}
	}
	return nil
}
