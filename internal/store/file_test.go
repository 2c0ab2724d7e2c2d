package store

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func tempFile(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustOpen(t *testing.T, path string, write bool) *File {
	t.Helper()
	s, err := OpenFile(path, write)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestLock(t *testing.T) {
	path := tempFile(t, make([]byte, 512))
	r := mustOpen(t, path, false)
	mustOpen(t, path, false) // readers share
	if _, err := OpenFile(path, true); !errors.Is(err, ErrLocked) {
		t.Fatalf("writer beside readers: %v", err)
	}
	forced, err := OpenForced(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(forced.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestWriterExcludesReaders(t *testing.T) {
	path := tempFile(t, make([]byte, 512))
	w := mustOpen(t, path, true)
	if _, err := OpenFile(path, false); !errors.Is(err, ErrLocked) {
		t.Fatalf("reader beside a writer: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, path, false)
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, t.TempDir(), "/dev/null"} {
		if s, err := OpenFile(path, false); err == nil {
			s.Close()
			t.Errorf("%s opened", path)
		}
	}
}

func TestFixedSize(t *testing.T) {
	s := mustOpen(t, tempFile(t, make([]byte, 1000)), true)
	if _, err := s.WriteAt(make([]byte, 2), 999); !errors.Is(err, ErrRange) {
		t.Errorf("write past the end: %v", err)
	}
	if _, err := s.WriteAt(nil, -1); !errors.Is(err, ErrRange) {
		t.Errorf("write before the start: %v", err)
	}
	if err := s.Zero(900, 101); !errors.Is(err, ErrRange) {
		t.Errorf("zero past the end: %v", err)
	}
	if n, err := s.ReadAt(make([]byte, 10), 995); n != 5 || err != io.EOF {
		t.Errorf("read over the end: %d, %v", n, err)
	}
}

// checkZero zeroes ranges of all alignments and compares with memory.
func checkZero(t *testing.T, s *File) {
	t.Helper()
	want := bytes.Repeat([]byte{0xa5}, int(s.Size()))
	if _, err := s.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]int64{{0, 1}, {511, 2}, {4096, 4096}, {10000, 70000}, {100001, 0},
		{131071, 8195}, {60000, 100000}, {s.Size() - 5000, 5000}} {
		if err := s.Zero(r[0], r[1]); err != nil {
			t.Fatalf("zero %v: %v", r, err)
		}
		clear(want[r[0] : r[0]+r[1]])
		got := make([]byte, len(want))
		if _, err := s.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("after zero %v contents differ", r)
		}
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
}

func TestZeroFile(t *testing.T) {
	path := tempFile(t, make([]byte, 1<<20+123))
	s := mustOpen(t, path, true)
	checkZero(t, s)
	if err := s.Zero(0, s.Size()); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != s.Size() || st.Blocks*512 >= punchMin {
		t.Errorf("size %d in %d sectors, want %d in next to none", st.Size, st.Blocks, s.Size())
	}
}

// needRoot fails a test that cannot do what it must: one that passes without
// having looked is worse.
func needRoot(t *testing.T, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatalf("missing: root, for %s", what)
	}
}

// loopDevice attaches a file to a loop device, which only root can.
func loopDevice(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("losetup", "--find", "--show", path).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", dev).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, out)
		}
	})
	return dev
}

func TestDevice(t *testing.T) {
	needRoot(t, "attaching a loop device")
	path := tempFile(t, make([]byte, 1<<20))
	dev := loopDevice(t, path)
	s := mustOpen(t, dev, true)
	if !s.Device() || s.Size() != 1<<20 {
		t.Fatalf("device %v, size %d", s.Device(), s.Size())
	}
	checkZero(t, s)
	if _, err := OpenFile(dev, true); !errors.Is(err, ErrInUse) {
		t.Errorf("second exclusive opening: %v", err)
	}
	if _, err := InUse(path); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dev) {
		t.Errorf("file behind %s: %v", dev, err)
	}
	if unproven, err := InUse(dev); err != nil || len(unproven) > 0 {
		t.Errorf("unmounted %s: %v, %q", dev, err, unproven)
	}
}

func TestMountedDevice(t *testing.T) {
	needRoot(t, "mounting an image")
	path := tempFile(t, make([]byte, 4<<20))
	if out, err := exec.Command("mke2fs", "-q", "-F", path).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	dev, dir := loopDevice(t, path), t.TempDir()
	if err := unix.Mount(dev, dir, "ext4", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	for _, p := range []string{path, dev} {
		if _, err := InUse(p); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestWriteVector(t *testing.T) {
	const size = 1 << 20
	path := tempFile(t, make([]byte, size))
	s := mustOpen(t, path, true)
	var parts [][]byte
	var want []byte
	for i := range 3 * maxVector { // more than the kernel takes at once
		p := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, i%37)
		parts, want = append(parts, p), append(want, p...)
	}
	const off = 4097
	if err := s.WriteVector(parts, off); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != size || !bytes.Equal(got[off:][:len(want)], want) {
		t.Error("other bytes than were written")
	}
	if i := bytes.IndexFunc(got[off+len(want):], func(r rune) bool { return r != 0 }); i >= 0 {
		t.Errorf("written %d bytes behind the end", i)
	}
	if err := s.WriteVector([][]byte{{1}, {2}}, size-1); !errors.Is(err, ErrRange) {
		t.Errorf("across the end: %v", err)
	}
	if err := s.WriteVector(nil, 0); err != nil {
		t.Errorf("nothing: %v", err)
	}
}
