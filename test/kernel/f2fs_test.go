package kernel

import (
	"encoding/hex"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/test/linux"
	"fsenc/test/mkimage"
	"fsenc/test/vm/job"
)

// f2fsCase is a layout of f2fs and the policy that its tree gets.
type f2fsCase struct {
	row    mkimage.F2FSRow
	policy policyRow
	to     policyRow // that a copy is rekeyed to, if it has a name
	root   bool      // everything is encrypted, not /secret alone

	image           string
	before, written []manifest.Entry
	key, toKey      []byte
	keyFile         string
	walks           int // index of the result that shows the tree
}

// f2fsPolicies are the policies of the layouts: all kinds that Linux 6.1 takes
// on f2fs.
var f2fsPolicies = map[string]string{
	"bare": "xts-16", "encrypt": "adiantum", "noinline": "xts-v1", "extra": "cbc", "checksums": "lblk64",
	"everything": "xts-8", "android": "lblk32", "sections": "adiantum-direct", "zones": "xts-4", "nat": "cbc-v1",
	"levels": "adiantum-v1-direct", "sload": "xts-16",
}

func f2fsCases(t *testing.T) []*f2fsCase {
	t.Helper()
	byName := func(name string) policyRow {
		i := slices.IndexFunc(policyRows, func(p policyRow) bool { return p.name == name })
		if i < 0 {
			t.Fatalf("no policy %q", name)
		}
		return policyRows[i]
	}
	var cases []*f2fsCase
	for _, r := range mkimage.F2FSRows {
		cases = append(cases, &f2fsCase{row: r, policy: byName(f2fsPolicies[r.Name])})
	}
	root := mkimage.F2FSRows[0]
	root.Name = "root"
	cases = append(cases, &f2fsCase{row: root, policy: byName("xts-8"), root: true})
	for _, c := range cases {
		if c.row.Name == "checksums" {
			c.to = byName("cbc-v1")
		}
		if c.row.Name == "everything" {
			c.to = byName("lblk64")
		}
		c.image = mkimage.MakeF2FS(t, c.row)
		c.key, c.keyFile = masterKey(t, "f2fs "+c.row.Name)
	}
	return cases
}

// top is the directory that is encrypted.
func (c *f2fsCase) top() string {
	if c.root {
		return "/"
	}
	return "/secret"
}

// look asks for the tree as it shows with the key of a policy.
func (c *f2fsCase) look(disk int, p policyRow, key []byte) job.Mount {
	return c.row.Mount(disk, p.mount(disk, key, job.Mount{ReadOnly: true, Walk: true}))
}

// f2fsClean fails when fsck.f2fs finds anything.
func f2fsClean(t *testing.T, image, when string) {
	t.Helper()
	if out, err := mkimage.CheckF2FS(t, image); err != nil {
		t.Fatalf("%s: %v\n%s", when, err, out)
	}
}

// Every layout of f2fs goes through the virtual machine: what the kernel made
// is encrypted, read, written to, read again by fsenc, given another policy
// and decrypted. All images share each boot.
func TestF2FS(t *testing.T) {
	cases := f2fsCases(t)
	crashed := f2fsCrashes(t)
	fillF2FS(t, cases, crashed)
	for _, c := range crashed {
		t.Run("crash/"+string(c.how), func(t *testing.T) { mustRefuse(t, c.image, []int{exitInUse}) })
	}

	encrypted := t.Run("encrypt", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.row.Name, func(t *testing.T) { t.Parallel(); c.encrypt(t) })
		}
	})
	if !encrypted {
		return
	}
	results := writeF2FS(t, cases)
	var kept []*f2fsCase
	t.Run("written", func(t *testing.T) {
		for i, c := range cases {
			t.Run(c.row.Name, func(t *testing.T) { t.Parallel(); c.readBack(t, results[3*i:3*i+3]) })
		}
	})
	if t.Failed() {
		return
	}
	t.Run("decrypt", func(t *testing.T) {
		for _, c := range cases {
			if c.to.name != "" {
				kept = append(kept, c.rekeyed(t))
			}
			t.Run(c.row.Name, func(t *testing.T) { t.Parallel(); c.decrypt(t) })
		}
	})
	if t.Failed() {
		return
	}
	decryptedF2FS(t, cases, kept)
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

// holdsAll checks that the images hold what only f2fs has.
func holdsAll(t *testing.T, cases []*f2fsCase) {
	t.Helper()
	found := make(map[string]int)
	for _, c := range cases {
		for _, e := range c.before {
			for what, is := range map[string]bool{
				"project": e.Project != 0, "verity": e.Verity != "", "folding": e.Flags&linux.FlagCasefold != 0,
				"compressed": e.Flags&linux.FlagCompress != 0, "huge": e.Size > 8_000_000_000,
			} {
				if is {
					found[what]++
				}
			}
		}
	}
	for what, least := range map[string]int{"project": 3, "verity": 10, "folding": 3, "compressed": 36, "huge": 12} {
		if found[what] < least {
			t.Errorf("%d inodes of the kind %s, want %d", found[what], what, least)
		}
	}
}

