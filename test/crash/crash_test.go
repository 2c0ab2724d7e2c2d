package crash

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/linux"
	"fsenc/test/mkimage"
)

// logSuffix is what the conversion's log is called beside the image.
const logSuffix = ".fsenc"

// TestPowerCutAtEveryWrite kills the program at every write, truncation and
// sync of every command that writes to an image. Each time a kernel that is shown
// the image as it is refuses it or sees the tree as it should be; resume and undo
// both end with that tree, and e2fsck has nothing to say.
func TestPowerCutAtEveryWrite(t *testing.T) {
	mkimage.NeedRoot(t)
	j := newJudge(t)
	plain := filepath.Join(t.TempDir(), "plain.img")
	j.make(t, plain)
	j.want = j.see(t, plain)
	bases := map[string]string{"plain": plain}
	then := func(name, from string, args ...string) {
		bases[name] = filepath.Join(t.TempDir(), name+".img")
		copyFile(t, bases[from], bases[name])
		j.must(t, append([]string{args[0], bases[name]}, args[1:]...)...)
	}
	key, pass, other := "--key-file="+j.keyFile, "--passphrase-file="+j.secret(t, "first words"), j.secret(t, "other words")
	then("encrypted", "plain", "encrypt-dir", "/secret", key, "--yes")
	then("set up", "plain", "setup", "--yes")
	bases["keys"] = filepath.Join(t.TempDir(), "keys.img")
	copyFile(t, bases["set up"], bases["keys"])
	j.must(t, "key", "add", bases["keys"], "--iter-time=1ms", "--name=work", pass)

	for _, c := range []struct{ base, verb, args string }{
		{"plain", "encrypt-dir", "/secret " + key},
		{"encrypted", "decrypt-dir", "/secret " + key},
		{"encrypted", "rekey", "/secret --padding=16 --resilience=journal " + key + " --to-key-file=" + j.keyFile},
		{"plain", "setup", ""},
		{"set up", "key add", "--iter-time=1ms --name=work " + pass},
		{"keys", "key change", "work --new-passphrase-file=" + other + " " + pass},
		{"keys", "key remove", "work --force=last-key"},
		{"plain", "wipe-free", ""},
	} {
		before := j.cuts
		for n := 0; j.killAt(t, n, c.verb, bases[c.base], strings.Fields(c.args)...); n++ {
		}
		t.Logf("%s: %d cuts", c.verb, j.cuts-before)
		if j.cuts-before < 5 {
			t.Errorf("%s: only %d cuts: the program's writes were not counted", c.verb, j.cuts-before)
		}
	}
	t.Logf("%d cuts; the kernel refused the image after %d and saw the right tree after %d; every resume and undo ended with the right tree",
		j.cuts, j.refused, j.cuts-j.refused)
}

// killAt kills a command at one call and judges what it left. It reports
// whether the call was reached.
func (j *judge) killAt(t *testing.T, n int, verb, base string, args ...string) bool {
	t.Helper()
	image := filepath.Join(t.TempDir(), "work.img")
	copyFile(t, base, image)
	all := append(append(strings.Fields(verb), image), append(args, "--yes", "--non-interactive")...)
	e, err := runUntil(n, unix.SIGKILL, image, j.program, all...)
	if err != nil {
		t.Fatalf("%s, call %d: %v", verb, n, err)
	}
	if !e.reached && e.status != 0 {
		t.Fatalf("%s: status %#x: %s", verb, e.status, e.said)
	}
	if e.reached {
		j.cuts++
		j.judge(t, fmt.Sprintf("%s killed at call %d", verb, n), image)
	}
	for _, f := range []string{image, image + logSuffix} {
		os.Remove(f)
	}
	return e.reached
}

