package btrfs

import (
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
)

// Images of the v6 series that are damaged here.
const (
	basicImage   = "oracle/btrfs-v6-basic"
	extentsImage = "oracle/btrfs-v6-extents" // subvolumes, snapshots, extents with several owners
	dupImage     = "oracle/btrfs-v6-xxhash-dup"
)

var goldens = make(map[string][]byte)

// overlaid returns a store that begins as a golden image.
func overlaid(t testing.TB, name string) *storetest.Overlay {
	t.Helper()
	if goldens[name] == nil {
		goldens[name] = imagetest.GoldenBytes(t, name)
	}
	return storetest.NewOverlay(goldens[name])
}

// damager changes an image, one structure at a time.
type damager struct {
	testing.TB
	s  *storetest.Overlay
	fs *FS // the image as it was
}

func newDamager(t testing.TB, name string) *damager {
	t.Helper()
	d := &damager{TB: t, s: overlaid(t, name)}
	var err error
	if d.fs, err = Open(overlaid(t, name), image.Options{}); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *damager) check(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// supers changes all superblocks and puts their checksums right.
func (d *damager) supers(edit func(*super)) {
	d.Helper()
	for _, at := range superAddrs {
		if at+superSize > d.s.Size() {
			break
		}
		sb := &super{raw: make([]byte, superSize)}
		d.check(store.ReadFull(d.s, sb.raw, at))
		edit(sb)
		d.fs.sum.seal(sb.raw)
		_, err := d.s.WriteAt(sb.raw, at)
		d.check(err)
	}
}

// block changes a tree block, all copies, and puts its checksum right.
func (d *damager) block(addr uint64, edit func(*block)) {
	d.Helper()
	b := &block{addr: addr, raw: make([]byte, d.fs.ns)}
	d.check(d.fs.pieces(addr, uint64(d.fs.ns), func(part piece) error {
		return store.ReadFull(d.s, b.raw[part.skip:][:part.n], int64(part.places[0]))
	}))
	edit(b)
	d.fs.sum.seal(b.raw)
	d.write(b.raw, addr)
}

// write writes to all copies.
func (d *damager) write(p []byte, logical uint64) {
	d.Helper()
	d.check(d.fs.pieces(logical, uint64(len(p)), func(part piece) error {
		for _, at := range part.places {
			if _, err := d.s.WriteAt(p[part.skip:][:part.n], int64(at)); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (d *damager) tree(id uint64) *tree {
	d.Helper()
	t, err := d.fs.treeOf(id)
	d.check(err)
	return t
}

// find finds the first item not below k.
func (d *damager) find(id uint64, k key) (*path, key) {
	d.Helper()
	p, _, err := d.fs.search(d.tree(id), k)
	if err == nil {
		err = d.fs.settle(p)
	}
	d.check(err)
	if !p.valid() {
		d.Fatalf("no item %v in tree %d", k, id)
	}
	return p, p.key()
}

// item changes the body of an item where it lies.
func (d *damager) item(id uint64, k key, edit func([]byte)) {
	d.Helper()
	p, got := d.find(id, k)
	if got != k {
		d.Fatalf("no item %v in tree %d, but %v", k, id, got)
	}
	d.block(p.leaf().addr, func(b *block) { edit(b.data(p.slot[0])) })
}

// edit changes trees in a transaction, so that all that is not changed fits.
func (d *damager) edit(f func(fs *FS) error) {
	d.Helper()
	fs, err := Open(d.s, image.Options{Write: true})
	d.check(err)
	d.check(f(fs))
	d.check(fs.Flush())
}

// findings is what the checker has to say, by IDs.
func findings(fs *FS) map[string]string {
	out := make(map[string]string)
	report := func(f image.Finding) { out[f.ID] = f.Text }
	fs.CheckVolume(report)
	err := fs.Inodes(func(a image.Attr, err error) error {
		if err != nil {
			out["inode-damaged"] = err.Error()
			return nil
		}
		fs.CheckInode(a.Ino, report)
		return nil
	})
	if err != nil {
		out["inodes-damaged"] = err.Error()
	}
	return out
}

func put64(b []byte, off int, by int64) { le.PutUint64(b[off:], le.Uint64(b[off:])+uint64(by)) }
