package kernel

import (
	"slices"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/mkimage"
	"fsenc/test/vm/job"
)

// judgedTwice are layouts that Linux 6.1 judges as well as this machine's
// kernel.
var judgedTwice = []string{"b1k", "ext3ish", "i128", "inl", "big1k", "eai"}

// What this machine's kernel may lack goes through the same stops as the
// layouts of TestConvert, on Debian's kernel in a virtual machine: quota,
// fs-verity and casefolding.
func TestConvertVM(t *testing.T) {
	rows := slices.Clone(mkimage.VMRows)
	images, before := mkimage.BuildVM(t, rows)
	for _, r := range mkimage.Rows {
		if slices.Contains(judgedTwice, r.Name) {
			image, tree := mkimage.Build(t, r)
			rows, images, before = append(rows, r), append(images, image), append(before, tree)
		}
	}
	key, keyFile := masterKey(t, "vm")

	var mounts []job.Mount
	for i, image := range images {
		t.Run(rows[i].Name+"/encrypt", func(t *testing.T) {
			run(t, "setup", image, "--yes")
			run(t, "encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			mustBeClean(t, image, "after encrypt-dir")
			noMarks(t, image)
		})
		keys := [][]byte{key}
		mounts = append(mounts,
			job.Mount{Disk: i, Type: "ext4", ReadOnly: true, Keys: keys, Walk: true},
			job.Mount{Disk: i, Type: "ext4", Keys: keys, Add: []string{"secret"}},
			job.Mount{Disk: i, Type: "ext4", ReadOnly: true, Keys: keys, Walk: true})
	}
	results := mkimage.InVM(t, images, mounts)

	mounts = nil
	var written [][]manifest.Entry
	for i, image := range images {
		t.Run(rows[i].Name+"/mount", func(t *testing.T) {
			after := results[3*i].Tree
			same(t, "after encrypt-dir", before[i], after, manifest.Encryption)
			isEncrypted(t, after)
			mustBeClean(t, image, "after the kernel wrote")
			fsckIsContent(t, image, keyFile)
			readsBack(t, image, keyFile, results[3*i+2].Tree)
		})
		t.Run(rows[i].Name+"/decrypt", func(t *testing.T) {
			run(t, "decrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			mustBeClean(t, image, "after decrypt-dir")
		})
		written = append(written, results[3*i+2].Tree)
		mounts = append(mounts, job.Mount{Disk: i, Type: "ext4", ReadOnly: true, Walk: true})
	}
	results = mkimage.InVM(t, images, mounts)
	for i := range images {
		t.Run(rows[i].Name+"/mount again", func(t *testing.T) {
			same(t, "after decrypt-dir", written[i], results[i].Tree, manifest.Encryption)
			nothingEncrypted(t, results[i].Tree)
		})
	}
}
