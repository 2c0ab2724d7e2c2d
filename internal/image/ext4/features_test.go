package ext4

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/store"
	"fsenc/test/linux"
)

// SetFeatures makes the superblock and its backups what tune2fs makes of them.
func TestSetFeatures(t *testing.T) {
	for _, row := range []string{"def4k", "b1k", "i128x", "sp2", "nosparse", "metabg", "big1k", "seed", "nocsum"} {
		t.Run(row, func(t *testing.T) {
			path, ref := makeRow(t, row), makeRow(t, row)
			e2tool(t, ref, "tune2fs", "-O", "encrypt")
			e2tool(t, ref, "tune2fs", "-O", "stable_inodes")
			edit(t, path, func(fs *FS) {
				must(t, fs.SetFeatures([]string{"encrypt", "stable_inodes"}, nil))
				if s := fs.Super(); !s.Encrypt || !s.StableInodes {
					t.Errorf("Super does not tell: %+v", s)
				}
			})
			clean(t, path)
			fs, _ := openFile(t, path, Options{})
			other, _ := openFile(t, ref, Options{})
			supers := 0
			for n := range fs.geo.groups {
				if fs.hasSuper(n) {
					supers++
					compareSupers(t, n, superAt(t, fs, n), superAt(t, other, n))
				}
			}
			if n := superCount(t, fs); n != supers {
				t.Errorf("%d superblocks with the encrypt bit, want %d", n, supers)
			}
		})
	}
}

// superAt returns the superblock of group n.
func superAt(t *testing.T, fs *FS, n uint32) []byte {
	t.Helper()
	raw := make([]byte, superSize)
	off := int64(superOffset)
	if n > 0 {
		off = int64(fs.geo.firstBlock(n)) * int64(fs.bs)
	}
	must(t, store.ReadFull(fs.s, raw, off))
	if fs.hasCsum && le.Uint32(raw[offSuperChecksum:]) != superChecksum(raw) {
		t.Errorf("group %d: the checksum is wrong", n)
	}
	return raw
}

// compareSupers ignores the times and what depends on them.
func compareSupers(t *testing.T, n uint32, got, want []byte) {
	t.Helper()
	for i := range got {
		switch {
		case i >= offWtime && i < offWtime+4, i >= offSuperChecksum:
		case i >= 0x108 && i < 0x10C: // s_mkfs_time
		case i >= 0x40 && i < 0x44: // s_lastcheck
		case got[i] != want[i]:
			t.Errorf("group %d: byte %#x is %#x, tune2fs makes it %#x", n, i, got[i], want[i])
		}
	}
}

// superCount searches the image for superblocks with the encrypt bit.
func superCount(t *testing.T, fs *FS) (count int) {
	t.Helper()
	sb := &super{raw: make([]byte, superSize)}
	for off := int64(0); off+superSize <= fs.s.Size(); off += 1024 {
		must(t, store.ReadFull(fs.s, sb.raw, off))
		if sb.u16(offMagic) == superMagic && sb.uuid() == fs.sb.uuid() {
			if !sb.hasIncompat(incompatEncrypt) {
				t.Errorf("the superblock at %d has no encrypt bit", off)
			}
			count++
		}
	}
	return count
}

// Clearing what was set gives the old superblock back.
func TestClearFeatures(t *testing.T) {
	path := makeRow(t, "b1k")
	fs, _ := openFile(t, path, Options{Write: true})
	before := superAt(t, fs, 1)
	must(t, fs.SetFeatures([]string{"encrypt", "stable_inodes"}, nil))
	must(t, fs.SetFeatures(nil, []string{"encrypt", "stable_inodes"}))
	must(t, fs.Flush())
	compareSupers(t, 1, superAt(t, fs, 1), before)
	clean(t, path)
	if err := fs.SetFeatures([]string{"casefold"}, nil); err == nil {
		t.Error("casefold was set")
	}
	if err := fs.SetFeatures([]string{"encrypted_inline_data"}, nil); err == nil {
		t.Error("encrypted_inline_data was set without inline_data")
	}
}

// The mark keeps the kernel and e2fsprogs away, and leaves nothing when it is
// taken off.
func TestUnfinished(t *testing.T) {
	for _, row := range []string{"def4k", "nocsum0", "sp2"} {
		t.Run(row, func(t *testing.T) {
			path := makeRow(t, row)
			edit(t, path, func(*FS) {}) // so that only the times differ in the end
			before, err := os.ReadFile(path)
			must(t, err)
			id := [16]byte{1, 2, 3, 15: 0xFF}
			edit(t, path, func(fs *FS) { must(t, fs.SetUnfinished(id)) })
			refusedByAll(t, path)
			if err := tryOpen(t, path, Options{Write: true}); err == nil || !strings.Contains(err.Error(), image.ErrUnfinished.Error()) {
				t.Errorf("opened without AllowUnfinished: %v", err)
			}
			edit(t, path, func(fs *FS) {
				if got := fs.Unfinished(); got != id {
					t.Errorf("the id is %x, want %x", got, id)
				}
				must(t, fs.SetUnfinished([16]byte{}))
				if got := fs.Unfinished(); got != [16]byte{} {
					t.Errorf("the id is %x after it was taken off", got)
				}
			})
			clean(t, path)
			after, err := os.ReadFile(path)
			must(t, err)
			compareSupers(t, 0, after[superOffset:superOffset+superSize], before[superOffset:superOffset+superSize])
			if string(after[superOffset+superSize:]) != string(before[superOffset+superSize:]) {
				t.Error("something but the superblock changed")
			}
		})
	}
}

func refusedByAll(t *testing.T, path string) {
	t.Helper()
	for _, ro := range []bool{true, false} {
		if m, err := linux.MountImage(path, t.TempDir(), "ext4", ro, ""); err == nil {
			t.Error("the kernel mounted it")
			must(t, m.Unmount())
		}
	}
	for _, args := range [][]string{{"e2fsck", "-fn"}, {"e2fsck", "-fy"}, {"e2fsck", "-p"}, {"dumpe2fs", "-h"}, {"tune2fs", "-l"}} {
		out, err := exec.Command("/usr/sbin/"+args[0], append(args[1:], path)...).CombinedOutput()
		if args[0] == "tune2fs" || args[0] == "dumpe2fs" {
			continue // whatever they show, they change nothing
		}
		if code := exitCode(err); code != 8 {
			t.Errorf("%v: exit %d: %s", args, code, out)
		}
	}
}

func exitCode(err error) int {
	if e, ok := err.(*exec.ExitError); ok {
		return e.ExitCode()
	}
	return 0
}
