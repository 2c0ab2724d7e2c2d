package keystore

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image/probe"
	"fsenc/internal/store/storetest"
	"fsenc/test/mkimage"
)

// fscrypt runs a script with the image mounted at mnt and Google's fscrypt at
// hand, and reads the image anew. The mount namespace has an /etc of its own,
// so that the configuration of fscrypt does not become the machine's.
func (i *testImage) fscrypt(script string, env ...string) string {
	i.t.Helper()
	mkimage.NeedRoot(i.t)
	must(i.t, i.fs.Flush())
	dir := i.t.TempDir()
	file := filepath.Join(dir, "image")
	must(i.t, os.WriteFile(file, i.mem.Bytes(), 0o600))
	const frame = `
set -eux
cp -a /etc etc
mount --bind etc /etc
rm -f /etc/fscrypt.conf
mkdir mnt
mount -o loop image mnt
trap 'umount mnt' EXIT
fscrypt setup --quiet --time=10ms
# sh -e does not stop at a command after "!".
refused() { if "$@"; then exit 9; fi; }
`
	cmd := exec.Command("unshare", "-m", "sh", "-c", frame+script)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		i.t.Fatalf("fscrypt: %v\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	must(i.t, err)
	i.mem = storetest.NewMem(data)
	i.fs, err = probe.Open(i.mem, probe.Options{Write: true})
	must(i.t, err)
	return string(out)
}

// fscrypt lists, uses and unlocks what we made, after each of our edits.
func TestFscryptUsesOurs(t *testing.T) {
	for _, all := range []bool{false, true} {
		img := newImage(t, "4k", "", "feature encrypt")
		must(t, Setup(img.fs, SetupOptions{AllUsers: all}))
		raw := bytes.Repeat([]byte("raw!"), RawKeySize/4)
		id, key := makePolicy(t, img.load(), raw)
		work, err := img.load().Protector("work")
		must(t, err)
		env := []string{"POLICY=mnt:" + id, "WORK=mnt:" + work.ID, "RAW=" + filepath.Join(t.TempDir(), "raw")}
		must(t, os.WriteFile(strings.TrimPrefix(env[2], "RAW="), raw, 0o600))

		log := img.fscrypt(`
			fscrypt status mnt
			mkdir mnt/dir
			echo "first words" | fscrypt encrypt mnt/dir --policy="$POLICY" --unlock-with="$WORK" --quiet
			echo hello >mnt/dir/file
			fscrypt lock mnt/dir
			echo "wrong words" | refused fscrypt unlock mnt/dir --unlock-with="$WORK" --quiet
			echo "first words" | fscrypt unlock mnt/dir --unlock-with="$WORK" --quiet
			test "$(cat mnt/dir/file)" = hello
			fscrypt lock mnt/dir
			refused test -e mnt/dir/file
			fscrypt status mnt/dir
		`, env...)
		for _, want := range []string{id, work.ID, `custom protector "work"`, `raw key protector "stick"`} {
			if !strings.Contains(log, want) {
				t.Errorf("fscrypt does not show %q:\n%s", want, log)
			}
		}
		change(t, img)
		img.fscrypt(`
			echo "first words" | refused fscrypt unlock mnt/dir --unlock-with="$WORK" --quiet
			echo "other words" | fscrypt unlock mnt/dir --unlock-with="$WORK" --quiet
			test "$(cat mnt/dir/file)" = hello
			fscrypt lock mnt/dir
		`, env...)
		opens(t, img.load(), id, "stick", raw, key)
		remove(t, img, id)
		img.fscrypt(`
			echo "other words" | fscrypt unlock mnt/dir --quiet
			test "$(cat mnt/dir/file)" = hello
			fscrypt lock mnt/dir
		`, env...)
		img.check()
	}
}

// We open, change and remove what fscrypt made, and it goes on with the rest.
func TestFscryptMadeThis(t *testing.T) {
	img := newImage(t, "1k", "", "feature encrypt")
	img.fscrypt(`
		fscrypt setup mnt --quiet --all-users
		mkdir mnt/dir mnt/two
		echo "some words" | fscrypt encrypt mnt/dir --source=custom_passphrase --name=mine --quiet --no-recovery
		head -c 32 /dev/zero >zeros
		fscrypt encrypt mnt/two --source=raw_key --name=key --key=zeros --quiet --no-recovery
		echo hello >mnt/dir/file
		fscrypt lock mnt/dir
		fscrypt lock mnt/two
	`)
	s := img.load()
	if !s.AllUsers() || len(s.Policies) != 2 || len(s.Protectors) != 2 || len(s.Damaged) != 0 {
		t.Fatalf("policies %v, protectors %v, damaged %v", s.Policies, s.Protectors, s.Damaged)
	}
	for name, secret := range map[string][]byte{"mine": []byte("some words"), "key": make([]byte, RawKeySize)} {
		p, err := s.Protector(name)
		must(t, err)
		u, err := s.UnlockProtector(p, secret)
		must(t, err)
		defer u.Wipe()
		pol := s.PoliciesOf(p.ID)[0]
		if pol.Options != DefaultOptions() {
			t.Errorf("options %+v", pol.Options)
		}
		key, err := s.UnlockPolicy(pol, u)
		must(t, err)
		defer key.Wipe()
		if name == "mine" {
			must(t, s.ChangeSecret(u, []byte("new words"), Costs{}))
			extra, err := s.AddProtector(NewProtector{SourcePassphrase, "extra", cheap}, []byte("more words"))
			must(t, err)
			must(t, s.AddProtectorToPolicy(pol, key, extra))
		}
	}
	img.fscrypt(`
		mine=$(fscrypt status mnt | sed -n 's/^\([0-9a-f]\{16\}\).*custom protector "mine".*/\1/p')
		extra=$(fscrypt status mnt | sed -n 's/^\([0-9a-f]\{16\}\).*custom protector "extra".*/\1/p')
		echo "some words" | refused fscrypt unlock mnt/dir --unlock-with=mnt:$mine --quiet
		echo "new words" | fscrypt unlock mnt/dir --unlock-with=mnt:$mine --quiet
		test "$(cat mnt/dir/file)" = hello
		fscrypt lock mnt/dir
		echo "more words" | fscrypt unlock mnt/dir --unlock-with=mnt:$extra --quiet
		test "$(cat mnt/dir/file)" = hello
		fscrypt lock mnt/dir
	`)
	s = img.load()
	mine, err := s.Protector("mine")
	must(t, err)
	must(t, s.RemoveProtector(mine, false))
	img.fscrypt(`
		echo "more words" | fscrypt unlock mnt/dir --quiet
		test "$(cat mnt/dir/file)" = hello
		fscrypt lock mnt/dir
	`)
	img.check()
}
