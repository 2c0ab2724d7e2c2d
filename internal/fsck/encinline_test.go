package fsck_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"fsenc/internal/convert"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/feature"
	"fsenc/internal/fsck"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store/storetest"
	"fsenc/internal/tree"
)

const inlineSize = 600 // of the file, whose payload has 8 bytes of padding

// inlineImage makes an ext4 image with one encrypted file inside of its inode.
func inlineImage(t *testing.T) (home *storetest.Mem, keys *crypt.Keyring, file image.Ino) {
	t.Helper()
	src, img := t.TempDir(), filepath.Join(t.TempDir(), "img")
	dir := filepath.Join(src, "secret")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "file"), bytes.Repeat([]byte("inline"), inlineSize/6), 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/usr/sbin/mke2fs", "-q", "-t", "ext4", "-b", "1024", "-I", "1024", "-N", "64",
		"-O", "encrypt,inline_data,^has_journal", "-d", src, img, "2M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	key, err := crypt.NewMasterKey(bytes.Repeat([]byte("key."), 16))
	if err != nil {
		t.Fatal(err)
	}
	home, keys = storetest.NewMem(b), new(crypt.Keyring)
	keys.Add(key)
	fs := changed(t, home, func(fs image.FS) error { return fs.SetFeatures([]string{feature.EncryptedInlineData}, nil) })
	n, err := tree.New(fs, nil).Lookup("/secret")
	if err != nil {
		t.Fatal(err)
	}
	pol := policy.Policy{Version: 2, Contents: policy.ModeAES256XTS, Filenames: policy.ModeAES256CTS, Flags: 3, Identifier: key.Identifier()}
	p, err := convert.PlanEncrypt(t.Context(), fs, []convert.Top{{Path: "/secret", Ino: n.Ino}}, pol, convert.Options{Keys: keys})
	if err != nil || p.Totals.Inline != 1 {
		t.Fatalf("plan %+v: %v", p, err)
	}
	c, err := convert.Begin(home, storetest.NewClock(1<<30).Log(nil), p, keys)
	if err == nil {
		err = c.Run(t.Context(), convert.Forward)
	}
	if err != nil {
		t.Fatal(err)
	}
	return home, keys, 13
}

// changed applies a change to an image and returns the filesystem.
func changed(t *testing.T, home *storetest.Mem, change func(image.FS) error) image.FS {
	t.Helper()
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err == nil {
		err = errors.Join(change(fs), fs.Flush())
	}
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// Each thing that can be wrong with a payload is found, with the name of the
// format.
func TestInlineFindings(t *testing.T) {
	payload := func(change func([]byte) []byte) func(*testing.T, image.FS, *crypt.Keyring, image.Ino) error {
		return func(t *testing.T, fs image.FS, keys *crypt.Keyring, ino image.Ino) error {
			b, err := fs.Inline(ino)
			if err != nil {
				return err
			}
			tr := tree.New(fs, keys)
			defer tr.Close()
			c, err := tr.Context(tree.Node{Ino: ino})
			if err != nil {
				return err
			}
			sb := fs.Super()
			cipher, err := keys.Keys()[0].Inline(*c, uint64(ino), crypt.Volume{UUID: sb.UUID, BlockSize: sb.BlockSize})
			if err != nil {
				return err
			}
			cipher.DecryptInline(b)
			return fs.(image.InlineEncrypter).SetInline(ino, cipher.EncryptInline(nil, change(b)))
		}
	}
	for _, tt := range []struct {
		id     string
		change func(*testing.T, image.FS, *crypt.Keyring, image.Ino) error
	}{
		{"", func(*testing.T, image.FS, *crypt.Keyring, image.Ino) error { return nil }},
		{"inline-padding", payload(func(b []byte) []byte { b[len(b)-1] = 1; return b })},
		{"inline-padding", payload(func(b []byte) []byte { b[inlineSize] = 1; return b })},
		{"inline-length", payload(func(b []byte) []byte { return b[:len(b)-16] })},
		{"inline-form", payload(func(b []byte) []byte { return append(b, make([]byte, 16)...) })},
		{"inline-encrypted", func(_ *testing.T, fs image.FS, _ *crypt.Keyring, _ image.Ino) error {
			return fs.SetFeatures(nil, []string{feature.EncryptedInlineData})
		}},
		{"inline-length", func(_ *testing.T, fs image.FS, _ *crypt.Keyring, ino image.Ino) error {
			raw, err := fs.Context(ino)
			raw[4] = 9 // units of 512 bytes
			return errors.Join(err, fs.SetContext(ino, raw))
		}},
	} {
		home, keys, file := inlineImage(t)
		changed(t, home, func(fs image.FS) error { return tt.change(t, fs, keys, file) })
		found := check(t, home.Bytes(), keys)
		ok := slices.ContainsFunc(found, func(f fsck.Finding) bool { return f.ID == tt.id && f.Ino == file && f.Path != "" })
		if ok != (tt.id != "") || tt.id == "" && len(found) > 0 {
			t.Errorf("%q: found %+v", tt.id, found)
		}
	}
}

// asF2FS answers that it is f2fs.
type asF2FS struct{ image.FS }

func (f asF2FS) Super() image.Super {
	s := f.FS.Super()
	s.Kind = "f2fs"
	return s
}

// That only some mounts read it, and that nothing uses the feature, is told.
func TestInlineNotes(t *testing.T) {
	home, keys, file := inlineImage(t)
	notes := func(fs image.FS) (found []string) {
		_, err := fsck.Check(context.Background(), fs, fsck.Options{Keys: keys, Report: func(f fsck.Finding) {
			if f.Severity == image.Info {
				found = append(found, fmt.Sprint(f.ID, " ", f.Ino))
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	fs := changed(t, home, func(image.FS) error { return nil })
	if got := notes(fs); len(got) > 0 {
		t.Errorf("ext4: %q", got)
	}
	if got, want := notes(asF2FS{fs}), fmt.Sprint("inline-policy ", file); !slices.Contains(got, want) {
		t.Errorf("f2fs: %q, want %q", got, want)
	}
	fs = changed(t, home, func(fs image.FS) error { return fs.Uninline(file) })
	if got := notes(fs); !slices.Contains(got, "inline-unused 0") {
		t.Errorf("unused: %q", got)
	}
}
