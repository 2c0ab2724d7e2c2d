package btrfs

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	reader "fsenc/internal/tree"
	"fsenc/test/goldenkeys"
)

// olden gives an image the layout of series v5: every encrypted extent is encrypted
// again with the key that series derived, and its contexts move from items of their
// own to the ends of those that map it.
func (d *damager) olden(keys *crypt.Keyring) (extents int) {
	d.Helper()
	d.edit(func(fs *FS) error {
		ids, err := fs.subvolumes()
		if err != nil {
			return err
		}
		done := make(map[uint64]bool)
		type mapping struct {
			t        *tree
			obj, off uint64
			context  []byte
		}
		var all []mapping
		for _, id := range ids {
			t, err := fs.treeOf(id)
			if err != nil {
				return err
			}
			err = fs.each(t, key{}, func(k key, b []byte) (bool, error) {
				if k.kind == keyContext {
					all = append(all, mapping{t, k.obj, k.off, bytes.Clone(b)})
				}
				return true, nil
			})
			if err != nil {
				return err
			}
		}
		for _, m := range all {
			k := key{m.obj, keyExtentData, m.off}
			b, err := fs.item(m.t, k)
			if err != nil {
				return err
			}
			x, err := fs.parseExtent(m.t, k, b)
			if err != nil {
				return err
			}
			if !done[x.disk] {
				done[x.disk] = true
				if err := recode(fs, keys, inoOf(m.t.id, m.obj), &x, m.context); err != nil {
					return err
				}
			}
			b = append(le.AppendUint32(bytes.Clone(b), uint32(len(m.context))), m.context...)
			if err := errors.Join(fs.remove(m.t, key{m.obj, keyContext, m.off}), fs.set(m.t, k, b)); err != nil {
				return err
			}
		}
		extents = len(done)
		return nil
	})
	return extents
}

// recode encrypts an extent of a file again, whole.
func recode(fs *FS, keys *crypt.Keyring, ino image.Ino, x *fileExtent, context []byte) error {
	tr := reader.New(fs, keys)
	defer tr.Close()
	c, err := tr.Context(reader.Node{Ino: ino})
	if err != nil {
		return err
	}
	e, err := policy.ParseExtentContext(context)
	if err != nil {
		return err
	}
	k, err := keys.For(c.Policy)
	if err != nil {
		return err
	}
	sb := fs.Super()
	vol := crypt.Volume{UUID: sb.UUID, BlockSize: sb.BlockSize}
	from, err := k.Extent(*c, e, vol)
	if err != nil {
		return err
	}
	e.Old = true
	to, err := k.Extent(*c, e, vol)
	if err != nil {
		return err
	}
	p := make([]byte, x.diskLen)
	if err := fs.ReadBlocks(p, fs.pblk(x.disk)); err != nil {
		return err
	}
	from.DecryptBlocks(p, p, 0)
	to.EncryptBlocks(p, p, 0)
	return fs.WriteBlocks(p, fs.pblk(x.disk))
}

// contents reads all that a reader with the keys can, by path.
func contents(t *testing.T, fs *FS, keys *crypt.Keyring) map[string]string {
	t.Helper()
	out := make(map[string]string)
	tr := reader.New(fs, keys)
	defer tr.Close()
	err := tr.Walk(tr.Root(), func(n reader.Node) error {
		if n.Err != nil || n.Type != image.TypeRegular {
			return nil
		}
		f, err := tr.Open(n)
		if err != nil {
			out[n.Path] = err.Error()
			return nil
		}
		defer f.Close()
		b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		out[n.Path] = imagetest.Sum(b)
		if err != nil {
			out[n.Path] = err.Error()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What was encrypted as series v5 did reads the same.
func TestReadOldLayout(t *testing.T) {
	for _, name := range []string{basicImage, "oracle/btrfs-v6-sha256-node4k"} {
		t.Run(name, func(t *testing.T) {
			keys := goldenkeys.Ring(t, imagetest.Manifest(t, name))
			d := newDamager(t, name)
			want := contents(t, d.fs, keys)
			if n := d.olden(keys); n < 10 {
				t.Fatalf("only %d extents", n)
			}
			fs, err := Open(d.s, image.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := fs.Super().Layout; got != layoutV5 {
				t.Errorf("layout %q", got)
			}
			got := contents(t, fs, keys)
			if len(want) == 0 || len(got) != len(want) {
				t.Errorf("%d files, want %d", len(got), len(want))
			}
			for path, sum := range want {
				if got[path] != sum {
					t.Errorf("%s: %s, want %s", path, got[path], sum)
				}
			}
			if all := findings(fs); len(all) != len(findings(d.fs)) {
				t.Errorf("findings: %v", all)
			}
		})
	}
}
