package kernel

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/mkimage"
	"fsenc/test/vm/job"
)

// Every layout of f2fs goes through the virtual machine: what the kernel made
// is encrypted, read, written to, read again by fsenc, given another policy
// and decrypted. All images share each boot; what the kernel wrote is looked at
// as long as it is mounted, for fsenc and the next boot read it from the disk.
func TestF2FS(t *testing.T) {
	cases := f2fsCases(t)
	crashed := f2fsCrashes(t)
	fillF2FS(t, cases, crashed)
	for _, c := range crashed {
		t.Run("crash/"+string(c.how), c.refused)
	}

	each := func(name string, f func(*f2fsCase, *testing.T)) bool {
		return t.Run(name, func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.row.Name, func(t *testing.T) { t.Parallel(); f(c, t) })
			}
		})
	}
	if !each("encrypt", (*f2fsCase).encrypt) {
		return
	}
	writeF2FS(t, cases)
	if !each("written", (*f2fsCase).readBack) {
		return
	}
	var rekeyed []*f2fsCase
	for _, c := range cases {
		if c.to.name != "" {
			rekeyed = append(rekeyed, c.rekeyed(t))
		}
	}
	if each("decrypt", (*f2fsCase).decrypt) {
		decryptedF2FS(t, cases, rekeyed)
	}
}

// fillF2FS lets the machine fill all images.
func fillF2FS(t *testing.T, cases []*f2fsCase, crashed []*f2fsCrash) {
	t.Helper()
	var rows []mkimage.F2FSRow
	var images []string
	for _, c := range cases {
		rows, images = append(rows, c.row), append(images, c.image)
	}
	mounts := mkimage.FillF2FS(rows)
	for _, c := range crashed {
		mounts = append(mounts, job.Mount{Disk: len(images), Type: "f2fs", Crash: c.how})
		images = append(images, c.image)
	}
	results := mkimage.InVM(t, images, mounts)
	for i, m := range mounts {
		if !m.Walk {
			continue
		}
		c := cases[m.Disk]
		c.before = results[i].Tree
		f2fsClean(t, c.image, "after the kernel filled it")
		for _, e := range c.before {
			if e.Err != "" {
				t.Fatalf("%s: %q: %s", c.row.Name, e.Path, e.Err)
			}
		}
	}
	holdsAll(t, cases)
}

// encrypt converts the tree and lets fsck.f2fs judge each step.
func (c *f2fsCase) encrypt(t *testing.T) {
	setup := []string{"setup", c.image, "--yes"}
	if c.root { // .fscrypt cannot be in what it opens
		setup = append(setup, "--no-metadata")
	}
	if c.inline {
		setup = append(setup, "--feature", "encrypt,encrypted_inline_data")
	}
	run(t, setup...)
	f2fsClean(t, c.image, "after setup")
	c.convert(t, append([]string{"encrypt-dir", c.image, c.top(), "--key-file", c.keyFile, "--yes"}, c.policy.flags()...))
	f2fsClean(t, c.image, "after encrypt-dir")
	noMarks(t, c.image)
	if c.inline { // the kernel will not write into this one
		fsckIsContent(t, c.image, c.keyFile)
		readsBack(t, c.image, c.keyFile, c.before)
	}
}

// convert runs a command, for some cases in many steps: it is killed and undone,
// killed again and finished.
func (c *f2fsCase) convert(t *testing.T, args []string) {
	t.Helper()
	if !slices.Contains(killedF2FS, c.row.Name) {
		run(t, args...)
		return
	}
	killed(t, c.image, args...)
	run(t, "undo", c.image, "--key-file", c.keyFile)
	f2fsClean(t, c.image, "after undo")
	if args[0] == "decrypt-dir" {
		noMarks(t, c.image)
	}
	killed(t, c.image, args...)
	run(t, "resume", c.image, "--key-file", c.keyFile)
}

// killedF2FS are the layouts that are converted in many steps.
var killedF2FS = []string{"encrypt", "checksums", "sload"}

// writeF2FS lets the machine read all images with the key, write into them
// and read them again. An image with the mark of an unfinished conversion is
// the last disk: the kernel refuses it, and so does fsck.f2fs.
func writeF2FS(t *testing.T, cases []*f2fsCase) {
	t.Helper()
	var images []string
	var mounts []job.Mount
	for i, c := range cases {
		images = append(images, c.image)
		m := c.policy.mount(i, c.key, job.Mount{Before: true, Add: []string{"secret"}, Walk: true})
		if c.inline {
			m.Add = nil
		}
		mounts = append(mounts, c.row.Mount(i, m))
	}
	marked := unfinished(t, cases[0].image)
	mounts = append(mounts,
		job.Mount{Disk: len(images), Type: "f2fs", Refused: true},
		job.Mount{Disk: len(images), Type: "f2fs", ReadOnly: true, Refused: true})
	for i, r := range mkimage.InVM(t, append(images, marked), mounts) {
		if disk := mounts[i].Disk; disk < len(cases) {
			cases[disk].result = r
			continue
		}
		if log := strings.Join(r.Log, "\n"); !strings.Contains(log, "Can't find valid F2FS filesystem in 1th superblock") {
			t.Errorf("an unfinished image: %s\n%s", r.Err, log)
		}
	}
	if out, err := mkimage.CheckF2FS(t, marked); err == nil {
		t.Errorf("fsck.f2fs accepts an unfinished image:\n%s", out)
	} else {
		t.Logf("fsck.f2fs of an unfinished image: %s", out)
	}
}

