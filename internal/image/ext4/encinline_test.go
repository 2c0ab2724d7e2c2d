package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"fsenc/internal/image"
	"fsenc/test/mkimage"
)

// largestPayload is what an inode has room for beside a v2 context and nothing
// else, in bytes, with an i_extra_isize of 32.
var largestPayload = map[int]int{256: 64, 512: 320, 1024: 832, 2048: 1856, 4096: 3904}

const (
	v1ContextSize = 28
	v2ContextSize = 40
)

var inlineSizes = []int{0, 1, 15, 16, 17, 59, 60, 61, 64, 65, 300, 320, 321, 832, 833, 1024, 1856, 1857, 3904, 3905}

// inlineImage makes an image with the feature and, by mke2fs, a file of each
// size; it returns those that mke2fs left in their inodes.
func inlineImage(t testing.TB, inodeSize int, args ...string) (path string, files map[int]image.Ino) {
	t.Helper()
	src, path := t.TempDir(), filepath.Join(t.TempDir(), "img")
	for _, n := range inlineSizes {
		must(t, os.WriteFile(filepath.Join(src, fmt.Sprint("size ", n)), cipherLike(fmt.Append(nil, "plain ", n), n), 0o644))
	}
	all := append([]string{"-q", "-F", "-t", "ext4", "-N", "64", "-I", fmt.Sprint(inodeSize), "-O", "encrypt,inline_data", "-d", src}, args...)
	if out, err := exec.Command("/usr/sbin/mke2fs", append(all, path, "16M")...).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	files = make(map[int]image.Ino)
	edit(t, path, func(fs *FS) {
		must(t, fs.SetFeatures([]string{"encrypted_inline_data"}, nil))
		for _, n := range inlineSizes {
			ino := lookup(t, fs, inoRoot, fmt.Sprint("size ", n))
			if a, err := fs.Stat(ino); err != nil || a.Size != int64(n) {
				t.Fatalf("file of %d bytes: %+v, %v", n, a, err)
			} else if a.Inline {
				files[n] = ino
			}
		}
	})
	if len(files) < 9 {
		t.Fatalf("mke2fs left %d files inline", len(files))
	}
	return path, files
}

func roundUp16(n int) int { return (n + 15) &^ 15 }

// seal gives a file the form of one with encrypted inline data, whose payload
// it makes up and returns.
func seal(t testing.TB, fs *FS, ino image.Ino, size int) []byte {
	t.Helper()
	payload := cipherLike(fmt.Append(nil, "payload ", ino), roundUp16(size))
	must(t, fs.SetInline(ino, nil))
	must(t, fs.SetContext(ino, cipherLike([]byte("context"), v2ContextSize)))
	must(t, fs.SetInline(ino, payload))
	return payload
}

// What fits is what the format's table says, and it comes to lie where the
// format has it: 60 bytes in i_block, the rest in the attribute, zeros behind.
// The context is in the inode, too.
func TestEncryptedInline(t *testing.T) {
	for inodeSize, largest := range largestPayload {
		t.Run(fmt.Sprint(inodeSize), func(t *testing.T) {
			path, files := inlineImage(t, inodeSize, "-b", "4096")
			var sealed []int
			payloads := make(map[int][]byte)
			edit(t, path, func(fs *FS) {
				for n, ino := range files {
					fits, err := fs.FitsInline(ino, roundUp16(n), v2ContextSize)
					if want := n > 0 && roundUp16(n) <= largest; err != nil || fits != want {
						t.Errorf("%d bytes: fit %v, %v, want %v", n, fits, err, want)
					}
					if fits {
						payloads[n] = seal(t, fs, ino, n)
						sealed = append(sealed, n)
					}
				}
			})
			if max := slices.Max(sealed); roundUp16(max) != largest {
				t.Errorf("the largest file that was tried has %d bytes, want %d", max, largest)
			}
			fs, shut := openFile(t, path, Options{})
			for _, n := range sealed {
				checkSealed(t, fs, files[n], n, payloads[n])
			}
			shut()
			refusedByAll(t, path)
			readsPayloads(t, path, files, payloads)
		})
	}
}

// checkSealed looks at the raw inode.
func checkSealed(t *testing.T, fs *FS, ino image.Ino, size int, payload []byte) {
	t.Helper()
	in, err := fs.inode(ino)
	must(t, err)
	const flags = flEncrypt | flInlineData
	if got := in.raw.flags() & (flags | flExtents); got != flags || in.raw.size() != uint64(size) {
		t.Errorf("%d bytes: flags %#x, size %d", size, got, in.raw.size())
	}
	if a, err := fs.Stat(ino); err != nil || a.AllocBytes != 0 || in.raw.fileACL() != 0 {
		t.Errorf("%d bytes: blocks %d, attribute block %d, %v", size, a.AllocBytes, in.raw.fileACL(), err)
	}
	iblock := make([]byte, iblockSize)
	rest := payload[copy(iblock, payload):]
	if !bytes.Equal(in.raw.iblock(), iblock) {
		t.Errorf("%d bytes: i_block is %x, want %x", size, in.raw.iblock(), iblock)
	}
	list, err := fs.ibodyXattrs(in)
	must(t, err)
	data, context := findXattr(list, xattrSystem, xattrInlineData), findXattr(list, xattrEncryption, xattrContext)
	if data == nil || context == nil || data.ino != 0 || !bytes.Equal(data.value, rest) {
		t.Errorf("%d bytes: attributes %+v", size, list)
	}
	if got, err := fs.Inline(ino); err != nil || !bytes.Equal(got, payload) {
		t.Errorf("%d bytes: payload %x, %v", size, got, err)
	}
	fs.CheckInode(ino, func(f image.Finding) { t.Errorf("%d bytes: %+v", size, f) })
}

