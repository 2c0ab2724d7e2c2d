package mkimage

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
	// Plain puts a tree beside the one that is converted.
	Plain bool
	// Populate lets sload.f2fs fill the image instead of the kernel; Load does
	// the same with what it makes in a directory.
	Populate bool
	Load     func(dir string) error
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
	f2fsRow("encrypt", 128, "-O", "encrypt").with(func(r *F2FSRow) { r.Plain, r.Tree.Pinned = true, true }),
	f2fsRow("noinline", 128, "-O", "encrypt").with(func(r *F2FSRow) { r.Options = "noinline_data,noinline_dentry,noinline_xattr" }),
	f2fsRow("extra", 128, "-O", "encrypt,extra_attr"),
	f2fsRow("checksums", 128, "-O", "encrypt,extra_attr,flexible_inline_xattr,inode_checksum,inode_crtime,lost_found,sb_checksum").
		with(func(r *F2FSRow) { r.Options = "inline_xattr_size=20" }),
	f2fsRow("everything", 256, "-C", "utf8", "-O",
		"encrypt,extra_attr,inode_checksum,inode_crtime,flexible_inline_xattr,project_quota,quota,lost_found,verity,sb_checksum,casefold,compression").
		with(func(r *F2FSRow) {
			r.Plain = true
			t := &r.Tree
			t.Verity, t.Casefold, t.Projects, t.Compress, t.Pinned = true, true, true, true, true
		}),
	f2fsRow("android", 128, "-g", "android").with(func(r *F2FSRow) { r.Tree.Verity, r.Tree.Projects = true, true }),
	f2fsRow("sections", 256, "-O", "encrypt", "-s", "4"),
	f2fsRow("zones", 256, "-O", "encrypt", "-s", "2", "-z", "2"),
	f2fsRow("nat", 128, "-i", "-O", "encrypt"),
	f2fsRow("levels", 160, "-O", "encrypt").with(func(r *F2FSRow) { r.DirLevel = "9" }),
	f2fsRow("sload", 128, "-O", "encrypt,extra_attr").with(func(r *F2FSRow) { r.Plain, r.Populate, r.Tree.NotMounted = true, true, true }),
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

// fill is what the image of the row is filled with: /secret, and beside it
// /plain where there is one.
func (r F2FSRow) fill() []job.Fill {
	fill := []job.Fill{{Dir: "secret", Tree: r.Tree}}
	if r.Plain {
		plain := r.Tree
		plain.F2FS = false
		fill = append(fill, job.Fill{Dir: "plain", Tree: plain})
	}
	return fill
}

// FillF2FS are the mounts that fill the images of rows, which are the first
// disks, and record their trees. Each row has one mount that walks.
func FillF2FS(rows []F2FSRow) []job.Mount {
	var mounts []job.Mount
	for i, r := range rows {
		if !r.Populate {
			mounts = append(mounts, r.Mount(i, job.Mount{Fill: r.fill()}))
		}
		mounts = append(mounts, r.Mount(i, job.Mount{ReadOnly: true, Walk: true}))
	}
	return mounts
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
	if !r.Populate && r.Load == nil {
		return nil
	}
	if err := r.load(scratch); err != nil {
		return err
	}
	if out, err := exec.Command("/usr/sbin/sload.f2fs", "-f", scratch, image).CombinedOutput(); err != nil {
		return fmt.Errorf("sload.f2fs: %w\n%s", err, out[max(0, len(out)-4000):]) // it draws a progress bar
	}
	return nil
}

// load makes in a directory what sload.f2fs is to copy.
func (r F2FSRow) load(dir string) error {
	if r.Load != nil {
		return r.Load(dir)
	}
	for _, fill := range r.fill() {
		if err := linux.Fill(filepath.Join(dir, fill.Dir), fill.Tree); err != nil {
			return err
		}
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
