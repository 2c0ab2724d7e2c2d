package golden

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest"
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
	for path, want := range written(t) {
		if path == foreign {
			continue
		}
		got, err := exec.Command(program, append([]string{"cat", img, "/" + path}, keys...)...).Output()
		if err != nil || imagetest.Sum(got) != want {
			t.Errorf("%s has digest %s, want %s (%v)", path, imagetest.Sum(got), want, err)
		}
	}
}
