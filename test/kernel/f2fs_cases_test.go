package kernel

import (
	"slices"
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
	result          job.Result // of the boot in which the kernel writes
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
