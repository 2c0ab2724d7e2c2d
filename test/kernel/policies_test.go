package kernel

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/linux"
	"fsenc/test/mkimage"
)

// Modes and flags as the kernel numbers them.
const (
	aes256XTS   = 1
	aes256CTS   = 4
	aes128CBC   = 5
	aes128CTS   = 6
	sm4XTS      = 7
	sm4CTS      = 8
	adiantum    = 9
	aes256HCTR2 = 10

	directKey   = 0x04
	ivInoLblk64 = 0x08
	ivInoLblk32 = 0x10
)

var modeNames = map[uint8]string{
	aes256XTS: "AES-256-XTS", aes256CTS: "AES-256-CTS", aes128CBC: "AES-128-CBC", aes128CTS: "AES-128-CTS",
	sm4XTS: "SM4-XTS", sm4CTS: "SM4-CTS", adiantum: "Adiantum", aes256HCTR2: "AES-256-HCTR2",
}

// policyRow is a policy that fsenc writes and a kernel judges.
type policyRow struct {
	name                string
	version             int
	contents, filenames uint8
	padding             int
	iv                  uint8 // one of the flags above
	unit                int   // bytes of a data unit, 0 for a block
	// rare tells that a kernel may lack the modes or data units altogether;
	// the vectors of internal/crypt hold them in any case.
	rare bool
}

// policyRows goes through modes, paddings, versions, kinds of IV and data
// units. Each row is rekeyed to the next, so that neighbours differ.
var policyRows = []policyRow{
	{"xts-4", 2, aes256XTS, aes256CTS, 4, 0, 0, false},
	{"adiantum", 2, adiantum, adiantum, 32, 0, 0, false},
	{"lblk64", 2, aes256XTS, aes256CTS, 16, ivInoLblk64, 0, false},
	{"cbc-v1", 1, aes128CBC, aes128CTS, 8, 0, 0, false},
	{"unit512", 2, aes256XTS, aes256CTS, 32, 0, 512, true},
	{"lblk32", 2, aes256XTS, aes256CTS, 4, ivInoLblk32, 0, false},
	{"adiantum-v1-direct", 1, adiantum, adiantum, 4, directKey, 0, false},
	{"xts-8", 2, aes256XTS, aes256CTS, 8, 0, 0, false},
	{"unit2048", 2, aes256XTS, aes256CTS, 8, 0, 2048, true},
	{"cbc", 2, aes128CBC, aes128CTS, 16, 0, 0, false},
	{"hctr2", 2, aes256XTS, aes256HCTR2, 32, 0, 0, true},
	{"xts-v1", 1, aes256XTS, aes256CTS, 16, 0, 0, false},
	{"lblk64-unit4096", 2, aes256XTS, aes256CTS, 8, ivInoLblk64, 4096, true},
	{"adiantum-direct", 2, adiantum, adiantum, 16, directKey, 0, false},
	{"sm4", 2, sm4XTS, sm4CTS, 16, 0, 0, true},
	{"xts-16", 2, aes256XTS, aes256CTS, 16, 0, 0, false},
	{"adiantum-v1", 1, adiantum, adiantum, 32, 0, 0, false},
	{"unit1024", 2, aes256XTS, aes256CTS, 16, 0, 1024, true},
	{"cbc-unit512", 2, aes128CBC, aes128CTS, 32, 0, 512, true},
	{"xts-v1-32", 1, aes256XTS, aes256CTS, 32, 0, 0, false},
}

// flags are all flags of a policy, so that rekey keeps nothing.
func (r policyRow) flags() []string {
	return []string{
		"--policy-version", fmt.Sprint(r.version),
		"--contents", modeNames[r.contents], "--filenames", modeNames[r.filenames],
		"--padding", fmt.Sprint(r.padding), "--data-unit-size", fmt.Sprint(r.unit),
		fmt.Sprintf("--direct-key=%v", r.iv == directKey),
		fmt.Sprintf("--iv-ino-lblk-64=%v", r.iv == ivInoLblk64),
		fmt.Sprintf("--iv-ino-lblk-32=%v", r.iv == ivInoLblk32),
	}
}

