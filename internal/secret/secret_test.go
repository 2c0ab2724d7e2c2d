package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"unsafe"

	"golang.org/x/sys/unix"
)

func alloc(t testing.TB, n int) *Buffer {
	t.Helper()
	b, err := Alloc(n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Buffers of all sizes are zero, apart from one another, and zero again when
// their memory is used a second time.
func TestAllocSizes(t *testing.T) {
	for range 3 {
		var bufs []*Buffer
		for n := 1; n <= 9000; n += 1 + n/3 {
			for fill := range 3 {
				b := alloc(t, n)
				if b.Len() != n || cap(b.Bytes()) != n || len(bytes.Trim(b.Bytes(), "\x00")) > 0 {
					t.Fatalf("%d bytes: len %d, cap %d, or not zero", n, b.Len(), cap(b.Bytes()))
				}
				for i := range b.mem {
					b.mem[i] = byte(n + fill + 1)
				}
				bufs = append(bufs, b)
			}
		}
		for i, b := range bufs {
			want := byte(b.Len() + i%3 + 1)
			if bytes.Count(b.Bytes(), []byte{want}) != b.Len() {
				t.Fatalf("a buffer of %d bytes was overwritten by another", b.Len())
			}
			b.Wipe()
		}
	}
}

func TestAllocRefusesSize(t *testing.T) {
	for _, n := range []int{0, -1} {
		if b, err := Alloc(n); err == nil || b != nil {
			t.Errorf("%d bytes: %v, %v", n, b, err)
		}
	}
}

// The piece is clear when another buffer could get it, slack included.
func TestWipeClears(t *testing.T) {
	a, b := alloc(t, 64), alloc(t, 64) // b keeps the mapping
	defer b.Wipe()
	piece := unsafe.Slice(unsafe.SliceData(a.mem), 64)
	copy(piece, bytes.Repeat([]byte{0xa5}, 64))
	a.Truncate(10)
	if a.Len() != 10 || !bytes.Equal(piece[10:], make([]byte, 54)) {
		t.Error("what was cut off is not clear")
	}
	piece[40] = 1
	a.Wipe()
	if !bytes.Equal(piece, make([]byte, 64)) {
		t.Error("wiped memory is not clear")
	}
	if a.Bytes() != nil || a.Len() != 0 || a.Locked() {
		t.Error("a wiped buffer still has memory")
	}
	a.Wipe()
	(*Buffer)(nil).Wipe()
}

// A million keys one after another map no more than one.
func TestMappingsAreGivenBack(t *testing.T) {
	for range 2000 {
		var some [40]*Buffer
		for i := range some {
			some[i] = alloc(t, 1000)
		}
		for _, b := range some {
			b.Wipe()
		}
		alloc(t, 5000).Wipe()
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	c, _ := class(1000)
	if n := len(all.slabs[c]); n != 1 || all.alone != 0 {
		t.Errorf("%d mappings of 1 KiB pieces and %d single ones are left, want 1 and 0", n, all.alone)
	}
}

func TestConcurrentUse(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				b, err := Alloc(1 + (i*37+g)%3000)
				if err != nil {
					t.Error(err)
					return
				}
				for j := range b.mem {
					if b.mem[j] != 0 {
						t.Error("memory in use was given out")
						return
					}
					b.mem[j] = byte(g)
				}
				b.Wipe()
			}
		})
	}
	wg.Wait()
}

// The kernel confirms what was asked for: "dd" do not dump, "wf" wipe on
// fork, "lo" locked.
func TestKernelFlags(t *testing.T) {
	b := alloc(t, 32)
	defer b.Wipe()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b.mem)))
	head := regexp.MustCompile(`^([0-9a-f]+)-([0-9a-f]+) `)
	inside := false
	for line := range strings.Lines(string(smaps)) {
		if m := head.FindStringSubmatch(line); m != nil {
			var from, to uintptr
			if _, err := fmt.Sscanf(m[1]+" "+m[2], "%x %x", &from, &to); err != nil {
				t.Fatal(err)
			}
			inside = from <= at && at < to
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && inside {
			for _, want := range []string{"dd", "wf"} {
				if !strings.Contains(flags, " "+want) {
					t.Errorf("flags %q lack %s", flags, want)
				}
			}
			if got := strings.Contains(flags, " lo"); got != b.Locked() {
				t.Errorf("flags %q, Locked says %v", flags, b.Locked())
			}
			return
		}
	}
	t.Error("no mapping with the buffer's address")
}