// readsPayloads lets e2fsck and the kernel judge: without the feature bit the
// structure is that of inline data, without flag and context these are read.
func readsPayloads(t *testing.T, path string, files map[int]image.Ino, payloads map[int][]byte) {
	t.Helper()
	edit(t, path, func(fs *FS) { must(t, fs.SetFeatures(nil, []string{"encrypted_inline_data"})) })
	clean(t, path)
	edit(t, path, func(fs *FS) {
		for n := range payloads {
			in, err := fs.inode(files[n])
			must(t, err)
			in.raw.setFlags(in.raw.flags() &^ flEncrypt)
			list, err := fs.ibodyXattrs(in)
			must(t, err)
			list, _ = withoutXattr(cloneXattrs(list), xattrEncryption, xattrContext)
			fs.setIbodyXattrs(in, list)
			must(t, fs.putInode(in))
		}
	})
	clean(t, path)
	mkimage.Mounted(t, path, false, func(dir string) {
		for n, payload := range payloads {
			got, err := os.ReadFile(filepath.Join(dir, fmt.Sprint("size ", n)))
			if err != nil || !bytes.Equal(got, payload[:n]) {
				t.Errorf("%d bytes: the kernel reads %x, %v, want %x", n, got, err, payload[:n])
			}
		}
	})
}

// A context of v1 leaves more room than one of v2; what has none is refused.
func TestEncryptedInlineLimits(t *testing.T) {
	path, files := inlineImage(t, 1024, "-b", "1024")
	fs, _ := openFile(t, path, Options{Write: true})
	for _, tt := range []struct {
		stored, context int
		want            bool
	}{{832, v2ContextSize, true}, {848, v2ContextSize, false}, {832, v1ContextSize, true}, {848, v1ContextSize, true}, {864, v1ContextSize, false}} {
		fits, err := fs.FitsInline(files[832], tt.stored, tt.context)
		if err != nil || fits != tt.want {
			t.Errorf("%+v: %v, %v", tt, fits, err)
		}
	}
	if err := fs.SetInline(files[832], make([]byte, 2048)); !errors.Is(err, image.ErrUnsupported) {
		t.Errorf("more than the inode holds: %v", err)
	}
	if err := fs.SetInline(inoRoot, nil); !errors.Is(err, image.ErrUnsupported) {
		t.Errorf("a directory: %v", err)
	}
}

// Out of the inode and in a block the payload is followed by zeros, and nothing
// of it is left behind.
func TestUninlineEncrypted(t *testing.T) {
	path, files := inlineImage(t, 512, "-b", "1024")
	const size = 300
	edit(t, path, func(fs *FS) {
		payload := seal(t, fs, files[size], size)
		ino := files[size]
		cost, err := fs.CostUninline(ino)
		spend(t, fs, "Uninline", ino, cost, err, func() error { return fs.Uninline(ino) })
		data, err := fs.DataExtents(ino)
		must(t, err)
		block := make([]byte, fs.bs)
		if len(data) != 1 || data[0].Lblk != 0 || data[0].Len != 1 {
			t.Fatalf("extents %+v", data)
		}
		must(t, fs.ReadBlocks(block, data[0].Pblk))
		if !bytes.Equal(block[:len(payload)], payload) || len(bytes.Trim(block[len(payload):], "\x00")) > 0 {
			t.Errorf("the block has %x", block)
		}
		in, err := fs.inode(ino)
		must(t, err)
		if bytes.Contains(in.raw, payload[64:80]) {
			t.Error("some of the payload is left in the inode")
		}
	})
	edit(t, path, func(fs *FS) { must(t, fs.SetFeatures(nil, []string{"encrypted_inline_data"})) })
	clean(t, path)
}

