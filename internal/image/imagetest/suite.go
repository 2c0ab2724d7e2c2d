package imagetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest/manifest"
	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
)

// Run reads the golden images that names names through the filesystem package
// under test, and compares everything that needs no key with what the kernel
// saw: attributes, contexts, xattrs, mappings, the names, contents and link
// targets of unencrypted trees, and the hashes in no-key names. Nothing that
// it does may change an image.
func Run(t *testing.T, names []string, open func(store.Store) (image.FS, error)) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			img := GoldenBytes(t, name)
			fs, err := open(storetest.NewMem(bytes.Clone(img)))
			if err != nil {
				t.Fatal(err)
			}
			s := &suite{T: t, fs: fs, m: Manifest(t, name), img: img}
			s.inodes()
			s.xattrs()
			s.contexts()
			s.directory(fs.Root(), ".")
			s.ciphertext()
			s.noKey()
		})
		t.Run(name+"/untouched", func(t *testing.T) {
			img := GoldenBytes(t, name)
			mem := storetest.NewMem(bytes.Clone(img))
			fs, err := open(mem)
			if err != nil {
				t.Fatal(err)
			}
			if err := fs.Flush(); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, mem.Size())
			if _, err := mem.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, img) {
				t.Error("opening and flushing changed the image")
			}
		})
	}
}

type suite struct {
	*testing.T
	fs  image.FS
	m   *manifest.Golden
	img []byte
}

