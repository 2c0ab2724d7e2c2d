package cmd

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// session is an fsenc that runs on a terminal of its own.
type session struct {
	t    *testing.T
	cmd  *exec.Cmd
	tty  *os.File
	mu   sync.Mutex
	out  bytes.Buffer
	read int // of out
	done chan struct{}
}

// start runs fsenc in dir with a terminal of that many columns.
func start(t *testing.T, dir string, columns uint16, args ...string) *session {
	t.Helper()
	cmd := exec.Command("fsenc", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TERM=xterm", "XDG_CONFIG_HOME="+dir)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: columns})
	if err != nil {
		t.Fatal(err)
	}
	s := &session{t: t, cmd: cmd, tty: tty, done: make(chan struct{})}
	go s.collect()
	t.Cleanup(func() { tty.Close() })
	return s
}

func (s *session) collect() {
	defer close(s.done)
	b := make([]byte, 4096)
	for {
		n, err := s.tty.Read(b)
		s.mu.Lock()
		s.out.Write(b[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *session) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// expect waits until text appears after what was expected before.
func (s *session) expect(text string) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		got := s.text()
		if i := strings.Index(got[s.read:], text); i >= 0 {
			s.read += i + len(text)
			return
		}
	}
	s.t.Fatalf("%q does not appear; the terminal shows:\n%s", text, s.text())
}

// waitEcho waits until the terminal echoes or does not: typing before that
// would show.
func (s *session) waitEcho(want bool) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		tio, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
		if err != nil {
			s.t.Fatal(err)
		}
		if tio.Lflag&unix.ECHO != 0 == want {
			return
		}
	}
	s.t.Fatalf("echo does not become %v", want)
}

// secret types a line at a question for a secret.
func (s *session) secret(question, line string) {
	s.t.Helper()
	s.expect(question)
	s.waitEcho(false)
	s.send(line)
}

func (s *session) send(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.tty, text); err != nil {
		s.t.Fatal(err)
	}
}

// exits waits for the end and its exit code.
func (s *session) exits(want int) {
	s.t.Helper()
	err := s.cmd.Wait()
	<-s.done
	got := 0
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		got = ee.ExitCode()
	} else if err != nil {
		s.t.Fatal(err)
	}
	if got != want {
		s.t.Fatalf("exit code %d, want %d; the terminal shows:\n%s", got, want, s.text())
	}
}

