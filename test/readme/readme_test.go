// Package readme has no code of its own: its test runs what the README shows.
package readme

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fsenc/test/btrfsjudge"
	"fsenc/test/mkimage"
)

const root = "../.."

// The example of f2fs works as it stands, on an image that is made by it: the
// names are hidden, the contents come back, fsck.f2fs is content.
func TestF2FS(t *testing.T) {
	dir := clone(t)
	out := script(t, dir, example(t, "mkfs.f2fs"))

	after := printsDoc(t, out, "f2fs")
	for _, word := range []string{"ASSERT", "[FIX]", "[Fail]"} {
		if strings.Contains(after, word) {
			t.Errorf("fsck.f2fs says:\n%s", after)
		}
	}
	if !strings.Contains(after, "[Ok..]") {
		t.Errorf("fsck.f2fs has found nothing to check:\n%s", after)
	}
	// The image is a whole one: what is in clear can be copied out of it.
	copied := script(t, dir, "mkdir out; fsenc extract phone.img /image -C out --key-file phone.key; diff -r internal/image out/image && echo equal")
	if !strings.HasSuffix(copied, "equal\n") {
		t.Errorf("extracted: %s", copied)
	}
}

// printsDoc holds an example against what it should print: names that tell nothing,
// and then doc.go of a package. It returns what follows.
func printsDoc(t *testing.T, out, pkg string) (after string) {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join(root, "internal/image", pkg, "doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(out, string(doc))
	if !found {
		t.Fatalf("the example does not print doc.go:\n%s", out)
	}
	if names := strings.Count(before, "\n"); names < 50 || strings.Contains(before, "doc.go") {
		t.Errorf("ls without a key shows:\n%s", before)
	}
	return after
}

// clone makes a directory with the program and with what the examples encrypt.
func clone(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "bin", "fsenc"), "fsenc")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if err := os.CopyFS(filepath.Join(dir, "internal"), os.DirFS(filepath.Join(root, "internal"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The example of btrfs works as it stands, too: names and contents of the
// snapshot are those of the tree, and it shares extents with it.
func TestBtrfs(t *testing.T) {
	mkimage.NeedRoot(t)
	dir := clone(t)
	t.Cleanup(func() { // where the example stopped in the middle
		_ = unix.Unmount(filepath.Join(dir, "mnt"), unix.MNT_DETACH)
	})
	out := script(t, dir, example(t, "mkfs.btrfs"))
	after := printsDoc(t, out, "btrfs")
	if !strings.HasPrefix(after, "data.img: clean;") {
		t.Errorf("fsck says %q", after)
	}
	key, err := os.ReadFile(filepath.Join(dir, "data.key"))
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(filepath.Join(dir, "data.img"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := btrfsjudge.Judge([][]byte{key}, image)
	if err != nil || len(v.Broken) > 0 {
		t.Fatalf("the judge: %v %q", err, v.Broken)
	}
	all, shared := v.All(), 0
	for p, f := range all {
		twin, ok := all[strings.Replace(p, "/home/", "/monday/", 1)]
		const inline = 2048 // bytes that leaves held, of which there are two by now
		if !ok || twin.SHA256 != f.SHA256 || f.Size > inline && !slices.Equal(twin.Disk, f.Disk) {
			t.Errorf("%s is another file in the snapshot", p)
		}
		if strings.HasPrefix(p, "/home/") && len(f.Disk) > 0 && slices.Equal(twin.Disk, f.Disk) {
			shared++
		}
	}
	if shared < 50 {
		t.Errorf("%d files share extents", shared)
	}
}

// example returns the commands of the console block that has a word.
func example(t *testing.T, word string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range strings.Split(string(b), "```") {
		text, ok := strings.CutPrefix(block, "console\n")
		if i%2 == 0 || !ok || !strings.Contains(text, word) {
			continue
		}
		var commands []string
		for line := range strings.Lines(text) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				commands = append(commands, command)
			}
		}
		return strings.Join(commands, "")
	}
	t.Fatalf("the README has no console block with %q", word)
	return ""
}

// script runs commands in dir and returns their output.
func script(t *testing.T, dir, commands string) string {
	t.Helper()
	cmd := exec.Command("sh", "-eu", "-c", commands)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String()
}
