package kernel

import (
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/linux"
	"fsenc/test/mkimage"
	"fsenc/test/vm/job"
)

// policyImage is an ext4 that can carry every policy once setUpAll has run.
func policyImage(name string) mkimage.Row {
	return mkimage.Row{Name: name, Size: 48 << 20, Args: []string{"-b", "4096"}, Tree: linux.Tree{BlockSize: 4096}}
}

func setUpAll(t *testing.T, image string) {
	t.Helper()
	run(t, "setup", image, "--feature", "encrypt,stable_inodes", "--yes")
}

// secretOnly fills an image with /secret and nothing else: what is beside an
// encrypted tree is the business of TestConvert.
func secretOnly(t *testing.T, r mkimage.Row) (string, []manifest.Entry) {
	t.Helper()
	return build(t, r, func(dir string) error { return linux.Fill(filepath.Join(dir, "secret"), r.Tree) })
}

// among are the rows that a kernel judges.
func among(rows []policyRow, judged func(policyRow) bool) []policyRow {
	var list []policyRow
	for _, r := range rows {
		if judged(r) {
			list = append(list, r)
		}
	}
	return list
}

// With each policy that this machine's kernel takes it reads what encrypt-dir
// wrote, writes into it so that fsenc reads it, reads what rekey made of it
// under the next policy, and finds the plain tree again after decrypt-dir.
func TestPolicies(t *testing.T) {
	here := judgedHere(t)
	rows := among(policyRows, func(r policyRow) bool { return here[r.name] })
	for i, r := range rows {
		to := rows[(i+1)%len(rows)]
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			image, before := secretOnly(t, policyImage(r.name))
			key, keyFile := masterKey(t, r.name)
			setUpAll(t, image)
			run(t, append([]string{"encrypt-dir", image, "/secret", "--key-file", keyFile, "--yes"}, r.flags()...)...)
			mustBeClean(t, image, "after encrypt-dir")
			same(t, "after encrypt-dir", before, r.look(t, image, key), manifest.Encryption)

			mkimage.Mounted(t, image, true, func(dir string) {
				r.addKey(t, dir, key)
				if err := linux.Add(filepath.Join(dir, "secret")); err != nil {
					t.Fatalf("write into the encrypted tree: %v", err)
				}
			})
			written := r.look(t, image, key)
			mustBeClean(t, image, "after the kernel wrote")
			fsckIsContent(t, image, keyFile)
			readsBack(t, image, keyFile, written)

			key, keyFile = rekey(t, image, to, i, key, keyFile)
			same(t, "after rekey", written, to.look(t, image, key), manifest.Encryption)
			fsckIsContent(t, image, keyFile)

			run(t, "decrypt-dir", image, "/secret", "--key-file", keyFile, "--yes")
			mustBeClean(t, image, "after decrypt-dir")
			plain := look(t, image)
			same(t, "after decrypt-dir", written, plain, manifest.Encryption)
			nothingEncrypted(t, plain)
		})
	}
}

// rekey encrypts /secret anew as another row says, every second time with
// another key, and returns the key and its file.
func rekey(t *testing.T, image string, to policyRow, i int, key []byte, keyFile string) ([]byte, string) {
	t.Helper()
	args := append([]string{"rekey", image, "/secret", "--key-file", keyFile, "--yes"}, to.flags()...)
	if i%2 == 0 {
		key, keyFile = masterKey(t, "to "+to.name)
		args = append(args, "--to-key-file", keyFile)
	}
	run(t, args...)
	mustBeClean(t, image, "after rekey to "+to.name)
	return key, keyFile
}

// machineCase is an image that goes through the virtual machine.
type machineCase struct {
	row, to      policyRow
	image, plain string // plain is a copy after rekey and decrypt-dir
	before       []manifest.Entry
	written      []manifest.Entry
	key, toKey   []byte
	keyFile      string
	toKeyFile    string
}

func (c *machineCase) folds() bool { return slices.Contains(folding, c.row) }

// mount asks for the tree of a disk as the kernel shows it with the key.
func (r policyRow) mount(disk int, key []byte, change job.Mount) job.Mount {
	change.Disk, change.Type = disk, "ext4"
	if r.version == 1 {
		change.KeysV1 = [][]byte{key}
	} else {
		change.Keys = [][]byte{key}
	}
	return change
}

// raw is the policy that the kernel of the machine is to show.
func (r policyRow) raw(key []byte, result job.Result) []byte {
	if r.version == 1 {
		return r.bytes(key, [16]byte{})
	}
	return r.bytes(key, result.Identifiers[0])
}

// folding are policies for casefolded directories, which takes v2.
var folding = []policyRow{
	{"casefold-adiantum", 2, adiantum, adiantum, 32, directKey, 0, false},
	{"casefold-cbc", 2, aes128CBC, aes128CTS, 4, 0, 0, false},
	{"casefold-lblk64", 2, aes256XTS, aes256CTS, 16, ivInoLblk64, 0, false},
}