// encrypt converts the tree and lets fsck.f2fs judge each step.
func (c *f2fsCase) encrypt(t *testing.T) {
	setup := []string{"setup", c.image, "--yes"}
	if c.root { // .fscrypt cannot be in what it opens
		setup = append(setup, "--no-metadata")
	}
	run(t, setup...)
	f2fsClean(t, c.image, "after setup")
	run(t, append([]string{"encrypt-dir", c.image, c.top(), "--key-file", c.keyFile, "--yes"}, c.policy.flags()...)...)
	f2fsClean(t, c.image, "after encrypt-dir")
	noMarks(t, c.image)
}

// writeF2FS lets the machine read all images with the key, write into them
// and read them again. An image with the mark of an unfinished conversion is
// the last disk: the kernel refuses it, and so does fsck.f2fs.
func writeF2FS(t *testing.T, cases []*f2fsCase) []job.Result {
	t.Helper()
	var images []string
	var mounts []job.Mount
	for i, c := range cases {
		images = append(images, c.image)
		mounts = append(mounts,
			c.look(i, c.policy, c.key),
			c.row.Mount(i, c.policy.mount(i, c.key, job.Mount{Add: []string{"secret"}})),
			c.look(i, c.policy, c.key))
	}
	marked := unfinished(t, cases[0].image)
	mounts = append(mounts,
		job.Mount{Disk: len(images), Type: "f2fs", Refused: true},
		job.Mount{Disk: len(images), Type: "f2fs", ReadOnly: true, Refused: true})
	results := mkimage.InVM(t, append(images, marked), mounts)
	for _, r := range results[3*len(cases):] {
		if log := strings.Join(r.Log, "\n"); !strings.Contains(log, "F2FS-fs") {
			t.Errorf("the kernel refuses an unfinished image (%s) without a word of f2fs:\n%s", r.Err, log)
		}
	}
	t.Logf("unfinished image: %s: %q", results[3*len(cases)].Err, results[3*len(cases)].Log)
	if out, err := mkimage.CheckF2FS(t, marked); err == nil {
		t.Errorf("fsck.f2fs accepts an unfinished image:\n%s", out)
	}
	return results
}

// unfinished is a copy of an image with the mark.
func unfinished(t *testing.T, image string) string {
	t.Helper()
	marked := copyOf(t, image, filepath.Join(t.TempDir(), "unfinished.img"))
	f, err := store.OpenFile(marked, true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fs, err := probe.Open(f, probe.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.SetUnfinished([16]byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if err := fs.Flush(); err != nil {
		t.Fatal(err)
	}
	return marked
}

func copyOf(t *testing.T, image, to string) string {
	t.Helper()
	if out, err := exec.Command("cp", "--sparse=always", image, to).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v: %s", err, out)
	}
	return to
}

// readBack judges what the kernel saw before and after it wrote, and reads
// what it wrote.
func (c *f2fsCase) readBack(t *testing.T, results []job.Result) {
	same(t, "after encrypt-dir", c.before, results[0].Tree, manifest.Encryption)
	c.hasPolicy(t, results[0].Tree, c.policy.raw(c.key, results[0]))
	for i, r := range results {
		quiet(t, r, i)
	}
	f2fsClean(t, c.image, "after the kernel wrote")
	fsckIsContent(t, c.image, c.keyFile)
	c.written = results[2].Tree
	readsBack(t, c.image, c.keyFile, c.written)
}

// quiet fails when f2fs has complained.
func quiet(t *testing.T, r job.Result, mount int) {
	t.Helper()
	for _, line := range r.Log {
		if strings.Contains(line, "F2FS-fs") || strings.Contains(line, "fscrypt") {
			t.Errorf("mount %d: the kernel says %q", mount, line)
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
	run(t, "decrypt-dir", c.image, c.top(), "--key-file", c.keyFile, "--yes")
	f2fsClean(t, c.image, "after decrypt-dir")
}

// decryptedF2FS lets the machine read what decrypt-dir and rekey made.
func decryptedF2FS(t *testing.T, cases, rekeyed []*f2fsCase) {
	t.Helper()
	var images []string
	var mounts []job.Mount
	for _, c := range cases {
		mounts = append(mounts, job.Mount{Disk: len(images), Type: "f2fs", ReadOnly: true, Walk: true})
		images = append(images, c.image)
	}
	for _, c := range rekeyed {
		mounts = append(mounts, c.look(len(images), c.policy, c.key))
		images = append(images, c.image)
	}
	results := mkimage.InVM(t, images, mounts)
	for i, c := range cases {
		t.Run("decrypted/"+c.row.Name, func(t *testing.T) {
			same(t, "after decrypt-dir", c.written, results[i].Tree, manifest.Encryption)
			nothingEncrypted(t, results[i].Tree)
			quiet(t, results[i], 0)
		})
	}
	for i, c := range rekeyed {
		t.Run("rekeyed/"+c.row.Name, func(t *testing.T) {
			r := results[len(cases)+i]
			same(t, "after rekey", c.written, r.Tree, manifest.Encryption)
			hasPolicy(t, r.Tree, c.policy.raw(c.key, r))
			quiet(t, r, 0)
		})
	}
}