// bytes is the policy as the kernel's ioctls have it; identifier is what the
// kernel calls the key in v2 policies.
func (r policyRow) bytes(key []byte, identifier [16]byte) []byte {
	flags := r.iv
	for 4<<(flags&3) < r.padding {
		flags++
	}
	if r.version == 1 {
		d := linux.Descriptor(key)
		return append([]byte{0, r.contents, r.filenames, flags}, d[:]...)
	}
	log2 := uint8(0)
	for r.unit > 1<<log2 {
		log2++
	}
	return append([]byte{2, r.contents, r.filenames, flags, log2, 0, 0, 0}, identifier[:]...)
}

// addKey gives the key to a mounted filesystem in the way of the row's
// version, and returns the policy that the kernel is to show.
func (r policyRow) addKey(t *testing.T, dir string, key []byte) []byte {
	t.Helper()
	if r.version == 1 {
		if err := linux.AddKeyV1(dir, key); err != nil {
			t.Fatal(err)
		}
		return r.bytes(key, [16]byte{})
	}
	id, err := linux.AddKey(dir, key)
	if err != nil {
		t.Fatal(err)
	}
	return r.bytes(key, id)
}

// look is the tree as the kernel shows it with the key, after a check that
// all of /secret has the policy.
func (r policyRow) look(t *testing.T, image string, key []byte) []manifest.Entry {
	t.Helper()
	var tree []manifest.Entry
	mkimage.Mounted(t, image, false, func(dir string) {
		raw := r.addKey(t, dir, key)
		tree = mkimage.Walk(t, dir)
		hasPolicy(t, tree, raw)
	})
	return tree
}

// hasPolicy checks that all of /secret is encrypted with one policy, and
// nothing else is encrypted.
func hasPolicy(t *testing.T, tree []manifest.Entry, raw []byte) {
	t.Helper()
	for _, e := range tree {
		inside := e.Path == "secret" || strings.HasPrefix(e.Path, "secret/")
		carries := e.Type == manifest.File || e.Type == manifest.Dir || e.Type == manifest.Symlink
		if want := inside && carries; e.Encrypted != want {
			t.Errorf("%q: encrypted is %v, want %v", e.Path, e.Encrypted, want)
		}
		if e.Policy != nil && e.Policy.Raw != hex.EncodeToString(raw) {
			t.Fatalf("%q: policy is %s, want %x", e.Path, e.Policy.Raw, raw)
		}
	}
}

// judgedHere asks this machine's kernel which policies it takes: it makes a
// directory and a file with each.
func judgedHere(t *testing.T) map[string]bool {
	t.Helper()
	image := mkimage.Make(t, mkimage.Row{Name: "probe", Size: 64 << 20, Args: []string{"-b", "4096", "-O", "encrypt,stable_inodes"}})
	here := make(map[string]bool)
	mkimage.Mounted(t, image, true, func(dir string) {
		for _, r := range policyRows {
			key, _ := masterKey(t, r.name)
			raw := r.addKey(t, dir, key)
			err := trial(filepath.Join(dir, r.name), raw)
			here[r.name] = err == nil
			if err != nil && !errors.Is(err, unix.ENOPKG) && (r.unit == 0 || hasUnits(t)) {
				t.Errorf("%s: %v", r.name, err)
			}
		}
	})
	return here
}

// trial puts a policy on a new directory and writes a file into it.
func trial(dir string, raw []byte) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := linux.SetPolicyBytes(dir, raw); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "file"), []byte("contents"), 0o600)
}

// hasUnits tells whether this kernel has data units smaller than a block:
// Linux 6.7 and later.
func hasUnits(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 7
}