// Run as a child, the test's process has no right to lock memory, or is
// hardened and looks at itself.
func TestMain(m *testing.M) {
	switch os.Getenv("SECRET_TEST_CHILD") {
	case "":
		os.Exit(m.Run())
	case "unlocked":
		os.Exit(childUnlocked())
	case "hardened":
		os.Exit(childHardened())
	}
}

func childUnlocked() int {
	// Root may lock without limit; an ordinary user may not.
	err := errors.Join(unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{}), unix.Setuid(65534))
	b, allocErr := Alloc(64)
	if err != nil || allocErr != nil || b.Locked() {
		fmt.Println(err, allocErr, b.Locked())
		return 1
	}
	b.Wipe()
	return 0
}

func childHardened() int {
	if err := HardenProcess(); err != nil {
		fmt.Println(err)
		return 1
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	var core unix.Rlimit
	if limErr := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil || limErr != nil || dumpable != 0 || core.Max != 0 {
		fmt.Println(err, limErr, dumpable, core)
		return 1
	}
	// Finding out whether an image is mounted must go on working.
	if _, err := os.ReadFile("/proc/self/mountinfo"); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func TestInChild(t *testing.T) {
	for _, mode := range []string{"unlocked", "hardened"} {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "SECRET_TEST_CHILD="+mode)
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", mode, err, out)
		}
	}
}

func TestReadKey(t *testing.T) {
	for _, c := range []struct {
		in   string
		want error
	}{
		{"", io.ErrUnexpectedEOF}, {"a", nil}, {"a\nb\x00", nil},
		{strings.Repeat("k", 64), nil}, {strings.Repeat("k", 65), ErrTooLong}, {strings.Repeat("k", 999), ErrTooLong},
	} {
		for name, r := range map[string]io.Reader{
			"plain": strings.NewReader(c.in), "bytewise": iotest.OneByteReader(strings.NewReader(c.in)),
			"with EOF": iotest.DataErrReader(strings.NewReader(c.in)),
		} {
			b, err := ReadKey(r, 64)
			if !errors.Is(err, c.want) || err == nil && string(b.Bytes()) != c.in {
				t.Errorf("%s, %d bytes: %d bytes, error %v, want %v", name, len(c.in), b.Len(), err, c.want)
			}
			b.Wipe()
		}
	}
	broken := errors.New("broken")
	if _, err := ReadKey(iotest.ErrReader(broken), 64); !errors.Is(err, broken) {
		t.Errorf("error %v, want that of the reader", err)
	}
}

func TestReadLine(t *testing.T) {
	for _, c := range []struct {
		in, line, rest string
		want           error
	}{
		{"", "", "", io.ErrUnexpectedEOF}, {"\n", "", "", nil}, {"abc", "abc", "", nil}, {"abc\n", "abc", "", nil},
		{"a b\r\nsecond\n", "a b\r", "second\n", nil}, {"12345678", "12345678", "", nil},
		{"12345678\nx", "12345678", "x", nil}, {"123456789", "", "", ErrTooLong},
	} {
		r := strings.NewReader(c.in)
		b, err := ReadLine(r, 8)
		rest, restErr := io.ReadAll(r)
		if !errors.Is(err, c.want) || restErr != nil || string(b.Bytes()) != c.line || string(rest) != c.rest {
			t.Errorf("%q: line %q, rest %q, error %v", c.in, b.Bytes(), rest, err)
		}
		b.Wipe()
	}
}

func TestMoveAndRandom(t *testing.T) {
	src := []byte("0123456789abcdef")
	b, err := Move(src)
	if err != nil || string(b.Bytes()) != "0123456789abcdef" || !bytes.Equal(src, make([]byte, 16)) {
		t.Errorf("moved %q, left %q, error %v", b.Bytes(), src, err)
	}
	defer b.Wipe()
	r, err := Random(32)
	if err != nil || bytes.Count(r.Bytes(), []byte{0}) > 16 {
		t.Errorf("random bytes %x, error %v", r.Bytes(), err)
	}
	defer r.Wipe()
}

func TestFormat(t *testing.T) {
	b, err := Move([]byte("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Wipe()
	for _, verb := range []string{"%v", "%s", "%x", "%q", "%+v", "%#v", "%d"} {
		if got := fmt.Sprintf(verb, b); got != "[secret]" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}
