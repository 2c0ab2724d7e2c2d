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

// edge forbids packages that match from to import packages that match to,
// unless they match one of except. Patterns are relative to the module where
// they start with "./"; "x" is that package alone, "x/..." also all below it.
type edge struct {
	from, to string
	except   []string
	why      string
}

var forbidden = []edge{
	{"./internal/image/...", "./internal/crypt/...", nil, "image hands out contexts and names as bytes and knows no keys"},
	{"./internal/crypt/...", "./internal/image/...", nil, "crypt makes ciphers of contexts and knows no filesystem"},
	{"./internal/image/...", "./internal/txn/...", nil, "a filesystem cannot tell a file from a transaction"},
	{"./internal/image", "./...", []string{"./internal/store"}, "image is types, errors and the interface alone"},
	{"./internal/image/ext4/...", "./internal/image/f2fs/...", nil, "filesystems share rules through named packages, not one another"},
	{"./internal/image/ext4/...", "./internal/image/btrfs/...", nil, "filesystems share rules through named packages, not one another"},
	{"./internal/image/f2fs/...", "./internal/image/ext4/...", nil, "filesystems share rules through named packages, not one another"},
	{"./internal/image/f2fs/...", "./internal/image/btrfs/...", nil, "filesystems share rules through named packages, not one another"},
	{"./internal/image/btrfs/...", "./internal/image/ext4/...", nil, "filesystems share rules through named packages, not one another"},
	{"./internal/image/btrfs/...", "./internal/image/f2fs/...", nil, "filesystems share rules through named packages, not one another"},
	{"./internal/convert/...", "./internal/image/ext4/...", nil, "what is above probe works on image.FS"},
	{"./internal/fsck/...", "./internal/image/ext4/...", nil, "what is above probe works on image.FS"},
	{"./internal/audit/...", "./internal/image/ext4/...", nil, "what is above probe works on image.FS"},
	{"./internal/wipe/...", "./internal/image/ext4/...", nil, "what is above probe works on image.FS"},
	{"./internal/tree/...", "./internal/image/ext4/...", nil, "what is above probe works on image.FS"},
	{"./internal/keystore/...", "./internal/image/ext4/...", nil, "what is above probe works on image.FS"},
	{"./internal/store/...", "./...", []string{"./internal/store/..."}, "store is the lowest layer"},
	{"./internal/txn/...", "./...", []string{"./internal/txn/...", "./internal/store/...", "./internal/crc"}, "a transaction is a store over a store and knows no filesystem"},
	{"./internal/casefold/...", "./...", []string{"./internal/casefold/..."}, "tables and rules of Unicode only"},
	{"./internal/crc/...", "./...", nil, "checksums only"},
	{"./internal/secret/...", "./...", nil, "locked memory only"},
	{"./internal/crypt/...", "./...", []string{"./internal/crypt/...", "./internal/casefold", "./internal/secret"}, "crypt stands beside image and above nothing else"},
	{"./internal/crypt/policy/...", "./internal/crypt/...", []string{"./internal/crypt/policy/..."}, "a policy is data, the ciphers are above it"},
	{"./internal/crypt/kdf/...", "./internal/crypt", nil, "crypt puts its parts together, they do not know it"},
	{"./internal/crypt/modes/...", "./internal/crypt", nil, "crypt puts its parts together, they do not know it"},
	{"./internal/crypt/names/...", "./internal/crypt", nil, "crypt puts its parts together, they do not know it"},
	{"./internal/feature/...", "./internal/crypt/...", []string{"./internal/crypt/policy"}, "which image can carry which policy needs no keys"},
	{"./internal/feature/...", "./internal/txn/...", nil, "a feature is set through image.FS"},
	{"./internal/...", "./cmd/...", nil, "only cmd prints, prompts, exits or reads the environment"},
	{"./internal/fsck/...", "./internal/convert/...", nil, "checking and converting are neighbours"},
	{"./internal/audit/...", "./internal/convert/...", nil, "checking and converting are neighbours"},
	{"./internal/wipe/...", "./internal/crypt/...", nil, "what nothing uses is zeroed without keys"},
	{"./internal/tree/...", "./internal/convert/...", nil, "reading needs no conversion"},
	{"./internal/keystore/...", "./internal/convert/...", nil, "metadata is edited through image.FS"},

	{"./internal/...", "github.com/spf13/...", nil, "flags and configuration end in cmd"},
	{"./internal/...", "golang.org/x/term", nil, "only cmd prompts"},
	{"./...", "google.golang.org/protobuf/...", []string{"google.golang.org/protobuf/encoding/protowire"}, "the wire format of .fscrypt is all we need of protobuf"},
	{"./cmd/...", "./internal/image/ext4/...", nil, "probe tells filesystems apart"},
	{"./cmd/...", "./internal/crypt/modes/...", nil, "ciphers are reached through crypt"},

	{"./...", "C", nil, "the binary is static"},
}

// testOnly are packages that only tests may import, and one another.
var testOnly = []string{"./internal/image/imagetest/...", "./internal/store/storetest", "./test/..."}

type listed struct {
	ImportPath string
	Module     struct{ Path string }
	Imports    []string
}

// TestImports holds the direction of imports. Imports of test files are free:
// a test may bring image and crypt together.
func TestImports(t *testing.T) {
	packages := list(t)
	if len(packages) < 8 {
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
	if !matches(p, e.from, p.ImportPath) || !matches(p, e.to, imp) || imp == p.ImportPath {
		return false
	}
	for _, x := range e.except {
		if matches(p, x, imp) {
			return false
		}
	}
	return true
}

func isTestOnly(p listed, path string) bool {
	return slices.ContainsFunc(testOnly, func(pattern string) bool { return matches(p, pattern, path) })
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