// keyed makes an image with a tree that the passphrase swordfish opens.
func keyed(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{"tree/dir/file": "Some text.\n", "pass": "swordfish\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{
		"mke2fs -q -t ext4 -d tree disk.img 32M",
		"fsenc setup disk.img --yes",
		"fsenc key add disk.img --name work --iter-time 1ms --passphrase-file pass",
		"fsenc encrypt-dir disk.img /dir --yes --passphrase-file pass",
	} {
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	return dir
}

// A passphrase is asked for on the terminal, not shown, and three times at
// most; the end of input and Ctrl-C end at once and bring the echo back.
func TestPassphrasePrompt(t *testing.T) {
	dir := keyed(t)
	const question = "Passphrase for policy "

	s := start(t, dir, 80, "cat", "disk.img", "/dir/file")
	s.secret(question, "swordfish\n")
	s.expect("Some text.")
	s.exits(0)
	if strings.Contains(s.text(), "swordfish") {
		t.Error("the passphrase was shown")
	}

	s = start(t, dir, 80, "cat", "disk.img", "/dir/file")
	s.secret(question, "shark\n")
	s.secret(question, "\n")
	s.secret(question, "swordfish\n")
	s.exits(0)

	s = start(t, dir, 80, "cat", "disk.img", "/dir/file")
	for range 3 {
		s.secret(question, "shark\n")
	}
	s.expect("wrong passphrase")
	s.exits(exitKey)

	s = start(t, dir, 80, "cat", "disk.img", "/dir/file")
	s.secret(question, "\x04")
	s.expect("no passphrase was given")
	s.exits(exitKey)

	s = start(t, dir, 80, "cat", "disk.img", "/dir/file")
	s.secret(question, "half\x03")
	s.waitEcho(true)
	s.exits(exitInterrupted)
	if n := strings.Count(s.text(), question); n != 1 {
		t.Errorf("asked %d times after Ctrl-C", n)
	}
}

// The question goes to the terminal although stdin and stdout are elsewhere.
func TestPromptNotOnStdin(t *testing.T) {
	dir := keyed(t)
	// Descriptor 9 keeps the terminal open until fsenc opens it by name.
	cmd := exec.Command("sh", "-c", "exec fsenc cat disk.img /dir/file 9>&2 </dev/null >out 2>err")
	cmd.Dir = dir
	tty, err := pty.StartWithAttrs(cmd, nil, &syscall.SysProcAttr{Setsid: true, Setctty: true})
	if err != nil {
		t.Fatal(err)
	}
	s := &session{t: t, cmd: cmd, tty: tty, done: make(chan struct{})}
	go s.collect()
	s.secret("Passphrase for policy ", "swordfish\n")
	s.exits(0)
	out, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil || string(out) != "Some text.\n" {
		t.Errorf("stdout holds %q, %v", out, err)
	}
}

// ls does not need the key; when asked in vain it says so.
func TestListPrompts(t *testing.T) {
	dir := keyed(t)
	s := start(t, dir, 80, "ls", "disk.img", "/dir")
	s.secret("Passphrase for policy ", "swordfish\n")
	s.expect("file")
	s.exits(0)

	s = start(t, dir, 80, "ls", "disk.img", "/dir", "--non-interactive")
	s.exits(0)
	if strings.Contains(s.text(), "Passphrase") || strings.Contains(s.text(), "file") {
		t.Errorf("the terminal shows:\n%s", s.text())
	}
}

var generated = regexp.MustCompile(`Generated: ([a-z2-9]{4}(?:-[a-z2-9]{4}){5})\r\n`)

// A new passphrase is asked for twice; an empty one gets the offer of a
// generated one.
func TestNewPassphrase(t *testing.T) {
	dir := keyed(t)
	s := start(t, dir, 80, "key", "add", "disk.img", "--name", "two", "--iter-time", "1ms")
	s.secret("New passphrase", "halibut\n")
	s.secret("The same again: ", "trout\n")
	s.expect("The two differ")
	s.secret("New passphrase", "halibut\n")
	s.secret("The same again: ", "halibut\n")
	s.exits(0)

	s = start(t, dir, 80, "key", "add", "disk.img", "--name", "three", "--iter-time", "1ms")
	s.secret("New passphrase", "\n")
	s.expect("Use it? [y/N]")
	s.send("y\n")
	s.exits(0)
	m := generated.FindStringSubmatch(s.text())
	if m == nil {
		t.Fatalf("no generated passphrase in:\n%s", s.text())
	}

	s = start(t, dir, 80, "key", "change", "disk.img", "three")
	s.secret("Passphrase for the protector (three): ", m[1]+"\n")
	s.secret("New passphrase", "\x04")
	s.expect("no new passphrase was given")
	s.exits(exitKey)
}

// A conversion asks before it writes.
func TestConfirmation(t *testing.T) {
	dir := keyed(t)
	before, err := os.ReadFile(filepath.Join(dir, "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range []string{"n\n", "\n", "\x04"} {
		s := start(t, dir, 80, "decrypt-dir", "disk.img", "/dir", "--passphrase-file", "pass")
		s.expect("Proceed? [y/N] ")
		s.send(answer)
		s.expect("nothing was changed")
		s.exits(exitRefused)
	}
	s := start(t, dir, 80, "decrypt-dir", "disk.img", "/dir", "--passphrase-file", "pass")
	s.expect("Proceed? [y/N] ")
	s.send("\x03")
	s.exits(exitInterrupted)
	after, err := os.ReadFile(filepath.Join(dir, "disk.img"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the image changed, %v", err)
	}
	s = start(t, dir, 80, "decrypt-dir", "disk.img", "/dir", "--passphrase-file", "pass")
	s.expect("Proceed? [y/N] ")
	s.send("yes\n")
	s.exits(0)
}

// Unique prefixes of commands work on a terminal.
func TestPrefixes(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, 80, "vers")
	s.expect("fsenc " + release)
	s.exits(0)
	s = start(t, dir, 80, "conf", "sh")
	s.expect("SETTING")
	s.exits(0)
	s = start(t, dir, 80, "in", "x.img") // info, inspect
	s.expect("unknown command")
	s.exits(exitUsage)
}

// On a terminal of 20 columns the line of progress stays a line.
func TestNarrowTerminal(t *testing.T) {
	dir := keyed(t)
	s := start(t, dir, 20, "extract", "disk.img", "/dir", "-C", "out", "--passphrase-file", "pass")
	s.exits(0)
	for _, line := range strings.FieldsFunc(s.text(), func(r rune) bool { return r == '\r' || r == '\n' }) {
		if strings.HasPrefix(line, "extract") && len(line) > 19 {
			t.Errorf("a line of progress has %d columns: %q", len(line), line)
		}
	}
	if !strings.Contains(s.text(), "\rextract") {
		t.Errorf("no progress in %q", s.text())
	}
}
