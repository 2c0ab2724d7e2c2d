package kernel

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/mkimage"
)

// largestInline is the largest payload of an encrypted inode with extra
// attributes and inline xattrs, in bytes.
const largestInline = 3440

// unreadable judges what a kernel without encrypted_inline_data makes of an
// image that has it: it mounts it, has all names, and will not open a file
// whose contents are in the inode.
func (c *f2fsCase) unreadable(t *testing.T) {
	t.Helper()
	before := make(map[string]*manifest.Entry)
	for i := range c.before {
		before[c.before[i].Path] = &c.before[i]
	}
	var rest, want []manifest.Entry
	refused := make(map[string]bool)
	for _, e := range c.result.Tree {
		if e.Err == "" {
			rest = append(rest, e)
			continue
		}
		refused[e.Path] = true
		b := before[e.Path]
		if b == nil || b.Type != manifest.File || b.Size > largestInline || !strings.Contains(e.Err, "structure needs cleaning") {
			t.Errorf("%q: %s", e.Path, e.Err)
		}
	}
	const least = 100
	if len(refused) < least {
		t.Errorf("the kernel refuses %d files, want %d or more", len(refused), least)
	}
	for _, e := range c.before {
		if !refused[e.Path] {
			want = append(want, e)
		}
	}
	same(t, "what the kernel reads", want, rest, manifest.Encryption)
	log := strings.Join(c.result.Log, "\n")
	if !strings.Contains(log, "should not have inline_data") {
		t.Errorf("the kernel says:\n%s", log)
	}
}

// checked brings an image back into order that a kernel without the feature
// could write to: it has noted that a check is due. fsck.f2fs finds nothing.
func (c *f2fsCase) checked(t *testing.T) {
	t.Helper()
	out, code := try(t, "setup", c.image, "--remove", "--feature", "encrypted_inline_data", "--key-file", c.keyFile, "--yes")
	if code != exitInUse || !strings.Contains(out, "fsck.f2fs") {
		t.Fatalf("setup --remove: exit %d, want %d and a word of fsck.f2fs:\n%s", code, exitInUse, out)
	}
	check := exec.Command("/usr/sbin/fsck.f2fs", "-f", c.image)
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("fsck.f2fs -f: %v\n%s", err, out)
	}
}

// inlineBar is what small files may take of the blocks that they take without
// encrypted inline data.
const inlineBar = 0.55

// Ten thousand files of 1 KiB stay in their inodes. fsck.f2fs counts.
func TestInlineSpaceF2FS(t *testing.T) {
	row := mkimage.F2FSRow{Name: "space", SizeMiB: 256, Args: []string{"-O", "encrypt,extra_attr"}}
	row.Load = func(dir string) error { return smallFiles(filepath.Join(dir, "secret"), 10_000) }
	image := mkimage.MakeF2FS(t, row)
	_, keyFile := masterKey(t, "space")
	used := make(map[string]int64)
	for _, features := range []string{"encrypt", "encrypt,encrypted_inline_data"} {
		converted := copyOf(t, image, filepath.Join(t.TempDir(), "converted.img"))
		run(t, "setup", converted, "--feature", features, "--yes")
		run(t, "encrypt-dir", converted, "/secret", "--key-file", keyFile, "--iv-ino-lblk-64", "--yes")
		out, err := mkimage.CheckF2FS(t, converted)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		fsckIsContent(t, converted, keyFile)
		used[features] = validBlocks(t, out)
	}
	with, without := used["encrypt,encrypted_inline_data"], used["encrypt"]
	if ratio := float64(with) / float64(without); ratio > inlineBar {
		t.Errorf("%d blocks with encrypted inline data, %d without: %.2f, want %.2f or less", with, without, ratio, inlineBar)
	}
}

func smallFiles(root string, n int) error {
	for i := range n {
		dir := filepath.Join(root, fmt.Sprint(i/1000))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("small ", i)), bytes.Repeat([]byte{byte(i)}, 1024), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// validBlocks is the number of blocks in use in what fsck.f2fs prints.
func validBlocks(t *testing.T, out string) int64 {
	t.Helper()
	_, rest, _ := strings.Cut(out, "valid_block_count matching with CP")
	_, rest, _ = strings.Cut(rest, "[0x")
	digits, _, _ := strings.Cut(rest, "]")
	n, err := strconv.ParseInt(digits, 16, 64)
	if err != nil {
		t.Fatalf("fsck.f2fs counts no blocks: %v\n%s", err, out)
	}
	return n
}
