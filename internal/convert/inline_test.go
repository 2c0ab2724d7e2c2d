package convert_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fsenc/internal/convert"
	"fsenc/internal/feature"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store/storetest"
)

// inlineRow is an image that keeps contents inside of inodes or items, and what
// looks at it when it has no feature of our own.
type inlineRow struct {
	name  string
	make  func(testing.TB) []byte
	check func(testing.TB, []byte)
}

func inlineRows() []inlineRow {
	ext4 := func(args ...string) func(testing.TB) []byte {
		return layout{"", "4M", append([]string{"-b", "1024", "-O", "encrypt,inline_data,^has_journal"}, args...)}.make
	}
	return []inlineRow{
		{"ext4", ext4("-I", "256"), e2fsck},
		{"ext4, large inodes", ext4("-I", "1024"), e2fsck},
		{"btrfs", func(t testing.TB) []byte {
			return btrfsLayouts[0].makeBtrfs(t, func(dir string) { fill(t, dir) })
		}, checkBtrfs},
	}
}

// setInlineFeature sets or clears the feature of encrypted inline data.
func setInlineFeature(t testing.TB, home *storetest.Mem, set bool) {
	t.Helper()
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{feature.EncryptedInlineData}
	if set {
		err = fs.SetFeatures(names, nil)
	} else {
		err = fs.SetFeatures(nil, names)
	}
	if err := errors.Join(err, fs.Flush()); err != nil {
		t.Fatal(err)
	}
}

// countInline counts the encrypted and the plain files that are inline.
func countInline(t testing.TB, home *storetest.Mem) (encrypted, plain int) {
	t.Helper()
	fs, err := probe.Open(home, probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = fs.Inodes(func(a image.Attr, err error) error {
		if err == nil && a.Type == image.TypeRegular && a.Inline && a.Size > 0 {
			if a.Encrypted {
				encrypted++
			} else {
				plain++
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return encrypted, plain
}

// With the feature small files stay where they are while the tree is encrypted,
// gets other nonces and is decrypted; without it they move to blocks.
func TestEncryptedInlineData(t *testing.T) {
	keys, pol := testKey(t)
	for _, row := range inlineRows() {
		for _, small := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, small batches %v", row.name, small), func(t *testing.T) {
				home := storetest.NewMem(row.make(t))
				before := snapshot(t, home, nil)
				_, was := countInline(t, home)
				setInlineFeature(t, home, true)
				for _, op := range []convert.Op{convert.Encrypt, convert.Rekey, convert.Decrypt} {
					j := job{op: op, keys: keys, pol: pol, wipe: op == convert.Encrypt, small: small}
					if err := j.run(t.Context(), home, newLog()); err != nil {
						t.Fatalf("%v: %v", op, err)
					}
					if d := cmp.Diff(before, snapshot(t, home, keys)); d != "" {
						t.Fatalf("after %v the tree differs (-before +after):\n%s", op, d)
					}
					encrypted, plain := countInline(t, home)
					switch {
					case op == convert.Decrypt && (encrypted != 0 || plain < was/2):
						t.Errorf("after %v %d files are inline and encrypted, %d plain ones of %d", op, encrypted, plain, was)
					case op != convert.Decrypt && encrypted < was/2:
						t.Errorf("after %v %d files are inline and encrypted, of %d", op, encrypted, was)
					}
					if op == convert.Encrypt {
						noPlaintext(t, home.Bytes())
					}
				}
				setInlineFeature(t, home, false)
				row.check(t, home.Bytes())

				if err := (job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true, small: small}).run(t.Context(), home, newLog()); err != nil {
					t.Fatal(err)
				}
				if encrypted, _ := countInline(t, home); encrypted != 0 {
					t.Errorf("without the feature %d encrypted files are inline", encrypted)
				}
				row.check(t, home.Bytes())
				noPlaintext(t, home.Bytes())
			})
		}
	}
}

// A power cut while inline contents are encrypted or decrypted loses nothing.
// No checker opens an image with the feature; the tree is compared.
func TestPowerLossInline(t *testing.T) {
	keys, pol := testKey(t)
	for _, row := range inlineRows() {
		t.Run(row.name, func(t *testing.T) {
			home := storetest.NewMem(row.make(t))
			setInlineFeature(t, home, true)
			plain := bytes.Clone(home.Bytes())
			r := recovery{keys: keys, want: snapshot(t, home, nil), judged: make(map[[32]byte]bool),
				check: func(testing.TB, []byte) {}, stride: 29}
			enc := job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true, small: true}
			if err := enc.run(t.Context(), home, newLog()); err != nil {
				t.Fatal(err)
			}
			r.powerLoss(t, enc, plain)
			r.powerLoss(t, job{op: convert.Decrypt, keys: keys, pol: pol, small: true}, home.Bytes())
			t.Logf("%d cuts, %d states recovered from, %d different results", r.cuts, r.states, len(r.judged))
		})
	}
}
