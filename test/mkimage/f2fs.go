package mkimage

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/linux"
	"fsenc/test/vm/job"
)

// F2FSRow is one layout of f2fs. Only the virtual machine mounts it.
type F2FSRow struct {
	Name    string
	SizeMiB int64
	Args    []string // of mkfs.f2fs
	Options string   // of every mount that writes
	// DirLevel is the number of levels that new directories leave out.
	DirLevel string
	Tree     linux.Tree
	// Populate lets sload.f2fs fill the image instead of the kernel.
	Populate bool
}

func f2fsRow(name string, sizeMiB int64, args ...string) F2FSRow {
	return F2FSRow{Name: name, SizeMiB: sizeMiB, Args: args, Tree: linux.Tree{BlockSize: 4096, F2FS: true}}
}

func (r F2FSRow) with(change func(*F2FSRow)) F2FSRow {
	change(&r)
	return r
}

// F2FSRows are the layouts that mkfs.f2fs makes. The first has no feature at
// all: setting encrypt is part of what is tested.
var F2FSRows = []F2FSRow{
	f2fsRow("bare", 128),
	f2fsRow("encrypt", 128, "-O", "encrypt").with(func(r *F2FSRow) { r.Tree.Pinned = true }),
	f2fsRow("noinline", 128, "-O", "encrypt").with(func(r *F2FSRow) { r.Options = "noinline_data,noinline_dentry,noinline_xattr" }),
	f2fsRow("extra", 128, "-O", "encrypt,extra_attr"),
	f2fsRow("checksums", 128, "-O", "encrypt,extra_attr,flexible_inline_xattr,inode_checksum,inode_crtime,lost_found,sb_checksum").
		with(func(r *F2FSRow) { r.Options = "inline_xattr_size=20" }),
	f2fsRow("everything", 256, "-C", "utf8", "-O",
		"encrypt,extra_attr,inode_checksum,inode_crtime,flexible_inline_xattr,project_quota,quota,lost_found,verity,sb_checksum,casefold,compression").
		with(func(r *F2FSRow) {
			t := &r.Tree
			t.Verity, t.Casefold, t.Projects, t.Compress, t.Pinned = true, true, true, true, true
		}),
	f2fsRow("android", 128, "-g", "android").with(func(r *F2FSRow) { r.Tree.Verity, r.Tree.Projects = true, true }),
	f2fsRow("sections", 256, "-O", "encrypt", "-s", "4"),
	f2fsRow("zones", 256, "-O", "encrypt", "-s", "2", "-z", "2"),
	f2fsRow("nat", 128, "-i", "-O", "encrypt"),
	f2fsRow("levels", 160, "-O", "encrypt").with(func(r *F2FSRow) { r.DirLevel = "9" }),
	f2fsRow("sload", 128, "-O", "encrypt,extra_attr").with(func(r *F2FSRow) { r.Populate, r.Tree.NotMounted = true, true }),
}

// Mount mounts the image of the row.
func (r F2FSRow) Mount(disk int, m job.Mount) job.Mount {
	m.Disk, m.Type = disk, "f2fs"
	if !m.ReadOnly {
		m.Options = r.Options
		if r.DirLevel != "" {
			m.Attributes = map[string]string{"dir_level": r.DirLevel}
		}
	}
	return m
}

// FillMounts are the mounts that fill the image of the row with /secret and
// /plain and record its tree.
func (r F2FSRow) FillMounts(disk int) []job.Mount {
	var mounts []job.Mount
	if !r.Populate {
		mounts = append(mounts, r.Mount(disk, job.Mount{Fill: []job.Fill{
			{Dir: "secret", Tree: r.Tree}, {Dir: "plain", Tree: linux.Tree{BlockSize: 4096}},
		}}))
	}
	return append(mounts, r.Mount(disk, job.Mount{ReadOnly: true, Walk: true}))
}

// BuildF2FS makes the images of rows, in one boot, and returns their paths
// and what the kernel sees in them.
func BuildF2FS(t testing.TB, rows []F2FSRow) (images []string, trees [][]manifest.Entry) {
	t.Helper()
	var mounts []job.Mount
	for i, r := range rows {
		images = append(images, MakeF2FS(t, r))
		mounts = append(mounts, r.FillMounts(i)...)
	}
	results := InVM(t, images, mounts)
	for i, m := range mounts {
		if m.Walk {
			trees = append(trees, results[i].Tree)
		}
	}
	return images, trees
}

// MakeF2FS runs mkfs.f2fs, and sload.f2fs for a row that it fills.
func MakeF2FS(t testing.TB, r F2FSRow) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), r.Name+".img")
	if err := r.make(image, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return image
}

func (r F2FSRow) make(image, scratch string) error {
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(image, r.SizeMiB*mib); err != nil {
		return err
	}
	args := append([]string{"-q", "-f", "-U", uuid}, r.Args...)
	if _, err := run("mkfs.f2fs", append(args, image)...); err != nil {
		return err
	}
	if !r.Populate {
		return nil
	}
	for _, name := range []string{"secret", "plain"} {
		if err := linux.Fill(filepath.Join(scratch, name), r.Tree); err != nil {
			return err
		}
	}
	if out, err := exec.Command("/usr/sbin/sload.f2fs", "-f", scratch, image).CombinedOutput(); err != nil {
		return fmt.Errorf("sload.f2fs: %w\n%s", err, out[max(0, len(out)-4000):]) // it draws a progress bar
	}
	return nil
}

// CheckF2FS runs fsck.f2fs on a copy: it is known to write where it should
// not. Anything but a clean filesystem is an error.
func CheckF2FS(t testing.TB, image string) (string, error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fsck-f2fs-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	copied := filepath.Join(dir, "copy.img")
	if _, err := run("cp", "--sparse=always", image, copied); err != nil {
		return "", err
	}
	out, err := run("fsck.f2fs", "--dry-run", copied)
	if err != nil {
		return out, err
	}
	for line := range strings.Lines(out) {
		for _, word := range []string{"ASSERT", "FIX", "[Fail]"} {
			if strings.Contains(line, word) {
				return out, fmt.Errorf("fsck.f2fs says %q", strings.TrimSpace(line))
			}
		}
	}
	return out, nil
}
