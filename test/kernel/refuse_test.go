package kernel

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fsenc/internal/image/imagetest"
	"fsenc/test/linux"
	"fsenc/test/mkimage"
)

const (
	exitDamaged = 10
	exitInUse   = 11
	exitRefused = 14
)

// What fsenc must not write to, it refuses with the right exit code, and
// leaves every byte alone.
func TestRefuse(t *testing.T) {
	for _, c := range []struct {
		name    string
		request string // of debugfs
		exit    []int
	}{
		{"needs recovery", "feature needs_recovery", []int{exitInUse}},
		{"orphans listed", "ssv last_orphan 11", []int{exitInUse}},
		{"orphan file in use", "feature orphan_present", []int{exitInUse, exitDamaged}},
		{"errors seen", "ssv state 2", []int{exitInUse, exitDamaged}},
		{"not unmounted", "ssv state 0", []int{exitInUse}},
		{"shared blocks", "feature shared_blocks", []int{exitDamaged, exitRefused}},
		{"read-only", "feature read-only", []int{exitDamaged, exitRefused}},
		{"unknown incompat 25", "feature FEATURE_I25", []int{exitDamaged}},
		{"unknown incompat 11", "feature FEATURE_I11", []int{exitDamaged}},
		{"unknown ro_compat", "feature FEATURE_R20", []int{exitDamaged}},
		{"snapshots", "feature snapshot_bitmap", []int{exitDamaged}},
		{"dirdata", "feature dirdata", []int{exitDamaged}},
		{"journal device", "feature journal_dev", []int{exitDamaged}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			image := small(t)
			debugfs(t, image, c.request)
			mustRefuse(t, image, c.exit)
		})
	}
}

// An image copied while it was mounted needs its journal replayed.
func TestRefuseDirtyJournal(t *testing.T) {
	image := small(t)
	var copied string
	mkimage.Mounted(t, image, true, func(dir string) {
		if err := linux.Fill(filepath.Join(dir, "more"), linux.Tree{BlockSize: 1024}); err != nil {
			t.Fatal(err)
		}
		if err := exec.Command("sync", "-f", dir).Run(); err != nil {
			t.Fatal(err)
		}
		copied = filepath.Join(t.TempDir(), "dirty.img")
		b, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied, b, 0o600); err != nil {
			t.Fatal(err)
		}
		// The mounted image itself is in use, whatever its journal says.
		_, keyFile := masterKey(t, "refuse")
		if out, code := try(t, "encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes"); code != exitInUse {
			t.Errorf("mounted image: exit %d, want %d\n%s", code, exitInUse, out)
		}
	})
	mustRefuse(t, copied, []int{exitInUse})
}

// A live multi-mount protection sequence says that another machine has it.
func TestRefuseMMP(t *testing.T) {
	i := slices.IndexFunc(mkimage.Rows, func(r mkimage.Row) bool { return r.Name == "mmp" })
	image, _ := mkimage.Build(t, mkimage.Rows[i])
	var copied []byte
	mkimage.Mounted(t, image, true, func(string) {
		time.Sleep(200 * time.Millisecond)
		var err error
		if copied, err = os.ReadFile(image); err != nil {
			t.Fatal(err)
		}
	})
	live := filepath.Join(t.TempDir(), "live.img")
	if err := os.WriteFile(live, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, live, []int{exitInUse})
}

// A file with a name outside of the tree stops the plan.
func TestRefuseLinkOutside(t *testing.T) {
	image := small(t)
	mkimage.Mounted(t, image, true, func(dir string) {
		if err := os.Link(filepath.Join(dir, "secret", "file"), filepath.Join(dir, "outside")); err != nil {
			t.Fatal(err)
		}
	})
	mustRefuse(t, image, []int{1, exitRefused})
}

// small is a filesystem with one file below /secret.
func small(t *testing.T) string {
	t.Helper()
	r := mkimage.Row{Name: "small", Size: 16 << 20, Args: []string{"-b", "1024", "-O", "encrypt"}}
	image := mkimage.Make(t, r)
	mkimage.Mounted(t, image, true, func(dir string) {
		if err := os.Mkdir(filepath.Join(dir, "secret"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "secret", "file"), []byte("contents"), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	return image
}

func debugfs(t *testing.T, image, request string) {
	t.Helper()
	cmd := exec.Command("debugfs", "-w", "-R", request, image)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	before := digest(t, image)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("debugfs %s: %v: %s", request, err, out)
	}
	if digest(t, image) == before {
		t.Fatalf("debugfs %s changed nothing", request)
	}
}

func digest(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return imagetest.Sum(b)
}

// mustRefuse tries every command that writes.
func mustRefuse(t *testing.T, image string, exit []int) {
	t.Helper()
	_, keyFile := masterKey(t, "refuse")
	before := digest(t, image)
	for _, args := range [][]string{
		{"encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes"},
		{"encrypt-dir", image, "/secret", "--key-file", keyFile, "--dry-run"},
	} {
		out, code := try(t, args...)
		if !slices.Contains(exit, code) {
			t.Errorf("%s: exit %d, want one of %v\n%s", args[0], code, exit, out)
		}
	}
	if digest(t, image) != before {
		t.Error("the image has changed")
	}
}
