package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// f2fs compares encrypt-dir of the source tree with that of the same tree on
// ext4. sload.f2fs fills the image: not every kernel has f2fs.
func (b *bench) f2fs() error {
	ours, theirs := b.path("f2fs.img"), b.path("ext4.img")
	defer os.Remove(ours)
	defer os.Remove(theirs)
	// sload.f2fs puts what a directory holds into the root.
	from := b.path("source")
	defer os.RemoveAll(from)
	if err := os.Mkdir(from, 0o755); err != nil {
		return err
	}
	if err := b.sh("cp", "-a", b.source, filepath.Join(from, dirInImage)); err != nil {
		return err
	}
	if err := b.makeF2FS(ours, 1<<30, from); err != nil {
		return err
	}
	if err := b.mke2fs(theirs, 1<<30); err != nil {
		return err
	}
	copied := func(dir string) error { return b.sh("cp", "-a", b.source, filepath.Join(dir, dirInImage)) }
	if err := b.mounted(theirs, copied); err != nil {
		return err
	}
	of := func(name, image string) side {
		return side{label: "encrypt-dir on " + name, run: func() (sample, error) { return b.encryptDir(image) }}
	}
	runs, err := b.race("f2fs", of("f2fs", ours), peer{of("ext4", theirs), 1.2})
	if err != nil {
		return err
	}
	_, inodes, _, err := count(b.source)
	if err != nil {
		return err
	}
	b.resident("f2fs", "encrypt-dir on f2fs", runs, residentBase+residentPerInode*inodes)
	return nil
}

// makeF2FS makes an f2fs of size bytes that may hold encrypted files and what
// a directory holds.
func (b *bench) makeF2FS(image string, size int64, from string) error {
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(image, size); err != nil {
		return err
	}
	if err := b.sh("mkfs.f2fs", "-q", "-f", "-O", "encrypt,extra_attr", image); err != nil {
		return err
	}
	if err := b.sh("sload.f2fs", "-f", from, image); err != nil {
		return err
	}
	return settle(image)
}

const (
	inlineFiles = 10_000
	inlineBar   = 0.55 // of the blocks that they take in blocks of their own
)

// inlineSpace compares what small files take on f2fs with encrypted inline
// data and without it.
func (b *bench) inlineSpace() error {
	image, dir := b.path("inline.img"), b.path("inline")
	defer os.Remove(image)
	defer os.RemoveAll(dir)
	if err := writeSmall(filepath.Join(dir, dirInImage), inlineFiles); err != nil {
		return err
	}
	if err := b.makeF2FS(image, 512<<20, dir); err != nil {
		return err
	}
	with, err := b.blocksOf(image, "encrypt,encrypted_inline_data")
	if err != nil {
		return err
	}
	without, err := b.blocksOf(image, "encrypt")
	if err != nil {
		return err
	}
	b.report.row(row{Name: "inline-space", Ours: fmt.Sprintf("%d files of %d bytes, encrypted inline data", inlineFiles, smallFile),
		Value: float64(with), Unit: "blocks", Peer: "without", PeerValue: float64(without), Ratio: float64(with) / float64(without), Bar: inlineBar})
	return nil
}

// writeSmall makes n small files in directories of a thousand.
func writeSmall(root string, n int) error {
	r := rand.NewChaCha8([32]byte{3})
	buf := make([]byte, smallFile)
	for i := range n {
		dir := filepath.Join(root, fmt.Sprintf("directory %04d", i/filesPerDir))
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
}

// validBlocks is what fsck.f2fs says of all that is in use.
var validBlocks = regexp.MustCompile(`valid_block_count matching with CP +\[Ok\.\.\] \[0x([0-9a-f]+)\]`)

// blocksOf encrypts a copy of the image with features and returns the blocks
// in use, as fsck.f2fs counts them.
func (b *bench) blocksOf(image, features string) (int64, error) {
	run, err := b.fresh(image)
	if err != nil {
		return 0, err
	}
	if err := b.sh(b.bin, "setup", run, "--feature", features, "--yes"); err != nil {
		return 0, err
	}
	if _, err := b.fsenc("encrypt-dir", run, dirInImage, "--iv-ino-lblk-64"); err != nil {
		return 0, err
	}
	_, out, err := b.spoken("fsck.f2fs", "--dry-run", run)
	if err != nil {
		return 0, err
	}
	m := validBlocks.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("fsck.f2fs counts no blocks:\n%s", out)
	}
	return strconv.ParseInt(string(m[1]), 16, 64)
}
