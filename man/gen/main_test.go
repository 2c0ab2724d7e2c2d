package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const top = "../.."

// What is committed is what the command tree gives now.
func TestCommitted(t *testing.T) {
	files, err := generate(top)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is not what go generate ./man writes", name)
		}
	}
	for _, pattern := range []string{"man/*.1", "completions/*"} {
		found, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			name, err := filepath.Rel(top, path)
			if err != nil {
				t.Fatal(err)
			}
			if files[name] == nil {
				t.Errorf("%s belongs to no command", name)
			}
		}
	}
}

// mandoc finds nothing to complain about.
func TestLint(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(top, "man", "*.1"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	out, err := exec.Command("mandoc", append([]string{"-Tlint", "-Wstyle"}, pages...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("mandoc: %v\n%s", err, out)
	}
}

// Every completion script is one that its shell accepts, as far as the shell
// is at hand: bash always is.
func TestBashSyntax(t *testing.T) {
	out, err := exec.Command("bash", "-n", filepath.Join(top, "completions", "fsenc.bash")).CombinedOutput()
	if err != nil {
		t.Errorf("bash -n: %v\n%s", err, out)
	}
}
