package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// edge forbids packages that match one of from to import packages that match
// one of to, unless they match one of except. The three are lists with spaces
// between. Patterns are relative to the module where they start with "./"; "x"
// is that package alone, "x/..." also all below it.
type edge struct{ from, to, except, why string }

const (
	filesystems = "./internal/image/ext4/... ./internal/image/f2fs/... ./internal/image/btrfs/..."
	aboveProbe  = "./internal/audit ./internal/convert ./internal/extract ./internal/feature ./internal/fsck " +
		"./internal/keystore ./internal/survey ./internal/tree ./internal/wipe ./cmd"
)

var forbidden = []edge{
	{"./internal/image/...", "./internal/crypt/...", "", "image hands out contexts and names as bytes and knows no keys"},
	{"./internal/crypt/...", "./internal/image/...", "", "crypt makes ciphers of contexts and knows no filesystem"},
	{"./internal/image/...", "./internal/txn", "", "a filesystem cannot tell a file from a transaction"},
	{"./internal/image", "./...", "./internal/store", "image is types, errors and the interface alone"},
	{"./internal/image/ext4/...", filesystems, "./internal/image/ext4/...", "filesystems share rules through named packages, not one another"},
	{"./internal/image/f2fs/...", filesystems, "./internal/image/f2fs/...", "filesystems share rules through named packages, not one another"},
	{"./internal/image/btrfs/...", filesystems, "./internal/image/btrfs/...", "filesystems share rules through named packages, not one another"},
	{aboveProbe, filesystems, "", "what is above probe works on image.FS and cannot tell filesystems apart"},

	{"./internal/store/...", "./...", "./internal/store/...", "store is the lowest layer"},
	{"./internal/txn ./internal/partition", "./...", "./internal/store ./internal/crc", "a store over a store knows no filesystem"},
	{"./internal/casefold ./internal/crc ./internal/secret", "./...", "", "tables, checksums and locked memory stand alone"},

	{"./internal/crypt/...", "./...", "./internal/crypt/... ./internal/casefold ./internal/secret", "crypt stands beside image and above nothing else"},
	{"./internal/crypt/policy", "./internal/crypt/...", "", "a policy is data, the ciphers are above it"},
	{"./internal/crypt/kdf ./internal/crypt/modes/... ./internal/crypt/names", "./internal/crypt ./internal/crypt/policy", "", "crypt puts its parts together, they do not know it"},
	{"./internal/crypt/modes/...", "./internal/crypt/kdf ./internal/crypt/names", "", "a mode is given its key"},

	{"./internal/feature", "./internal/crypt/...", "./internal/crypt/policy", "which image can carry which policy needs no keys"},
	{"./internal/extract", "./internal/crypt/...", "", "copies are made of what tree reads"},
	{"./internal/tree ./internal/extract ./internal/survey ./internal/fsck ./internal/feature ./internal/keystore", "./internal/txn ./internal/convert", "", "reading stages nothing, and edits go through image.FS"},
	{"./internal/audit ./internal/wipe", "./internal/convert", "", "looking and wiping are no conversions"},
	{"./internal/convert", "./internal/tree ./internal/extract ./internal/fsck ./internal/survey ./internal/keystore", "", "a conversion works on inodes and keys, not on paths or protectors"},

	{"./internal/...", "./cmd/...", "", "only cmd prints, prompts, exits or reads the environment"},
	{"./internal/...", "github.com/spf13/... golang.org/x/term", "", "flags, configuration and prompts end in cmd"},
	{"./...", "google.golang.org/protobuf/...", "google.golang.org/protobuf/encoding/protowire", "the wire format of .fscrypt is all we need of protobuf"},
	{"./cmd/...", "./internal/crypt/modes/...", "", "ciphers are reached through crypt"},
	{"./...", "C", "", "the binary is static"},
}

// testOnly are packages that only tests may import, and one another.
const testOnly = "./internal/image/imagetest/... ./internal/store/storetest ./internal/crypt/crypttest ./test/..."

type listed struct {
	ImportPath string
	Module     struct{ Path string }
	Imports    []string
}

// TestImports holds the direction of imports. Imports of test files are free:
// a test may bring image and crypt together.
func TestImports(t *testing.T) {
	packages := list(t)
	if len(packages) < 20 {
		t.Fatalf("go list names only %d packages", len(packages))
	}
	for _, p := range packages {
		for _, imp := range p.Imports {
			for _, e := range forbidden {
				if e.forbids(p, imp) {
					t.Errorf("%s imports %s: %s", p.ImportPath, imp, e.why)
				}
			}
			if isTestOnly(p, imp) && !isTestOnly(p, p.ImportPath) {
				t.Errorf("%s imports %s: it is there for tests alone", p.ImportPath, imp)
			}
		}
	}
}

// A rule finds the edge it forbids and lets the others pass.
func TestEdge(t *testing.T) {
	p := listed{ImportPath: "fsenc/internal/image/ext4"}
	p.Module.Path = "fsenc"
	for _, e := range []struct {
		imp  string
		want bool
	}{
		{"fsenc/internal/crypt/policy", true}, {"fsenc/internal/crypt", true}, {"fsenc/internal/cryptic", false},
		{"fsenc/internal/txn", true}, {"fsenc/internal/image", false}, {"fsenc/cmd", true}, {"fmt", false},
		{"github.com/spf13/cobra", true}, {"C", true},
	} {
		got := false
		for _, f := range forbidden {
			got = got || f.forbids(p, e.imp)
		}
		if got != e.want {
			t.Errorf("import of %s is forbidden: %v, want %v", e.imp, got, e.want)
		}
	}
}

func (e edge) forbids(p listed, imp string) bool {
	return imp != p.ImportPath && matchesAny(p, e.from, p.ImportPath) && matchesAny(p, e.to, imp) && !matchesAny(p, e.except, imp)
}

func isTestOnly(p listed, path string) bool { return matchesAny(p, testOnly, path) }

func matchesAny(p listed, patterns, path string) bool {
	return slices.ContainsFunc(strings.Fields(patterns), func(pattern string) bool { return matches(p, pattern, path) })
}

func matches(p listed, pattern, path string) bool {
	if rest, ok := strings.CutPrefix(pattern, "."); ok {
		pattern = p.Module.Path + rest
	}
	below, ok := strings.CutSuffix(pattern, "/...")
	return path == below || ok && strings.HasPrefix(path, below+"/")
}

func list(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Module,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
