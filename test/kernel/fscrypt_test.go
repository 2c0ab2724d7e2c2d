package kernel

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/linux"
	"fsenc/test/mkimage"
)

const passphrase = "correct horse 🐎 battery"

// Google's fscrypt opens a directory that fsenc encrypted with a protector
// that fsenc made, and shows the tree as it was.
func TestFscryptUnlocks(t *testing.T) {
	image, before := mkimage.Build(t, mkimage.Rows[0])
	words := passphraseFile(t)
	run(t, "setup", image, "--yes")
	id := strings.TrimSpace(keyID(run(t, "key", "add", image, "--source", "passphrase", "--name", "work", "--passphrase-file", words, "--json")))
	run(t, "encrypt-dir", image, "/secret", "--key-id", id, "--passphrase-file", words, "--yes")
	mustBeClean(t, image, "after encrypt-dir")

	out := t.TempDir()
	log := fscrypt(t, image, `
		fscrypt status mnt
		fscrypt status mnt/secret
		! echo "wrong words" | fscrypt unlock mnt/secret --quiet
		echo "$PASSPHRASE" | fscrypt unlock mnt/secret --quiet
		cp -a mnt/secret "$OUT"/
		echo from fscrypt >mnt/secret/hush-new
		fscrypt lock mnt/secret
	`, "OUT="+out)
	for _, want := range []string{id, `custom protector "work"`} {
		if !strings.Contains(log, want) {
			t.Errorf("fscrypt status does not show %q:\n%s", want, log)
		}
	}
	got := mkimage.Walk(t, out)
	same(t, "copied by cp", manifest.Below(before, "secret"), got, manifest.Inos|manifest.Encryption|manifest.Ranges|manifest.Flags)
	mustBeClean(t, image, "after fscrypt")
	if text := run(t, "cat", image, "/secret/hush-new", "--passphrase-file", words); text != "from fscrypt\n" {
		t.Errorf("cat gives %q", text)
	}
}

// fsenc opens a directory that fscrypt encrypted, changes its passphrase, and
// fscrypt opens it with the new one only.
func TestFscryptMetadata(t *testing.T) {
	image := mkimage.Make(t, mkimage.Rows[1])
	words := passphraseFile(t)
	fscrypt(t, image, `
		fscrypt setup mnt --quiet --all-users
		mkdir mnt/dir
		echo "$PASSPHRASE" | fscrypt encrypt mnt/dir --source=custom_passphrase --name=mine --quiet --no-recovery
		echo hello >mnt/dir/file
	`)
	if out := run(t, "cat", image, "/dir/file", "--passphrase-file", words); out != "hello\n" {
		t.Errorf("cat gives %q", out)
	}
	if out := run(t, "key", "list", image); !strings.Contains(out, "mine") {
		t.Errorf("key list does not show the protector:\n%s", out)
	}
	fresh := filepath.Join(t.TempDir(), "new")
	if err := os.WriteFile(fresh, []byte("something new\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "key", "change", image, "mine", "--passphrase-file", words, "--new-passphrase-file", fresh)
	mustBeClean(t, image, "after key change")
	fscrypt(t, image, `
		! echo "$PASSPHRASE" | fscrypt unlock mnt/dir --quiet
		echo "something new" | fscrypt unlock mnt/dir --quiet
		test "$(cat mnt/dir/file)" = hello
		fscrypt lock mnt/dir
	`)
}

// A raw key protector made by fsenc unlocks with the key file.
func TestFscryptRawKey(t *testing.T) {
	image := mkimage.Make(t, mkimage.Rows[0])
	mkimage.Mounted(t, image, true, func(dir string) {
		if err := linux.Fill(filepath.Join(dir, "secret"), mkimage.Rows[0].Tree); err != nil {
			t.Fatal(err)
		}
	})
	raw := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(raw, []byte("0123456789abcdef0123456789ABCDEF"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "setup", image, "--yes")
	id := keyID(run(t, "key", "add", image, "--source", "raw", "--name", "stick", "--new-key-file", raw, "--json"))
	run(t, "encrypt-dir", image, "/secret", "--key-id", id, "--key-file", raw, "--yes")
	fscrypt(t, image, `
		fscrypt unlock mnt/secret --key="$RAW" --quiet
		test -d mnt/secret/hush-sizes
		fscrypt lock mnt/secret
	`, "RAW="+raw)
}

func passphraseFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(file, []byte(passphrase+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// keyID picks the identifier, 32 hex digits, out of what key add prints.
func keyID(out string) string {
	for word := range strings.FieldsFuncSeq(out, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) }) {
		if len(word) == 32 {
			return word
		}
	}
	return ""
}

// fscrypt runs a shell script with the image mounted at mnt, in a mount
// namespace with an /etc of its own, so that fscrypt's configuration does not
// become the machine's.
func fscrypt(t *testing.T, image, script string, env ...string) string {
	t.Helper()
	mkimage.NeedRoot(t)
	const frame = `
set -eux
cp -a /etc etc
mount --bind etc /etc
rm -f /etc/fscrypt.conf
mkdir mnt
mount -o loop "$IMAGE" mnt
trap 'umount mnt' EXIT
fscrypt setup --quiet --time=10ms
`
	cmd := exec.Command("unshare", "-m", "sh", "-c", frame+script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(append(os.Environ(), "IMAGE="+image, "PASSPHRASE="+passphrase), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("fscrypt: %v\n%s", err, out)
	}
	return string(out)
}
