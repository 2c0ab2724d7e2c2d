package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"fsenc/internal/crypt"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/tree"
)

// btrfs compares encrypt-dir of the source tree with that of the same tree on
// ext4.
func (b *bench) btrfs() error {
	ours, theirs := b.path("btrfs.img"), b.path("ext4.img")
	defer os.Remove(ours)
	defer os.Remove(theirs)
	copied := func(dir string) error { return b.sh("cp", "-a", b.source, filepath.Join(dir, dirInImage)) }
	if err := b.makeBtrfs(ours, 1<<30, true, copied); err != nil {
		return err
	}
	if err := b.mke2fs(theirs, 1<<30); err != nil {
		return err
	}
	if err := b.mounted(theirs, copied); err != nil {
		return err
	}
	of := func(name, image string) side {
		return side{label: "encrypt-dir on " + name, run: func() (sample, error) { return b.encryptDir(image) }}
	}
	runs, err := b.race("btrfs", of("btrfs", ours), peer{of("ext4", theirs), 1.5})
	if err != nil {
		return err
	}
	_, inodes, _, err := count(b.source)
	if err != nil {
		return err
	}
	b.resident("btrfs", "encrypt-dir on btrfs", runs, residentBase+residentPerInode*inodes)
	return nil
}

// btrfsExtract compares extract with btrfs restore, which reads the image as
// extract does, but has no cipher: of the same plain image, and then of the
// encrypted one. Both write to memory: a disk takes ten times as long for so
// many small files, for either.
func (b *bench) btrfsExtract() error {
	plain, secret := b.path("btrfs.img"), b.path("btrfs-secret.img")
	defer os.Remove(plain)
	defer os.Remove(secret)
	err := b.makeBtrfs(plain, 1<<30, false, func(dir string) error { return b.sh("cp", "-a", b.source, filepath.Join(dir, dirInImage)) })
	if err == nil {
		err = b.sh("cp", "--sparse=always", plain, secret)
	}
	if err == nil {
		_, err = b.fsenc("setup", secret, "--no-metadata")
	}
	if err == nil {
		_, err = b.fsenc("encrypt-dir", secret, dirInImage)
	}
	if err == nil {
		err = settle(secret)
	}
	if err != nil {
		return err
	}
	out, err := os.MkdirTemp("/dev/shm", "fsenc-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(out)
	into := func(f func() error) (sample, error) {
		if err := os.RemoveAll(out); err != nil {
			return sample{}, err
		}
		if err := os.Mkdir(out, 0o755); err != nil {
			return sample{}, err
		}
		return clock(f)
	}
	extract := func(image string) func() (sample, error) {
		return func() (sample, error) {
			return into(func() error { _, err := b.fsenc("extract", image, dirInImage, "-C", out); return err })
		}
	}
	restore := side{label: "btrfs restore -m -S -x", run: func() (sample, error) {
		return into(func() error { return b.sh("btrfs", "restore", "-m", "-S", "-x", plain, out) })
	}}
	if _, err := b.race("btrfs-extract", side{label: "extract, plain", run: extract(plain)}, peer{restore, 1}); err != nil {
		return err
	}
	_, err = b.race("btrfs-extract", side{label: "extract, encrypted", run: extract(secret)}, peer{restore, 1})
	return err
}

// makeBtrfs makes a btrfs of size bytes that f fills, and if it says so one
// that may hold encrypted files.
func (b *bench) makeBtrfs(image string, size int64, encrypt bool, f func(dir string) error) error {
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(image, size); err != nil {
		return err
	}
	if err := b.sh("mkfs.btrfs", "-q", "-f", image); err != nil {
		return err
	}
	if err := b.mountedAs("btrfs", image, f); err != nil {
		return err
	}
	if encrypt {
		if _, err := b.fsenc("setup", image, "--no-metadata"); err != nil {
			return err
		}
	}
	return settle(image)
}

const manyExtents = 100_000

// btrfsExtents converts a file with very many extents, each under a key of its
// own, and reads it: how often the key of an extent was at hand.
func (b *bench) btrfsExtents() error {
	image := b.path("extents.img")
	defer os.Remove(image)
	if err := b.makeBtrfs(image, 2<<30, true, scatter); err != nil {
		return err
	}
	s, err := b.fsenc("encrypt-dir", image, dirInImage)
	if err != nil {
		return err
	}
	b.report.row(row{Name: "btrfs-extents", Ours: fmt.Sprintf("encrypt-dir of %d extents", manyExtents), Value: s.wall.Seconds(), Unit: "s"})
	b.report.row(row{Name: "btrfs-extents", Ours: "resident", Value: float64(s.resident) / (1 << 20), Unit: "MiB"})
	for _, order := range []struct {
		name string
		next func(r *rand.Rand, i int) int64
	}{
		{"read in order, 1 KiB at a time", func(_ *rand.Rand, i int) int64 { return int64(i) }},
		{"read here and there, near to before", func(r *rand.Rand, i int) int64 { return int64(i/4 + r.IntN(256)) }},
		{"read anywhere", func(r *rand.Rand, _ int) int64 { return int64(r.IntN(4 * manyExtents)) }},
	} {
		hits, misses, err := b.readMany(image, order.next)
		if err != nil {
			return err
		}
		b.report.row(row{Name: "btrfs-extents", Ours: order.name, Value: 100 * float64(hits) / float64(hits+misses), Unit: "% of keys at hand"})
	}
	return nil
}

// scatter makes a file each block of which is an extent: the neighbours of a
// block are written at another time.
func scatter(root string) error {
	dir := filepath.Join(root, dirInImage)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "many"))
	if err != nil {
		return err
	}
	defer f.Close()
	const block = 4096
	buf := make([]byte, block)
	r := rand.NewChaCha8([32]byte{5})
	for odd := range 2 {
		for i := odd; i < manyExtents; i += 2 {
			r.Read(buf)
			if _, err := f.WriteAt(buf, int64(i)*block); err != nil {
				return err
			}
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// readMany reads pieces of 1 KiB of the file and returns how often a key was
// there and was not.
func (b *bench) readMany(image string, next func(r *rand.Rand, i int) int64) (hits, misses uint64, err error) {
	s, err := store.OpenFile(image, false)
	if err != nil {
		return 0, 0, err
	}
	defer s.Close()
	fs, err := probe.Open(s, probe.Options{})
	if err != nil {
		return 0, 0, err
	}
	key, err := crypt.NewMasterKey(bytes.Clone(b.raw)) // which is wiped
	if err != nil {
		return 0, 0, err
	}
	var ring crypt.Keyring
	ring.Add(key)
	defer ring.Wipe()
	t := tree.New(fs, &ring)
	defer t.Close()
	n, err := t.Lookup(dirInImage + "/many")
	if err != nil {
		return 0, 0, err
	}
	f, err := t.Open(n)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	r, buf := rand.New(rand.NewPCG(1, 2)), make([]byte, 1024)
	for i := range 4 * manyExtents {
		off := next(r, i) * int64(len(buf))
		if _, err := f.ReadAt(buf, off); err != nil && err != io.EOF {
			return 0, 0, err
		}
	}
	hits, misses = t.KeysAtHand()
	return hits, misses, nil
}