func (s *suite) wrong(what string, got, want any) {
	s.Helper()
	if got != want {
		s.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// inodes compares attributes; every inode of the manifest must be reported.
func (s *suite) inodes() {
	seen := make(map[image.Ino]image.Attr)
	err := s.fs.Inodes(func(a image.Attr, err error) error {
		if err != nil {
			s.Errorf("inode %d: %v", a.Ino, err)
		}
		seen[a.Ino] = a
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	for _, e := range s.m.Entries {
		a, ok := seen[image.Ino(e.Ino)]
		if !ok {
			s.Errorf("%q: inode %d is not reported", e.Path, e.Ino)
			continue
		}
		again, err := s.fs.Stat(a.Ino)
		if err != nil || again != a {
			s.Errorf("%q: Stat and Inodes differ: %+v, %+v, %v", e.Path, again, a, err)
		}
		s.attr(&e, &a)
	}
}

func (s *suite) attr(e *manifest.Entry, a *image.Attr) {
	s.Helper()
	field := func(name string) string { return fmt.Sprintf("%q: %s", e.Path, name) }
	s.wrong(field("type"), a.Type.String(), e.Type)
	s.wrong(field("mode"), a.Mode&0o7777, e.Mode)
	s.wrong(field("type in mode"), manifest.TypeOf(a.Mode), e.Type)
	s.wrong(field("uid"), a.UID, e.UID)
	s.wrong(field("gid"), a.GID, e.GID)
	s.wrong(field("links"), a.Links, e.Nlink)
	s.wrong(field("encrypted"), a.Encrypted, e.Encrypted)
	s.wrong(field("verity"), a.Verity, e.Verity != "")
	s.wrong(field("mtime"), manifest.Time{Sec: a.Mtime.Unix(), Nsec: int64(a.Mtime.Nanosecond())}, e.Mtime)
	if e.Type == manifest.File || e.Type == manifest.Symlink && !e.Encrypted {
		s.wrong(field("size"), a.Size, e.Size)
	}
	if e.Rdev != "" {
		s.wrong(field("device"), fmt.Sprintf("%d:%d", a.RdevMajor, a.RdevMinor), e.Rdev)
	}
	if e.Flags != 0 {
		s.wrong(field("flags"), a.Flags, e.Flags)
	}
}

func (s *suite) xattrs() {
	for _, e := range s.m.Entries {
		if e.SameAs != "" {
			continue
		}
		list, err := s.fs.Xattrs(image.Ino(e.Ino))
		if err != nil {
			s.Errorf("%q: %v", e.Path, err)
			continue
		}
		got := make(map[string]string)
		for _, x := range list {
			got[x.Name] = string(x.Value)
		}
		s.wrong(fmt.Sprintf("%q: number of xattrs", e.Path), len(got), len(e.Xattrs))
		for name, value := range e.Xattrs {
			s.wrong(fmt.Sprintf("%q: %s", e.Path, name), got[name], string(value))
		}
	}
}

// contexts compares the end of each context with the nonce, and of v2
// contexts the beginning with the policy.
func (s *suite) contexts() {
	for _, e := range s.m.Entries {
		c, err := s.fs.Context(image.Ino(e.Ino))
		if err != nil {
			s.Errorf("%q: %v", e.Path, err)
			continue
		}
		if !e.Encrypted {
			s.wrong(fmt.Sprintf("%q: length of context", e.Path), len(c), 0)
			continue
		}
		if len(c) < 28 || e.Nonce != "" && hex.EncodeToString(c[len(c)-16:]) != e.Nonce {
			s.Errorf("%q: context %x, nonce %s", e.Path, c, e.Nonce)
			continue
		}
		if e.Policy != nil && e.Policy.Version == 2 {
			s.wrong(fmt.Sprintf("%q: policy", e.Path), hex.EncodeToString(c[:24]), e.Policy.Raw)
		}
	}
}

// directory walks the tree as stored. Below an encrypted directory names are
// ciphertext, and what is found is only counted against the inode.
func (s *suite) directory(dir image.Ino, where string) {
	var list []image.Dirent
	err := s.fs.ReadDir(dir, func(d image.Dirent) error {
		d.Name = bytes.Clone(d.Name)
		list = append(list, d)
		return nil
	})
	if err != nil {
		s.Errorf("%q: %v", where, err)
		return
	}
	attr, err := s.fs.Stat(dir)
	if err != nil {
		s.Errorf("%q: %v", where, err)
		return
	}
	for _, d := range list {
		found, err := s.fs.Lookup(dir, d.Name)
		if err != nil || found.Ino != d.Ino {
			s.Errorf("%q: lookup of %q gives inode %d, %v", where, d.Name, found.Ino, err)
		}
		sub := path.Join(where, string(d.Name))
		if !attr.Encrypted {
			s.plain(d, sub)
		}
		if d.Type == image.TypeDirectory && !attr.Encrypted {
			s.directory(d.Ino, sub)
		}
	}
	if !attr.Encrypted && where != "." {
		s.children(where, len(list))
	}
}

// children compares the number of entries of a directory of the manifest.
func (s *suite) children(dir string, got int) {
	if s.m.Entry(dir) == nil {
		return
	}
	want := 0
	for _, e := range s.m.Entries {
		if path.Dir(e.Path) == dir {
			want++
		}
	}
	s.wrong(fmt.Sprintf("%q: number of entries", dir), got, want)
}

func (s *suite) plain(d image.Dirent, where string) {
	e := s.m.Entry(where)
	if e == nil {
		return
	}
	s.wrong(fmt.Sprintf("%q: inode of the entry", where), uint64(d.Ino), e.Ino)
	if d.Type != image.TypeUnknown {
		s.wrong(fmt.Sprintf("%q: type of the entry", where), d.Type.String(), e.Type)
	}
	if e.Encrypted {
		return
	}
	switch e.Type {
	case manifest.Symlink:
		target, err := s.fs.ReadLink(d.Ino)
		if err != nil || string(target) != e.Target {
			s.Errorf("%q: target is %q, %v, want %q", where, target, err, e.Target)
		}
	case manifest.File:
		sum, err := Digest(s.fs, d.Ino)
		if err != nil || sum != e.SHA256 {
			s.Errorf("%q: digest is %s, %v, want %s", where, sum, err, e.SHA256)
		}
	}
}

// ciphertext compares where blocks of encrypted files lie, and what is there.
func (s *suite) ciphertext() {
	size := s.fs.Super().BlockSize
	for _, c := range s.m.Ciphertext {
		context, err := s.fs.Context(image.Ino(c.Ino))
		if err != nil || !bytes.Equal(context, c.Context) {
			s.Errorf("%q: context is %x, %v, want %x", c.Path, context, err, c.Context)
		}
		extents, err := s.fs.DataExtents(image.Ino(c.Ino))
		if err != nil {
			s.Errorf("%q: %v", c.Path, err)
			continue
		}
		for _, b := range c.Blocks {
			at := slices.IndexFunc(extents, func(x image.Extent) bool {
				return uint64(x.Lblk) <= b.Lblk && b.Lblk-uint64(x.Lblk) < x.Len
			})
			if at < 0 {
				s.Errorf("%q: block %d is not mapped", c.Path, b.Lblk)
				continue
			}
			x := extents[at]
			pblk := uint64(x.Pblk) + b.Lblk - uint64(x.Lblk)
			s.wrong(fmt.Sprintf("%q: offset of block %d", c.Path, b.Lblk), int64(pblk)*int64(size), b.Offset)
			buf := make([]byte, size)
			if err := s.fs.ReadBlocks(buf, image.Pblk(pblk)); err != nil {
				s.Error(err)
			}
			s.wrong(fmt.Sprintf("%q: digest of block %d", c.Path, b.Lblk), Sum(buf[:b.Len]), b.SHA256)
		}
	}
}

// noKey compares the two hashes that a no-key name starts with, and the
// ciphertext behind them: base64url of le32, le32, up to 149 bytes.
func (s *suite) noKey() {
	for _, d := range s.m.NoKey {
		dir := s.m.Entry(d.Path)
		if dir == nil || !dir.Encrypted {
			continue
		}
		want := make(map[string]bool)
		for _, n := range d.Names {
			want[n.NoKey] = true
		}
		err := s.fs.ReadDir(image.Ino(dir.Ino), func(e image.Dirent) error {
			b := binary.LittleEndian.AppendUint32(nil, e.Hash)
			b = binary.LittleEndian.AppendUint32(b, e.MinorHash)
			ct := e.Name
			if len(ct) > 149 {
				sum := sha256.Sum256(ct[149:])
				ct = append(bytes.Clone(ct[:149]), sum[:]...)
			}
			name := base64.RawURLEncoding.EncodeToString(append(b, ct...))
			if !want[name] {
				s.Errorf("%q: the kernel shows no %s", d.Path, name)
			}
			delete(want, name)
			return nil
		})
		if err != nil {
			s.Errorf("%q: %v", d.Path, err)
		}
		s.wrong(fmt.Sprintf("%q: names not found", d.Path), len(want), 0)
	}
}
