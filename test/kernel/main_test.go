// Package kernel has no code of its own: its tests run the fsenc program on
// images and let the kernel judge what it did, through loop mounts on this
// machine and in the virtual machine of test/vm. They need root.
package kernel

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/linux"
	"fsenc/test/mkimage"
)

// program is the fsenc under test, built once.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fsenc-kernel-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "fsenc")
	build := exec.Command("go", "build", "-o", program, "fsenc")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	code := 1
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build fsenc: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// run runs fsenc and returns its output; any exit code but 0 fails the test.
func run(t *testing.T, args ...string) string {
	t.Helper()
	out, code := try(t, args...)
	if code != 0 {
		t.Fatalf("fsenc %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// try runs fsenc and returns its output, stdout before stderr, and exit code.
func try(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(program, append([]string{"--non-interactive"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return stdout.String() + stderr.String(), cmd.ProcessState.ExitCode()
}

// masterKey returns a key that is the same for the same name, and a file that
// holds it.
func masterKey(t *testing.T, name string) ([]byte, string) {
	t.Helper()
	key := sha512.Sum512([]byte(name))
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, key[:], 0o600); err != nil {
		t.Fatal(err)
	}
	return key[:], file
}

// mustBeClean fails when e2fsck has anything to say.
func mustBeClean(t *testing.T, image, when string) {
	t.Helper()
	if out, err := mkimage.Check(image); err != nil {
		t.Fatalf("%s: %v\n%s", when, err, out)
	}
}

// look mounts an image read-only with keys and returns what the kernel sees.
func look(t *testing.T, image string, keys ...[]byte) []manifest.Entry {
	t.Helper()
	var tree []manifest.Entry
	mkimage.Mounted(t, image, false, func(dir string) {
		for _, k := range keys {
			if _, err := linux.AddKey(dir, k); err != nil {
				t.Fatal(err)
			}
		}
		tree = mkimage.Walk(t, dir)
	})
	return tree
}

// metadata is what setup adds to an image, and the root that it adds it to.
const metadata = ".fscrypt"

// same compares trees but for .fscrypt, lost+found and the root itself.
func same(t *testing.T, when string, want, got []manifest.Entry, ignore manifest.Ignore) {
	t.Helper()
	rest := func(tree []manifest.Entry) []manifest.Entry {
		tree = manifest.Without(tree, metadata, "lost+found")
		if len(tree) > 0 && tree[0].Path == "." {
			tree = tree[1:]
		}
		return tree
	}
	diff := manifest.Compare(rest(want), rest(got), ignore)
	for i, d := range diff {
		if i == 20 {
			t.Errorf("%s: and %d further differences", when, len(diff)-i)
			break
		}
		t.Errorf("%s: %s", when, d)
	}
	if len(diff) > 0 {
		t.FailNow()
	}
}
