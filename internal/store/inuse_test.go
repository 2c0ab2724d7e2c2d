package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeHost makes a sysfs of the given files and a mountinfo.
func fakeHost(t *testing.T, mounts string, files map[string]string) *useCheck {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, "sys", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	info := filepath.Join(dir, "mountinfo")
	if err := os.WriteFile(info, []byte(mounts), 0o644); err != nil {
		t.Fatal(err)
	}
	return &useCheck{host: host{filepath.Join(dir, "sys"), filepath.Join(dir, "dev"), info}}
}

func TestHolders(t *testing.T) {
	sda := map[string]string{
		"dev/block/8:0/dev":                 "8:0\n",
		"dev/block/8:0/sda1/partition":      "1\n",
		"dev/block/8:0/sda1/dev":            "8:1\n",
		"dev/block/8:1/partition":           "1\n",
		"dev/block/8:1/holders/dm-3/ignore": "",
	}
	for name, c := range map[string]struct{ mounts, want string }{
		"mapper on a partition": {"", "/dev/sda1: in use: held by dm-3"},
		"mounted partition":     {"36 35 8:1 / /home rw - ext4 /dev/none rw\n", "mounted at /home"},
		"mounted disk":          {"36 35 8:0 / /mnt rw - ext4 /dev/none rw\n", "mounted at /mnt"},
	} {
		u := fakeHost(t, c.mounts, sda)
		err := u.device("/dev/sda", "8:0")
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestLoopInSysfs(t *testing.T) {
	image := tempFile(t, make([]byte, 512))
	st, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	u := fakeHost(t, "36 35 7:5 / /mnt rw - ext4 /dev/none rw\n", map[string]string{
		"block/loop4/size":              "0\n",
		"block/loop5/loop/backing_file": image + "\n",
		"block/loop5/dev":               "7:5\n",
	})
	want := "attached to /dev/loop5, mounted at /mnt"
	if err := u.loops(image, st); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	u = fakeHost(t, "", map[string]string{"block/loop5/loop/backing_file": "/elsewhere/disk.img\n"})
	if err := u.loops(image, st); err != nil || len(u.unproven) != 1 {
		t.Errorf("file of the same name out of sight: %v, unproven %q", err, u.unproven)
	}
	u = fakeHost(t, "", nil)
	if err := u.loops(image, st); err != nil || len(u.unproven) != 1 {
		t.Errorf("without sysfs: %v, unproven %q", err, u.unproven)
	}
}

func TestMountOf(t *testing.T) {
	for line, want := range map[string]string{
		"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw": "/mnt2",
		"36 35 98:1 / /mnt rw - ext4 /dev/null rw":                       "",
		"36 35":                 "",
		"36 35 0:1 / /mnt rw -": "",
	} {
		if got := mountOf(strings.Fields(line), "98:0"); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
