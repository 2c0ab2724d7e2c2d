package fsck_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"fsenc/internal/crypt"
	"fsenc/internal/fsck"
	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/probe"
	"fsenc/internal/store/storetest"
	"fsenc/test/goldenkeys"
)

// check returns what fsck finds in an image, notes left out.
func check(t testing.TB, img []byte, keys *crypt.Keyring) []fsck.Finding {
	t.Helper()
	fs, err := probe.Open(storetest.NewMem(img), probe.Options{AllowDirty: true})
	if err != nil {
		t.Fatal(err)
	}
	var out []fsck.Finding
	res, err := fsck.Check(context.Background(), fs, fsck.Options{Keys: keys, Content: true, Report: func(f fsck.Finding) {
		if f.Severity > image.Info {
			out = append(out, f)
		}
		if f.Text == "" || f.ID == "" {
			t.Errorf("empty finding: %+v", f)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if res.Errors+res.Warnings != len(out) || res.Inodes == 0 {
		t.Errorf("%+v, but %d findings", res, len(out))
	}
	return out
}

// Nothing is wrong with what the kernel wrote, with the keys and without.
func TestGoldenIsClean(t *testing.T) {
	for _, name := range imagetest.Names(t, "ext4-") {
		t.Run(name, func(t *testing.T) {
			img, m := imagetest.GoldenBytes(t, name), imagetest.Manifest(t, name)
			for _, keys := range []*crypt.Keyring{nil, goldenkeys.Ring(t, m)} {
				for _, f := range check(t, img, keys) {
					if name == "ext4-journal" && f.ID == "journal-dirty" {
						continue
					}
					t.Errorf("keys %v: %s: %+v", keys != nil, f.Path, f.Finding)
				}
			}
		})
	}
}

// What must be found in each broken image of the manifest, and where: without
// keys and, where it differs, with them.
var broken = map[string][]string{
	"no-context-file":      {"context-missing /enc/two"},
	"no-context-dir":       {"context-missing /enc/sub"},
	"flag-only-file":       {"context-missing /plain/two"},
	"flag-only-dir":        {"context-missing /plain/sub"},
	"flag-cleared-file":    {"context-without-flag /enc/two", "child-unencrypted /enc/two"},
	"flag-cleared-dir":     {"context-without-flag /enc/sub", "child-unencrypted /enc/sub"},
	"plain-child":          {"child-unencrypted /enc/two"},
	"other-policy-file":    {"child-policy /enc/two"},
	"other-policy-dir":     {"child-policy /enc/sub"},
	"other-policy-symlink": {"child-policy /enc/short link"},
	"same-nonce":           {"nonce-reused /enc/sub/three"},
	"zero-nonce":           {"nonce-zero /enc/two"},
	"version-9-file":       {"context-invalid /enc/two"},
	"version-9-dir":        {"context-invalid /enc/sub"},
	"version-1-size":       {"context-invalid /enc/two"},
	"bad-mode":             {"policy-invalid /enc/two"},
	"bad-mode-pair":        {"policy-invalid /enc/sub"},
	"bad-flags":            {"policy-invalid /enc/two"},
	"both-lblk-flags":      {"policy-invalid /enc/two"},
	"bad-data-unit":        {"policy-invalid /enc/two"},
	"reserved-bytes":       {"policy-invalid /enc/two"},
	"unknown-key":          {"child-policy /enc/empty"},
	"short-context":        {"context-invalid /enc/two"},
	"short-name":           {"name-short"},
	"symlink-length":       {"symlink-length /enc/short link"},
	"symlink-short":        {"symlink-length /enc/short link"},
	"no-feature":           {"feature-missing"},
}

func TestBroken(t *testing.T) {
	const name = "ext4-check"
	base, m := imagetest.GoldenBytes(t, name), imagetest.Manifest(t, name)
	for _, b := range m.Broken {
		t.Run(b.Name, func(t *testing.T) {
			img := imagetest.Break(t, base, b)
			want := broken[b.Name]
			if want == nil {
				t.Fatal("the table has no such fault")
			}
			bare := check(t, img, nil)
			for _, w := range want {
				id, _, _ := strings.Cut(w, " ")
				if !slices.ContainsFunc(bare, func(f fsck.Finding) bool {
					return f.ID == id && f.Severity == image.Error && (b.Ino == 0 || uint64(f.Ino) == b.Ino)
				}) {
					t.Errorf("without keys: no %s on inode %d in %+v", id, b.Ino, bare)
				}
			}
			for _, w := range want {
				id, path, _ := strings.Cut(w, " ")
				keyed := check(t, bytes.Clone(img), goldenkeys.Ring(t, m))
				if !slices.ContainsFunc(keyed, func(f fsck.Finding) bool {
					return f.ID == id && (path == "" || f.Path == path)
				}) {
					t.Errorf("with keys: no %s in %+v", w, keyed)
				}
			}
		})
	}
	if len(broken) != len(m.Broken) {
		t.Errorf("the table has %d faults, the manifest %d", len(broken), len(m.Broken))
	}
}

// A context that is done ends the check at once.
func TestCancelled(t *testing.T) {
	fs, err := probe.Open(storetest.NewMem(imagetest.GoldenBytes(t, "ext4-check")), probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := fsck.Check(ctx, fs, fsck.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
