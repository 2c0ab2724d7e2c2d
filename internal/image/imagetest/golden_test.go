package imagetest

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
)

// Every golden image unpacks to what its manifest says, and every manifest is
// read to the last field.
func TestGolden(t *testing.T) {
	for _, name := range Names(t, "", "oracle/") {
		t.Run(name, func(t *testing.T) {
			m := Manifest(t, name)
			img, err := os.ReadFile(Golden(t, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := Sum(img); got != m.SHA256 {
				t.Errorf("unpacked file has digest %s, want %s", got, m.SHA256)
			}
			if len(m.Keys) == 0 || len(m.Entries) < 4 || len(m.NoKey) == 0 {
				t.Errorf("%d keys, %d entries, %d listings without key", len(m.Keys), len(m.Entries), len(m.NoKey))
			}
			for _, c := range m.Ciphertext {
				for _, b := range c.Blocks {
					if got := Sum(img[b.Offset:][:b.Len]); got != b.SHA256 {
						t.Errorf("%q block %d: digest %s, want %s", c.Path, b.Lblk, got, b.SHA256)
					}
				}
				if !slices.Equal(c.Context[len(c.Context)-16:], c.Nonce) {
					t.Errorf("%q: context does not end with the nonce", c.Path)
				}
			}
			for _, b := range m.Broken {
				Break(t, img, b)
			}
			checkPolicies(t, m)
		})
	}
}

func checkPolicies(t *testing.T, m *manifest.Golden) {
	t.Helper()
	for _, e := range m.Entries {
		// No ioctl asks for the policy of a symlink, and one encrypted link
		// stands in a directory without a policy.
		if !e.Encrypted || e.Type == manifest.Symlink && e.Policy == nil {
			continue
		}
		if e.Policy == nil {
			t.Errorf("%q: no policy", e.Path)
			continue
		}
		if m.Key(e.Policy.Key) == nil {
			t.Errorf("%q: the manifest has no key %q", e.Path, e.Policy.Key)
		}
	}
}

// A tree that goes through JSON is the same tree, and a tree compared with a
// changed one differs in just what was changed.
func TestManifest(t *testing.T) {
	m := Manifest(t, "ext4-features")
	b, err := json.Marshal(m.Entries)
	if err != nil {
		t.Fatal(err)
	}
	again, err := manifest.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := manifest.Compare(m.Entries, again, 0); diff != nil {
		t.Fatalf("%d differences, first: %s", len(diff), diff[0])
	}
	changes := map[string]func(*manifest.Entry){
		"type": func(e *manifest.Entry) { e.Type = manifest.Fifo }, "mode": func(e *manifest.Entry) { e.Mode ^= 1 },
		"owner": func(e *manifest.Entry) { e.UID++ }, "group": func(e *manifest.Entry) { e.GID++ },
		"size": func(e *manifest.Entry) { e.Size++ }, "digest": func(e *manifest.Entry) { e.SHA256 += "0" },
		"target": func(e *manifest.Entry) { e.Target += "x" }, "links": func(e *manifest.Entry) { e.Nlink++ },
		"time": func(e *manifest.Entry) { e.Mtime.Nsec ^= 1 }, "inode": func(e *manifest.Entry) { e.Ino++ },
		"xattr":     func(e *manifest.Entry) { e.Xattrs = map[string][]byte{"user.x": nil} },
		"encrypted": func(e *manifest.Entry) { e.Encrypted = !e.Encrypted },
		"flags":     func(e *manifest.Entry) { e.Flags ^= 0x10 },
		"nonce":     func(e *manifest.Entry) { e.Nonce = "00" },
		"project":   func(e *manifest.Entry) { e.Project = 7 },
		"same":      func(e *manifest.Entry) { e.SameAs = "x" }, "error": func(e *manifest.Entry) { e.Err = "x" },
	}
	for what, change := range changes {
		at := slices.IndexFunc(again, func(e manifest.Entry) bool { return e.Type == manifest.File && e.SameAs == "" && e.Encrypted })
		old := again[at]
		change(&again[at])
		if diff := manifest.Compare(m.Entries, again, 0); len(diff) != 1 {
			t.Errorf("%s: %d differences: %q", what, len(diff), diff)
		}
		again[at] = old
	}
	if diff := manifest.Compare(m.Entries, again[1:], 0); len(diff) != 1 {
		t.Errorf("missing entry: %d differences", len(diff))
	}
	if diff := manifest.Compare(m.Entries[1:], again, 0); len(diff) != 1 {
		t.Errorf("further entry: %d differences", len(diff))
	}
}