// secret writes a passphrase to a file and returns its name.
func (j *judge) secret(t *testing.T, words string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "words")
	if err := os.WriteFile(name, []byte(words), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestPowerCutOfCopy kills the program at every write of a copy, lets the disk
// be full, and takes it away in the middle: the old image is as it was and the
// new one does not have its name before it is complete.
func TestPowerCutOfCopy(t *testing.T) {
	mkimage.NeedRoot(t)
	j := newJudge(t)
	dir := t.TempDir()
	plain, new := filepath.Join(dir, "plain.img"), filepath.Join(dir, "new.img")
	j.make(t, plain)
	j.want = j.see(t, plain)
	before, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	untouched := func(when string) {
		t.Helper()
		if b, err := os.ReadFile(plain); err != nil || !bytes.Equal(b, before) {
			t.Fatalf("%s: the old image was changed (%v)", when, err)
		}
	}
	copyTo := func(to string) []string {
		return []string{"encrypt-dir", plain, "/secret", "--key-file", j.keyFile, "--copy-to", to, "--yes", "--non-interactive"}
	}
	cuts, named := 0, 0
	for n := 0; ; n++ {
		e, err := runUntil(n, unix.SIGKILL, new, j.program, copyTo(new)...)
		if err != nil {
			t.Fatal(err)
		}
		untouched(fmt.Sprintf("killed at call %d", n))
		_, err = os.Stat(new)
		if err == nil {
			named++
			j.clean(t, fmt.Sprintf("killed at call %d, but named", n), new)
			os.Remove(new)
		}
		if !e.reached {
			if e.status != 0 {
				t.Fatalf("status %#x: %s", e.status, e.said)
			}
			break
		}
		cuts++
		os.Remove(new + ".part")
	}
	t.Logf("%d cuts, after %d of which the copy had its name and was complete", cuts, named-1)
	if cuts < 10 {
		t.Errorf("only %d cuts", cuts)
	}
	for _, size := range []string{"50k", "150k", "300k"} {
		full := t.TempDir()
		if err := unix.Mount("fsenc-full", full, "tmpfs", 0, "size="+size); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(j.program, copyTo(filepath.Join(full, "new.img"))...).CombinedOutput()
		left, _ := filepath.Glob(filepath.Join(full, "*"))
		if e := unix.Unmount(full, 0); e != nil {
			t.Error(e)
		}
		if err == nil || !strings.Contains(string(out), "no space left") || len(left) > 0 {
			t.Errorf("with %s of space: %v, left %v: %s", size, err, left, out)
		}
		untouched("full disk")
	}
}

// TestInterrupt sends SIGINT, as Ctrl-C does, at some of the writes: fsenc
// stops between two steps, says what to do, and resume and undo do it.
func TestInterrupt(t *testing.T) {
	mkimage.NeedRoot(t)
	j := newJudge(t)
	plain := filepath.Join(t.TempDir(), "plain.img")
	j.make(t, plain)
	j.want = j.see(t, plain)
	b, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	untouched := sha256.Sum256(b)
	stopped := 0
	for n := 0; ; n += 3 {
		image := filepath.Join(t.TempDir(), "work.img")
		copyFile(t, plain, image)
		e, err := runUntil(n, unix.SIGINT, image, j.program, "encrypt-dir", image, "/secret", "--key-file", j.keyFile, "--yes", "--non-interactive")
		if err != nil {
			t.Fatal(err)
		}
		if !e.reached {
			break
		}
		when := fmt.Sprintf("interrupted at call %d", n)
		switch code := e.status.ExitStatus(); code {
		case 0: // too late to stop
			j.clean(t, when, image)
		case exitCancelled:
			if b, err := os.ReadFile(image); err != nil || sha256.Sum256(b) != untouched {
				t.Errorf("%s: exit %d, but the image has changed: %s", when, code, e.said)
			}
		case exitUnfinished:
			stopped++
			if !strings.Contains(e.said, "fsenc resume") || !strings.Contains(e.said, "fsenc undo") {
				t.Errorf("%s: no word of resume and undo: %s", when, e.said)
			}
			j.judge(t, when, image)
		default:
			t.Errorf("%s: exit %d: %s", when, code, e.said)
		}
	}
	if stopped == 0 {
		t.Error("no conversion was stopped on its way")
	}
}

// Exit codes of an interrupted conversion.
const (
	exitUnfinished = 13
	exitCancelled  = 130
)

type judge struct {
	program, keyFile string
	key              []byte
	want             []manifest.Entry
	good             map[[32]byte]bool // images judged before
	cuts, refused    int
}

func newJudge(t *testing.T) *judge {
	t.Helper()
	j := &judge{program: filepath.Join(t.TempDir(), "fsenc"), keyFile: filepath.Join(t.TempDir(), "key"), good: make(map[[32]byte]bool)}
	build := exec.Command("go", "build", "-o", j.program, "fsenc")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build fsenc: %v\n%s", err, out)
	}
	sum := sha256.Sum256([]byte("crash"))
	j.key = append(sum[:], sum[:]...)
	j.key[0] ^= 1 // halves of an XTS key must differ
	if err := os.WriteFile(j.keyFile, j.key, 0o600); err != nil {
		t.Fatal(err)
	}
	return j
}