// readBack judges what the kernel saw before and after it wrote, and reads
// what it wrote.
func (c *f2fsCase) readBack(t *testing.T) {
	if c.inline {
		c.unreadable(t)
		return
	}
	same(t, "after encrypt-dir", c.before, c.result.Before, manifest.Encryption)
	c.hasPolicy(t, c.result.Before, c.policy.raw(c.key, c.result))
	quiet(t, c.result)
	f2fsClean(t, c.image, "after the kernel wrote")
	fsckIsContent(t, c.image, c.keyFile)
	c.written = c.result.Tree
	readsBack(t, c.image, c.keyFile, c.written)
}

// quiet fails when f2fs has complained.
func quiet(t *testing.T, r job.Result) {
	t.Helper()
	for _, line := range r.Log {
		if strings.Contains(line, "F2FS-fs") || strings.Contains(line, "fscrypt") {
			t.Errorf("the kernel says %q", line)
		}
	}
}

// hasPolicy is the function of that name, for a root that is encrypted too.
func (c *f2fsCase) hasPolicy(t *testing.T, tree []manifest.Entry, raw []byte) {
	t.Helper()
	if !c.root {
		hasPolicy(t, tree, raw)
		return
	}
	for _, e := range tree {
		carries := e.Type == manifest.File || e.Type == manifest.Dir || e.Type == manifest.Symlink
		if e.Encrypted != carries || e.Policy != nil && e.Policy.Raw != hex.EncodeToString(raw) {
			t.Fatalf("%q: encrypted is %v, policy %v, want %x", e.Path, e.Encrypted, e.Policy, raw)
		}
	}
}

// rekeyed is a copy of the case whose image has the next policy.
func (c *f2fsCase) rekeyed(t *testing.T) *f2fsCase {
	t.Helper()
	copied := *c
	copied.image = copyOf(t, c.image, c.image+".rekeyed")
	copied.policy = c.to
	args := append([]string{"rekey", copied.image, "/secret", "--key-file", c.keyFile, "--yes"}, c.to.flags()...)
	copied.key, copied.keyFile = masterKey(t, "f2fs to "+c.row.Name)
	run(t, append(args, "--to-key-file", copied.keyFile)...)
	f2fsClean(t, copied.image, "after rekey")
	fsckIsContent(t, copied.image, copied.keyFile)
	return &copied
}

func (c *f2fsCase) decrypt(t *testing.T) {
	if c.inline {
		c.checked(t)
		run(t, "setup", c.image, "--remove", "--feature", "encrypted_inline_data", "--key-file", c.keyFile, "--yes")
		f2fsClean(t, c.image, "after setup --remove")
		return
	}
	c.convert(t, []string{"decrypt-dir", c.image, c.top(), "--key-file", c.keyFile, "--yes"})
	f2fsClean(t, c.image, "after decrypt-dir")
}

// decryptedF2FS lets the machine read what decrypt-dir and rekey made.
func decryptedF2FS(t *testing.T, cases, rekeyed []*f2fsCase) {
	t.Helper()
	var images []string
	var mounts []job.Mount
	for _, c := range cases {
		m := job.Mount{Disk: len(images), Type: "f2fs", ReadOnly: true, Walk: true}
		if c.inline {
			m = c.look(len(images), c.policy, c.key)
		}
		mounts = append(mounts, m)
		images = append(images, c.image)
	}
	for _, c := range rekeyed {
		mounts = append(mounts, c.look(len(images), c.policy, c.key))
		images = append(images, c.image)
	}
	results := mkimage.InVM(t, images, mounts)
	for i, c := range cases {
		t.Run("decrypted/"+c.row.Name, func(t *testing.T) {
			r := results[i]
			quiet(t, r)
			if c.inline {
				same(t, "after setup --remove", c.before, r.Tree, manifest.Encryption)
				hasPolicy(t, r.Tree, c.policy.raw(c.key, r))
				return
			}
			same(t, "after decrypt-dir", c.written, r.Tree, manifest.Encryption)
			nothingEncrypted(t, r.Tree)
		})
	}
	for i, c := range rekeyed {
		t.Run("rekeyed/"+c.row.Name, func(t *testing.T) {
			r := results[len(cases)+i]
			same(t, "after rekey", c.written, r.Tree, manifest.Encryption)
			hasPolicy(t, r.Tree, c.policy.raw(c.key, r))
			quiet(t, r)
		})
	}
}