// The bit is in every superblock, or in none.
func TestEncryptedInlineFeature(t *testing.T) {
	path := mkimage.Make(t, rawRow("x", 64, "-b", "1024", "-O", "encrypt,inline_data"))
	count := func(fs *FS) (with, all int) {
		for n := range fs.geo.groups {
			if fs.hasSuper(n) {
				all++
				if le.Uint32(superAt(t, fs, n)[offIncompat:])&incompatEncInline != 0 {
					with++
				}
			}
		}
		return with, all
	}
	edit(t, path, func(fs *FS) { must(t, fs.SetFeatures([]string{"encrypted_inline_data"}, nil)) })
	edit(t, path, func(fs *FS) {
		if with, all := count(fs); with != all || all < 3 {
			t.Errorf("%d of %d superblocks have it", with, all)
		}
		if s := fs.Super(); s.Inline != InlineLayout || !slices.Contains(s.Features, "encrypted_inline_data") {
			t.Errorf("Super does not tell: %+v", s)
		}
		if err := fs.SetFeatures(nil, []string{"encrypt"}); !errors.Is(err, image.ErrUnsupported) {
			t.Errorf("encrypt cleared beside it: %v", err)
		}
		must(t, fs.SetFeatures(nil, []string{"encrypt", "encrypted_inline_data"}))
	})
	fs, _ := openFile(t, path, Options{})
	if with, _ := count(fs); with != 0 || fs.Super().Inline != "" {
		t.Errorf("%d superblocks have it", with)
	}
	clean(t, path)
}

// Without the feature, and on what is no file, a context beside inline contents
// is refused.
func TestContextBesideInline(t *testing.T) {
	path, files := inlineImage(t, 512, "-b", "1024")
	context := cipherLike([]byte("context"), v2ContextSize)
	edit(t, path, func(fs *FS) {
		dir, err := fs.inode(inoRoot)
		must(t, err)
		dir.raw.setFlags(dir.raw.flags() | flInlineData)
		must(t, fs.putInode(dir))
		if err := fs.SetContext(inoRoot, context); !errors.Is(err, image.ErrUnsupported) {
			t.Errorf("inline directory: %v", err)
		}
		dir.raw.setFlags(dir.raw.flags() &^ flInlineData)
		must(t, fs.putInode(dir))
		must(t, fs.SetFeatures(nil, []string{"encrypted_inline_data"}))
		if err := fs.SetContext(files[1], context); !errors.Is(err, image.ErrUnsupported) {
			t.Errorf("inline file: %v", err)
		}
	})
}

// What is wrong with where a payload lies is found.
func TestCheckEncryptedInline(t *testing.T) {
	const size = 100
	attrs := func(fs *FS, in *inode, change func([]xattr) []xattr) {
		list, err := fs.ibodyXattrs(in)
		must(t, err)
		if !fs.setIbodyXattrs(in, change(cloneXattrs(list))) {
			t.Fatal("no room")
		}
	}
	for name, tt := range map[string]struct {
		want   string
		change func(*FS, *inode)
	}{
		"long attribute": {"inline-form", func(fs *FS, in *inode) {
			attrs(fs, in, func(l []xattr) []xattr {
				l, _ = withoutXattr(l, xattrSystem, xattrInlineData)
				return append(l, inlineXattr(make([]byte, 128), iblockSize))
			})
		}},
		"short attribute": {"inline-form", func(fs *FS, in *inode) {
			attrs(fs, in, func(l []xattr) []xattr {
				l, _ = withoutXattr(l, xattrSystem, xattrInlineData)
				return append(l, inlineXattr(make([]byte, size), iblockSize))
			})
		}},
		"extents": {"inline-form", func(_ *FS, in *inode) { in.raw.setFlags(in.raw.flags() | flExtents) }},
		"slack":   {"inline-slack", func(_ *FS, in *inode) { in.raw.setSize(1); in.raw.iblock()[16] = 1 }},
		"context elsewhere": {"inline-context", func(fs *FS, in *inode) {
			attrs(fs, in, func(l []xattr) []xattr { l, _ = withoutXattr(l, xattrEncryption, xattrContext); return l })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			path := mkimage.Make(t, rawRow("x", 8, "-b", "1024", "-I", "512", "-O", "encrypt,inline_data"))
			edit(t, path, func(fs *FS) {
				must(t, fs.SetFeatures([]string{"encrypted_inline_data"}, nil))
				ino, err := fs.Create(inoRoot, []byte("file"), nil, image.NewFile{Perm: 0o600, Time: stamp})
				must(t, err)
				in, err := fs.inode(ino)
				must(t, err)
				in.raw.setFlags(in.raw.flags()&^flExtents | flInlineData)
				clear(in.raw.iblock())
				in.raw.setSize(size)
				if !fs.setIbodyXattrs(in, []xattr{inlineXattr(nil, iblockSize)}) {
					t.Fatal("no room")
				}
				must(t, fs.putInode(in))
				seal(t, fs, ino, size)
				var found []string
				report := func(f image.Finding) { found = append(found, f.ID) }
				if fs.CheckInode(ino, report); len(found) > 0 {
					t.Fatalf("before: %q", found)
				}
				spoil(t, ino, tt.change)(fs)
				if fs.CheckInode(ino, report); !slices.Contains(found, tt.want) {
					t.Errorf("found %q, want %q", found, tt.want)
				}
			})
		})
	}
}