// What this machine's kernel lacks goes through the same stops on Debian's
// kernel in the virtual machine; so do casefolded directories.
func TestPoliciesVM(t *testing.T) {
	cases := machineCases(t)
	var images []string
	var mounts []job.Mount
	for i, c := range cases {
		t.Run(c.row.name+"/encrypt", func(t *testing.T) {
			setUpAll(t, c.image)
			run(t, append([]string{"encrypt-dir", c.image, "/secret", "--key-file", c.keyFile, "--yes"}, c.row.flags()...)...)
			mustBeClean(t, c.image, "after encrypt-dir")
		})
		images = append(images, c.image)
		mounts = append(mounts,
			c.row.mount(i, c.key, job.Mount{ReadOnly: true, Walk: true}),
			c.row.mount(i, c.key, job.Mount{Add: []string{"secret"}, Walk: true}))
	}
	results := mkimage.InVM(t, images, mounts)

	images, mounts = nil, nil
	for i, c := range cases {
		t.Run(c.row.name+"/mount", func(t *testing.T) {
			first := results[2*i]
			same(t, "after encrypt-dir", c.before, first.Tree, manifest.Encryption)
			hasPolicy(t, first.Tree, c.row.raw(c.key, first))
			c.written = results[2*i+1].Tree
			c.change(t, i)
		})
		images = append(images, c.image)
		mounts = append(mounts, c.to.mount(i, c.toKey, job.Mount{ReadOnly: true, Walk: true}))
	}
	// Decrypted trees come last; one that does not fold is seen here as well.
	for _, c := range cases {
		if c.folds() {
			mounts = append(mounts, job.Mount{Disk: len(images), Type: "ext4", ReadOnly: true, Walk: true})
			images = append(images, c.plain)
		}
	}
	results = mkimage.InVM(t, images, mounts)
	decrypted := results[len(cases):]
	for i, c := range cases {
		t.Run(c.row.name+"/mount again", func(t *testing.T) {
			var plain []manifest.Entry
			if c.folds() {
				plain, decrypted = decrypted[0].Tree, decrypted[1:]
			} else {
				plain = look(t, c.plain)
			}
			same(t, "after rekey", c.written, results[i].Tree, manifest.Encryption)
			hasPolicy(t, results[i].Tree, c.to.raw(c.toKey, results[i]))
			same(t, "after decrypt-dir", c.written, plain, manifest.Encryption)
			nothingEncrypted(t, plain)
		})
	}
}

// machineCases makes the images of all that goes through the machine.
func machineCases(t *testing.T) []*machineCase {
	t.Helper()
	here := judgedHere(t)
	rows := among(policyRows, func(r policyRow) bool { return !here[r.name] && !r.rare })
	for _, r := range among(policyRows, func(r policyRow) bool { return !here[r.name] && r.rare }) {
		t.Logf("%s: no kernel here takes it", r.name)
	}
	var cases []*machineCase
	for i, r := range rows {
		image, before := secretOnly(t, policyImage(r.name))
		cases = append(cases, &machineCase{row: r, to: rows[(i+1)%len(rows)], image: image, before: before})
	}
	cases = append(cases, foldingCases(t)...)
	for _, c := range cases {
		c.key, c.keyFile = masterKey(t, c.row.name)
	}
	return cases
}

// foldingCases lets the machine fill images with casefolded directories.
func foldingCases(t *testing.T) []*machineCase {
	t.Helper()
	var cases []*machineCase
	var images []string
	var mounts []job.Mount
	for i, r := range folding {
		l := policyImage(r.name)
		l.Args = append(l.Args, "-O", "casefold")
		l.Tree.Casefold = true
		images = append(images, mkimage.Make(t, l))
		cases = append(cases, &machineCase{row: r, to: folding[(i+1)%len(folding)], image: images[i]})
		mounts = append(mounts,
			job.Mount{Disk: i, Type: "ext4", Fill: []job.Fill{{Dir: "secret", Tree: l.Tree}}},
			job.Mount{Disk: i, Type: "ext4", ReadOnly: true, Walk: true})
	}
	results := mkimage.InVM(t, images, mounts)
	for i, c := range cases {
		c.before = results[2*i+1].Tree
		mustBeClean(t, c.image, "after the kernel filled it")
	}
	return cases
}

// change reads what the kernel wrote, rekeys the image and decrypts a copy.
func (c *machineCase) change(t *testing.T, i int) {
	t.Helper()
	mustBeClean(t, c.image, "after the kernel wrote")
	fsckIsContent(t, c.image, c.keyFile)
	readsBack(t, c.image, c.keyFile, c.written)
	c.toKey, c.toKeyFile = rekey(t, c.image, c.to, i, c.key, c.keyFile)
	fsckIsContent(t, c.image, c.toKeyFile)
	c.plain = c.image + ".plain"
	if out, err := exec.Command("cp", "--sparse=always", c.image, c.plain).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v: %s", err, out)
	}
	run(t, "decrypt-dir", c.plain, "/secret", "--key-file", c.toKeyFile, "--yes")
	mustBeClean(t, c.plain, "after decrypt-dir")
}
