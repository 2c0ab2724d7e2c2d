package golden

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/imagetest/manifest"
)

// listed is what ls --json prints of an entry.
type listed struct {
	Path        string `json:"path"`
	PathBytes   []byte `json:"path_bytes"`
	Name        string `json:"name"`
	Inode       uint64 `json:"inode"`
	Type        string `json:"type"`
	NoKey       bool   `json:"no_key"`
	Mode        string `json:"mode"`
	Links       uint32 `json:"links"`
	UID         uint32 `json:"uid"`
	GID         uint32 `json:"gid"`
	Size        int64  `json:"size"`
	Mtime       string `json:"mtime"`
	Encrypted   bool   `json:"encrypted"`
	Target      string `json:"target"`
	TargetBytes []byte `json:"target_bytes"`
}

// path is relative to the root, as manifests have it.
func (l *listed) path() string {
	if l.PathBytes != nil {
		return string(l.PathBytes[1:])
	}
	return l.Path[1:]
}

func (l *listed) target() string {
	if l.TargetBytes != nil {
		return string(l.TargetBytes)
	}
	return l.Target
}

// ready unpacks a golden image; a journal is replayed, since manifests tell of
// the tree after that.
func ready(t *testing.T, name string) string {
	t.Helper()
	img := imagetest.Golden(t, name)
	if name == "ext4-journal" {
		e2fsck := exec.Command("e2fsck", "-fp", img)
		e2fsck.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
		out, err := e2fsck.CombinedOutput()
		if e2fsck.ProcessState == nil || e2fsck.ProcessState.ExitCode() > 1 { // 1: errors corrected
			t.Fatalf("replay the journal: %v: %s", err, out)
		}
	}
	return img
}

