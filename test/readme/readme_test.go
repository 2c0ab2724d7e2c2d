// Package readme has no code of its own: its test runs what the README shows.
package readme

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// The example of f2fs works as it stands, on an image that is made by it: the
// names are hidden, the contents come back, fsck.f2fs is content.
func TestF2FS(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "bin", "fsenc"), "fsenc")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if err := os.CopyFS(filepath.Join(dir, "internal"), os.DirFS(filepath.Join(root, "internal"))); err != nil {
		t.Fatal(err)
	}
	out := script(t, dir, example(t, "mkfs.f2fs"))

	doc, err := os.ReadFile(filepath.Join(root, "internal/image/f2fs/doc.go"))
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