// make builds a small image with a little of everything.
func (j *judge) make(t *testing.T, image string) {
	t.Helper()
	small := mkimage.Make(t, mkimage.Row{Name: "small", Size: 8 << 20, Args: []string{"-b", "1024", "-O", "encrypt,inline_data", "-N", "256", "-J", "size=1"}})
	mkimage.Mounted(t, small, true, func(dir string) {
		at := func(name string) string { return filepath.Join(dir, "secret", name) }
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		check(os.MkdirAll(at("sub/deeper"), 0o755))
		for i, n := range []int{0, 10, 1024, 5000, 300_000} {
			check(os.WriteFile(at(fmt.Sprintf("hush-%d", i)), []byte(strings.Repeat(linux.MarkContents, n/20+1)[:n]), 0o640))
		}
		for i := range 30 {
			check(os.WriteFile(at(fmt.Sprintf("sub/hush with a longer name %d", i)), nil, 0o600))
		}
		check(os.Symlink("whisper", at("sub/link")))
		check(os.Symlink(strings.Repeat("whisper/", 20), at("sub/long link")))
		check(os.Link(at("hush-3"), at("sub/deeper/hard")))
		check(os.WriteFile(filepath.Join(dir, "outside"), []byte("stays"), 0o644))
	})
	copyFile(t, small, image)
}

func (j *judge) must(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(j.program, append(args, "--non-interactive")...).CombinedOutput(); err != nil {
		t.Fatalf("fsenc %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// see returns what the kernel shows with the key. An image that it refuses
// gives nil.
func (j *judge) see(t *testing.T, image string) []manifest.Entry {
	t.Helper()
	m, err := linux.MountImage(image, t.TempDir(), "ext4", true, "")
	if err != nil {
		return nil
	}
	defer func() {
		if err := m.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := linux.AddKey(m.Dir, j.key); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(mkimage.Walk(t, m.Dir), func(e manifest.Entry) bool {
		// What the commands for keys keep in the image is not the tree's.
		return strings.HasPrefix(e.Path, ".fscrypt") || e.Path == "."
	})
}

func (j *judge) judge(t *testing.T, when, image string) {
	t.Helper()
	if tree := j.see(t, image); tree == nil {
		j.refused++
	} else {
		j.same(t, when+", as it is", tree)
	}
	log := image + logSuffix
	for _, verb := range []string{"resume", "undo"} {
		again := filepath.Join(t.TempDir(), "again.img")
		copyFile(t, image, again)
		if _, err := os.Stat(log); err == nil {
			copyFile(t, log, again+logSuffix)
		}
		out, err := exec.Command(j.program, verb, again, "--key-file", j.keyFile, "--yes", "--non-interactive").CombinedOutput()
		if err != nil && !strings.Contains(string(out), "no unfinished conversion") {
			t.Fatalf("%s: %s: %v\n%s", when, verb, err, out)
		}
		if _, err := os.Stat(again + logSuffix); err == nil {
			t.Errorf("%s: %s leaves a log", when, verb)
		}
		j.clean(t, when+", then "+verb, again)
		os.Remove(again)
	}
}

func (j *judge) clean(t *testing.T, when, image string) {
	t.Helper()
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[1024:2048]) // the superblock has the time of the last write
	sum := sha256.Sum256(b)
	if j.good[sum] {
		return
	}
	if out, err := mkimage.Check(image); err != nil {
		t.Fatalf("%s: %v\n%s", when, err, out)
	}
	j.same(t, when, j.see(t, image))
	j.good[sum] = true
}

func (j *judge) same(t *testing.T, when string, tree []manifest.Entry) {
	t.Helper()
	diff := manifest.Compare(j.want, tree, manifest.Encryption)
	for i, d := range diff {
		if i < 10 {
			t.Errorf("%s: %s", when, d)
		}
	}
	if len(diff) > 0 {
		t.FailNow()
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