// withKeys are the flags that give all keys of a manifest.
func withKeys(t *testing.T, m *manifest.Golden) []string {
	t.Helper()
	var args []string
	for i, k := range m.Keys {
		file := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := os.WriteFile(file, k.MasterKey, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--key-file", file)
	}
	return args
}

// fsenc runs the program and returns what it prints to stdout; it must not
// complain.
func fsenc(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(program, append([]string{"--non-interactive"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("fsenc %.200q: %v\n%s", args, err, stderr.Bytes())
	}
	return stdout.Bytes()
}

func list(t *testing.T, img string, keys []string) []listed {
	t.Helper()
	var all []listed
	d := json.NewDecoder(bytes.NewReader(fsenc(t, append([]string{"ls", "-R", "-a", "--json", img, "/"}, keys...)...)))
	for d.More() {
		var l listed
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

func eachImage(t *testing.T, f func(t *testing.T, img string, m *manifest.Golden)) {
	t.Helper()
	for _, name := range imagetest.Names(t, "", "oracle/") {
		if name == postedDamage || slices.Contains(unreplayable, name) {
			continue // TestRepairPostedDamage, TestRefused
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, ready(t, name), imagetest.Manifest(t, name))
		})
	}
}

// With the keys ls shows each name, inode, attribute and target that the
// kernel showed, and nothing else.
func TestList(t *testing.T) {
	eachImage(t, func(t *testing.T, img string, m *manifest.Golden) {
		got := make(map[string]*listed)
		for _, l := range list(t, img, withKeys(t, m)) {
			if got[l.path()] != nil {
				t.Errorf("%q is listed twice", l.path())
			}
			got[l.path()] = &l
		}
		tops := make(map[string]bool)
		for i := range m.Entries {
			e := &m.Entries[i]
			if e.Path == "." {
				continue
			}
			top, _, _ := strings.Cut(e.Path, "/")
			tops[top] = true
			if l := got[e.Path]; l == nil {
				t.Errorf("%q is not listed", e.Path)
			} else if want, have := wanted(e), shown(t, l); want != have {
				t.Errorf("%q:\ngot  %s\nwant %s", e.Path, have, want)
			}
			delete(got, e.Path)
		}
		for path := range got {
			if top, _, _ := strings.Cut(path, "/"); tops[top] {
				t.Errorf("%q is listed, but the kernel does not know it", path)
			}
		}
	})
}

const attributes = "%s %d %s %d %d:%d %d %s %v %q"

func wanted(e *manifest.Entry) string {
	mode := fmt.Sprintf("%04o", e.Mode)
	return fmt.Sprintf(attributes, e.Type, e.Ino, mode, e.Nlink, e.UID, e.GID, e.Size, e.Mtime, e.Encrypted, e.Target)
}

func shown(t *testing.T, l *listed) string {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, l.Mtime)
	if err != nil {
		t.Fatal(err)
	}
	mtime := manifest.Time{Sec: at.Unix(), Nsec: int64(at.Nanosecond())}
	size := l.Size
	if l.Type == manifest.Dir { // manifests have none
		size = 0
	}
	return fmt.Sprintf(attributes, l.Type, l.Inode, l.Mode, l.Links, l.UID, l.GID, size, mtime, l.Encrypted, l.target())
}

// Without keys ls shows the names and targets that the kernel shows.
func TestListWithoutKey(t *testing.T) {
	eachImage(t, func(t *testing.T, img string, m *manifest.Golden) {
		type named struct {
			ino  uint64
			name string
		}
		got := make(map[named]listed)
		locked := 0
		for _, l := range list(t, img, nil) {
			got[named{l.Inode, path.Base(l.path())}] = l
			if l.NoKey {
				locked++
			}
		}
		if locked == 0 {
			t.Error("no name is in no-key form")
		}
		for _, d := range m.NoKey {
			for _, n := range d.Names {
				if n.Ino == 0 {
					continue // a subvolume, which the kernel could not look at
				}
				l, ok := got[named{n.Ino, n.NoKey}]
				if !ok {
					t.Errorf("in %q: inode %d is not listed as %q", d.Path, n.Ino, n.NoKey)
				} else if l.target() != n.Target {
					t.Errorf("in %q: %q has target %q, want %q", d.Path, n.NoKey, l.target(), n.Target)
				}
			}
		}
	})
}

// With the keys cat writes what the kernel read.
func TestCat(t *testing.T) {
	const atOnce = 500 // paths of one command
	eachImage(t, func(t *testing.T, img string, m *manifest.Golden) {
		var files []*manifest.Entry
		for i := range m.Entries {
			if e := &m.Entries[i]; e.Type == manifest.File && e.SameAs == "" {
				files = append(files, e)
			}
		}
		keys := withKeys(t, m)
		for some := range slices.Chunk(files, atOnce) {
			args := append([]string{"--non-interactive", "cat", img}, keys...)
			for _, e := range some {
				args = append(args, "/"+e.Path)
			}
			catInto(t, exec.Command(program, args...), some)
		}
	})
}

// catInto cuts what a command prints into files and holds their digests
// against the manifest.
func catInto(t *testing.T, cmd *exec.Cmd, files []*manifest.Entry) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, e := range files {
		sum := sha256.New()
		if n, err := io.CopyN(sum, out, e.Size); err != nil {
			t.Errorf("%q: %d of %d bytes: %v", e.Path, n, e.Size, err)
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != e.SHA256 {
			t.Errorf("%q: contents have digest %s, want %s", e.Path, got, e.SHA256)
		}
	}
	if rest, err := io.Copy(io.Discard, out); rest > 0 || err != nil {
		t.Errorf("%d bytes too many, %v", rest, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("cat: %v\n%s", err, stderr.Bytes())
	}
}

// fsck finds nothing wrong with what a kernel wrote, with the keys and without.
func TestFsckFindsNothing(t *testing.T) {
	eachImage(t, func(t *testing.T, img string, m *manifest.Golden) {
		for how, args := range map[string][]string{
			"with keys":    append([]string{"fsck", img, "--content", "--json"}, withKeys(t, m)...),
			"without keys": {"fsck", img, "--json"},
		} {
			for line := range bytes.Lines(fsenc(t, args...)) {
				var r struct {
					Event     string
					Severity  string
					Clean     bool
					Encrypted int `json:"encrypted_inodes"`
					Opened    int `json:"opened_inodes"`
				}
				if err := json.Unmarshal(line, &r); err != nil {
					t.Fatalf("%s: %v: %s", how, err, line)
				}
				if r.Severity == "info" { // an encrypted file with a name outside: the kernel allows it
					continue
				}
				opened := r.Opened > 0
				if r.Event != "summary" || !r.Clean || r.Encrypted == 0 || opened != (how == "with keys") {
					t.Errorf("%s: %s", how, line)
				}
			}
		}
	})
}
