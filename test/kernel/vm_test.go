package kernel

import (
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/mkimage"
	"fsenc/test/vm/job"
)

// What this machine's kernel may lack goes through the same stops as the
// layouts of TestConvert, on Debian's kernel in a virtual machine: quota,
// fs-verity and casefolding, and some layouts that Linux 6.1 judges as well.
func TestConvertVM(t *testing.T) {
	rows := append([]mkimage.Row{}, mkimage.VMRows...)
	for _, r := range mkimage.Rows {
		switch r.Name {
		case "b1k", "nocsum", "ext3ish", "i128", "inl", "big1k", "ofile", "fc", "eai":
			rows = append(rows, r)
		}
	}
	images, before := mkimage.BuildVM(t, rows)
	key, keyFile := masterKey(t, "vm")

	var mounts []job.Mount
	for i, image := range images {
		run(t, "setup", image)
		run(t, "encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
		mustBeClean(t, image, rows[i].Name+" after encrypt-dir")
		noMarks(t, image)
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
		t.Run(rows[i].Name, func(t *testing.T) {
			after := results[3*i].Tree
			same(t, "after encrypt-dir", before[i], after, manifest.Encryption)
			isEncrypted(t, after)
			mustBeClean(t, image, "after the kernel wrote")
			fsckIsContent(t, image, keyFile)
			readsBack(t, image, keyFile, results[3*i+2].Tree)
			run(t, "decrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			mustBeClean(t, image, "after decrypt-dir")
		})
		written = append(written, results[3*i+2].Tree)
		mounts = append(mounts, job.Mount{Disk: i, Type: "ext4", ReadOnly: true, Walk: true})
	}
	if t.Failed() {
		return
	}
	results = mkimage.InVM(t, images, mounts)
	for i := range images {
		t.Run(rows[i].Name+" decrypted", func(t *testing.T) {
			same(t, "after decrypt-dir", written[i], results[i].Tree, manifest.Encryption)
			nothingEncrypted(t, results[i].Tree)
		})
	}
}
