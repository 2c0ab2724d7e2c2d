package survey

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"fsenc/internal/crypt"
	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/imagetest/manifest"
	"fsenc/internal/image/probe"
	"fsenc/internal/store/storetest"
)

func open(t *testing.T, data []byte) image.FS {
	t.Helper()
	fs, err := probe.Open(storetest.NewMem(data), probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// The counts are those of the manifests.
func TestTake(t *testing.T) {
	for _, name := range []string{"ext4-4k", "ext4-modes", "ext4-features", "ext4-lblk"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Take(context.Background(), open(t, imagetest.GoldenBytes(t, name)))
			if err != nil || s.Damaged != 0 {
				t.Fatalf("%d damaged, %v: %v", s.Damaged, s.FirstDamage, err)
			}
			want, links := counts(imagetest.Manifest(t, name))
			got := map[string]Usage{}
			for _, u := range s.Policies {
				raw := hex.EncodeToString(u.Policy.Bytes())
				got[raw] = Usage{Dirs: u.Dirs, Files: u.Files, Bytes: u.Bytes}
				links -= int(u.Links)
			}
			for raw, w := range want {
				if got[raw] != w {
					t.Errorf("policy %s: %+v, want %+v", raw, got[raw], w)
				}
			}
			if links != 0 {
				t.Errorf("%d symlinks are missing", links)
			}
			if len(got) != len(want) {
				t.Errorf("%d policies, want %d", len(got), len(want))
			}
		})
	}
}

// counts adds up the encrypted entries of a manifest: directories and files by
// policy, symlinks in all, since the kernel does not tell their policies.
func counts(g *manifest.Golden) (byPolicy map[string]Usage, links int) {
	byPolicy = map[string]Usage{}
	seen := map[uint64]bool{}
	for _, e := range g.Entries {
		if !e.Encrypted || e.SameAs != "" || seen[e.Ino] {
			continue
		}
		seen[e.Ino] = true
		if e.Type == "symlink" {
			links++
			continue
		}
		u := byPolicy[e.Policy.Raw]
		if e.Type == "dir" {
			u.Dirs++
		} else {
			u.Files++
			u.Bytes += e.Size
		}
		byPolicy[e.Policy.Raw] = u
	}
	return byPolicy, links
}

// Take ends when its context does.
func TestTakeCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Take(ctx, open(t, imagetest.GoldenBytes(t, "ext4-4k"))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A context that cannot be read counts as damage and does not end the survey.
func TestTakeDamaged(t *testing.T) {
	base := imagetest.GoldenBytes(t, "ext4-check")
	tried := 0
	for _, b := range imagetest.Manifest(t, "ext4-check").Broken {
		if !slices.Contains([]string{"no-context-file", "flag-only-dir", "version-9-file", "short-context"}, b.Name) {
			continue
		}
		tried++
		s, err := Take(context.Background(), open(t, imagetest.Break(t, base, b)))
		if err != nil || s.Damaged == 0 || s.FirstDamage == nil {
			t.Errorf("%s: %d damaged, %v", b.Name, s.Damaged, err)
		}
	}
	if tried != 4 {
		t.Errorf("%d images tried, want 4", tried)
	}
}

// Each key opens the trees it was made for and no other, v1 or v2.
func TestTry(t *testing.T) {
	for _, name := range []string{"ext4-4k", "ext4-modes", "ext4-features"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := imagetest.Manifest(t, name)
			fs := open(t, imagetest.GoldenBytes(t, name))
			for _, top := range g.Tops {
				if top.Policy == nil {
					continue
				}
				e, err := fs.Lookup(fs.Root(), []byte(top.Path))
				if err != nil {
					continue // encrypted directories may lie deeper
				}
				for _, k := range g.Keys {
					tryKey(t, fs, e.Ino, top, k)
				}
			}
		})
	}
}

func tryKey(t *testing.T, fs image.FS, dir image.Ino, top manifest.Top, k manifest.Key) {
	t.Helper()
	raw := append([]byte(nil), k.MasterKey...)
	key, err := crypt.NewMasterKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer key.Wipe()
	trial, err := Try(fs, key, dir)
	if k.Name == top.Policy.Key {
		if err != nil || !trial.Proven() || trial.Wrong() {
			t.Errorf("%s: its key %s: %+v, %v", top.Path, k.Name, trial, err)
		}
	} else if err == nil && (trial.Proven() || trial.Empty()) {
		t.Errorf("%s: the key %s of another: %+v", top.Path, k.Name, trial)
	}
}
