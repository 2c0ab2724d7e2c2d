package golden

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest"
	"fsenc/test/btrfsjudge"
)

// postedDamage was written by the series of patches as posted, which loses
// contexts of extents when it splits them: its kernel cannot read three files.
const postedDamage = "oracle/btrfs-v6-posted-damage"

// written returns the digest of what was written to each file, read or not.
func written(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(imagetest.Dir(), postedDamage+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Entries []struct {
			Path    string
			SHA256  string
			Written string `json:"written_sha256"`
		}
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	digests := map[string]string{}
	for _, e := range m.Entries {
		if digest := e.SHA256 + e.Written; digest != "" {
			digests[e.Path] = digest
		}
	}
	return digests
}

// foreign is a reflink to a file under another key, which no context of the
// format can describe.
const foreign = "other key/clone of another key"

// fsck finds the extents that have lost their contexts, repairs them with the
// keys, and then every file that the format can hold has the contents that were
// written.
func TestRepairPostedDamage(t *testing.T) {
	img, keys := imagetest.Golden(t, postedDamage), keyFiles(t, postedDamage)
	if out, code := fsck(t, img, keys...); code != exitErrorsLeft {
		t.Fatalf("fsck ends with %d: %s", code, out)
	}
	if out, code := fsck(t, img, append([]string{"--repair", "-y"}, keys...)...); code != exitErrorsFixed|exitErrorsLeft {
		t.Fatalf("repair ends with %d: %s", code, out)
	}
	out, code := fsck(t, img, keys...)
	if code != exitErrorsLeft {
		t.Errorf("after the repair fsck ends with %d: %s", code, out)
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "error: ") && !strings.Contains(line, foreign) {
			t.Errorf("after the repair: %s", line)
		}
	}
	v := judge(t, img, postedDamage)
	const inodeOfForeign = "inode 266: "
	for _, s := range v.Broken {
		if !strings.Contains(s, inodeOfForeign) {
			t.Errorf("after the repair the judge says: %s", s)
		}
	}
	all := v.All()
	for path, want := range written(t) {
		if f := all["/"+path]; path != foreign && f.SHA256 != want {
			t.Errorf("the judge reads %s with digest %s, want %s", path, f.SHA256, want)
		}
		if path == foreign {
			continue
		}
		got, err := exec.Command(program, append([]string{"cat", img, "/" + path}, keys...)...).Output()
		if err != nil || imagetest.Sum(got) != want {
			t.Errorf("%s has digest %s, want %s (%v)", path, imagetest.Sum(got), want, err)
		}
	}
}

// judge reads an image with code that shares nothing with fsenc.
func judge(t *testing.T, img, name string) *btrfsjudge.Verdict {
	t.Helper()
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	var keys [][]byte
	for _, k := range imagetest.Manifest(t, name).Keys {
		keys = append(keys, k.MasterKey)
	}
	v, err := btrfsjudge.Judge(keys, b)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Contexts of one subvolume's file that the snapshots of it contradict, that are
// too long, or that are not there, come from the snapshots. What the keys do not
// prove stays as it is.
func TestRepairFromSnapshots(t *testing.T) {
	const (
		name     = "oracle/btrfs-v6-extents"
		original = 256
		multi    = 268 // 122103 bytes, whose last block tells the one right context
		full     = 271 // whole blocks, which tell nothing
	)
	sound := imagetest.GoldenBytes(t, name)
	keys := keyFiles(t, name)
	for _, c := range []struct {
		name   string
		edit   func(w *wound)
		proven bool
	}{
		{"another nonce", func(w *wound) {
			w.itemOf(original, multi, 42, func(b []byte) { b[20] ^= 1 })
		}, true},
		{"another nonce, and no proof", func(w *wound) {
			w.itemOf(original, full, 42, func(b []byte) { b[20] ^= 1 })
		}, false},
		{"another item", func(w *wound) {
			w.itemKey(original, multi, 42, func(k []byte) { le.PutUint64(k[9:], 1<<30) })
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &wound{T: t, b: bytes.Clone(sound)}
			var err error
			if w.blocks, err = btrfsjudge.Blocks(w.b); err != nil {
				t.Fatal(err)
			}
			c.edit(w)
			img := filepath.Join(t.TempDir(), "img")
			if err := os.WriteFile(img, w.b, 0o600); err != nil {
				t.Fatal(err)
			}
			if len(judge(t, img, name).Broken) == 0 {
				t.Fatal("the judge sees no damage")
			}
			if out, code := fsck(t, img, "--repair", "-y"); code != exitErrorsLeft && code != exitErrorsFixed|exitErrorsLeft {
				t.Errorf("repair without keys ends with %d: %s", code, out)
			}
			out, code := fsck(t, img, append([]string{"--repair", "-y"}, keys...)...)
			if !c.proven {
				if code != exitErrorsLeft {
					t.Errorf("repair without proof ends with %d: %s", code, out)
				}
				return
			}
			if code != exitErrorsFixed {
				t.Errorf("repair ends with %d: %s", code, out)
			}
			for _, s := range judge(t, img, name).Broken {
				t.Errorf("after the repair the judge says: %s", s)
			}
			if out, code := fsck(t, img, append([]string{"--content"}, keys...)...); code != 0 {
				t.Errorf("after the repair fsck ends with %d: %s", code, out)
			}
		})
	}
}
