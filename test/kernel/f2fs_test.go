package kernel

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
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
	inline bool      // with the proposed encrypted_inline_data, which takes policies with inode numbers in the IV

	image           string
	before, written []manifest.Entry
	results         []job.Result // of the boot under way
	key             []byte
	keyFile         string
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
	inline := mkimage.F2FSRows[3]
	inline.Name = "inline"
	cases = append(cases, &f2fsCase{row: root, policy: byName("xts-8"), root: true},
		&f2fsCase{row: inline, policy: byName("lblk64"), inline: true})
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
	if c.inline {
		setup = append(setup, "--feature", "encrypt,encrypted_inline_data")
	}
	run(t, setup...)
	f2fsClean(t, c.image, "after setup")
	run(t, append([]string{"encrypt-dir", c.image, c.top(), "--key-file", c.keyFile, "--yes"}, c.policy.flags()...)...)
	f2fsClean(t, c.image, "after encrypt-dir")
	noMarks(t, c.image)
	if c.inline { // the kernel will not write into this one
		fsckIsContent(t, c.image, c.keyFile)
		readsBack(t, c.image, c.keyFile, c.before)
	}
}

// writeF2FS lets the machine read all images with the key, write into them
// and read them again. An image with the mark of an unfinished conversion is
// the last disk: the kernel refuses it, and so does fsck.f2fs.
func writeF2FS(t *testing.T, cases []*f2fsCase) {
	t.Helper()
	var images []string
	var mounts []job.Mount
	for i, c := range cases {
		images = append(images, c.image)
		mounts = append(mounts, c.look(i, c.policy, c.key))
		if !c.inline {
			add := c.policy.mount(i, c.key, job.Mount{Add: []string{"secret"}})
			mounts = append(mounts, c.row.Mount(i, add), c.look(i, c.policy, c.key))
		}
	}
	marked := unfinished(t, cases[0].image)
	mounts = append(mounts,
		job.Mount{Disk: len(images), Type: "f2fs", Refused: true},
		job.Mount{Disk: len(images), Type: "f2fs", ReadOnly: true, Refused: true})
	for i, r := range mkimage.InVM(t, append(images, marked), mounts) {
		if disk := mounts[i].Disk; disk < len(cases) {
			cases[disk].results = append(cases[disk].results, r)
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
	first := c.results[0]
	same(t, "after encrypt-dir", c.before, first.Tree, manifest.Encryption)
	c.hasPolicy(t, first.Tree, c.policy.raw(c.key, first))
	for i, r := range c.results {
		quiet(t, r, i)
	}
	f2fsClean(t, c.image, "after the kernel wrote")
	fsckIsContent(t, c.image, c.keyFile)
	c.written = c.results[2].Tree
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
	if c.inline {
		run(t, "setup", c.image, "--remove", "--feature", "encrypted_inline_data", "--key-file", c.keyFile, "--yes")
		f2fsClean(t, c.image, "after setup --remove")
		return
	}
	run(t, "decrypt-dir", c.image, c.top(), "--key-file", c.keyFile, "--yes")
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
			quiet(t, r, 0)
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
			quiet(t, r, 0)
		})
	}
}
