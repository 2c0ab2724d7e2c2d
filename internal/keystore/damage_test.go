package keystore

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"fsenc/internal/image"
)

// hostileTree has a good policy and protector, and one file of each kind that
// cannot be used, with a word of why.
func hostileTree(t *testing.T) (files map[string][]byte, reasons map[string]string) {
	v := vectors(t)[0]
	good := v.Protectors[0].File
	zero := "0000000000000000"
	renamed := bytes.Replace(good, []byte(v.Protectors[0].FileName), []byte(zero), 1)
	reasons = map[string]string{}
	files = map[string][]byte{
		"policies/" + v.Policies[0].FileName:     v.Policies[0].File,
		"protectors/" + v.Protectors[0].FileName: good,
		"protectors/.tmp12345":                   []byte("left over"),
		"protectors/1111111111111111.link":       []byte("UUID=aaaa-bbbb\nPATH=/home\n"),
	}
	bad := func(name string, data []byte, why string) { files[name], reasons[name] = data, why }
	bad("policies/"+zero+zero, v.Policies[0].File, "it holds policy 94e7")
	bad("policies/empty", nil, "padding 0")
	bad("policies/cut", v.Policies[0].File[:100], "unexpected EOF")
	bad("policies/garbage", bytes.Repeat([]byte{0xff}, 200), "integer overflow")
	bad("policies/large", make([]byte, maxFileSize+1), "16385 bytes, more than 16384")
	bad("protectors/"+zero, good, "it holds protector 4355")
	bad("protectors/source", bytes.Replace(renamed, []byte("\x10\x02\x1a"), []byte("\x10\x04\x1a"), 1), "source 4")
	bad("protectors/hex", bytes.Replace(renamed, []byte(zero), []byte("000000000000000G"), 1), "descriptor")
	bad("protectors/name", bytes.Replace(renamed, []byte("\x1a\x03one"), []byte("\x1a\x03on\xff"), 1), "UTF-8")
	bad("protectors/salt", withField(t, renamed, numSalt, []byte("short")), "salt of 5 bytes")
	bad("protectors/costs", withField(t, renamed, numCosts, nil), "parallelism 0")
	bad("protectors/wrap", withField(t, renamed, numProtectorWrap, nil), "no wrapped key")
	bad("protectors/2222222222222222.link", []byte("UUID\nFOO=bar\nPATH=a=b\n"), "neither UUID nor PATH")
	bad("protectors/name.link", []byte("UUID=x\n"), "not that of a protector")
	own := bytes.Replace(renamed, []byte(zero), []byte("3333333333333333"), 1)
	bad("protectors/3333333333333333", login(t, own, 1000), "login protector of uid 1000 belongs to uid 7")
	return files, reasons
}

func withField(t *testing.T, file []byte, num protowire.Number, v []byte) []byte {
	t.Helper()
	m, err := parseMessage(bytes.Clone(file))
	must(t, err)
	m.setData(num, v)
	return m.bytes()
}

func login(t *testing.T, file []byte, uid uint64) []byte {
	t.Helper()
	m, err := parseMessage(bytes.Clone(file))
	must(t, err)
	m.setVarint(numSource, uint64(SourceLogin))
	m.setVarint(numUID, uid)
	return m.bytes()
}

// What cannot be used is named, with its reason, and the rest is read.
func TestLoadDamaged(t *testing.T) {
	files, reasons := hostileTree(t)
	under := map[string][]byte{}
	for name, data := range files {
		under[baseName+"/"+name] = data
	}
	tree := writeTree(t, under)
	must(t, os.Symlink("../x", filepath.Join(tree, baseName, "protectors/symlink")))
	must(t, os.Mkdir(filepath.Join(tree, baseName, "policies/subdir"), 0o755))
	reasons["protectors/symlink"], reasons["policies/subdir"], reasons["protectors/fifo"] = "it is a symlink", "it is a dir", "it is a fifo"
	must(t, unix.Mkfifo(filepath.Join(tree, baseName, "protectors/fifo"), 0o600))
	img := newImage(t, "1k", tree, "sif /.fscrypt/protectors/3333333333333333 uid 7")
	s := img.load()

	got := map[string]string{}
	for _, d := range s.Damaged {
		if !errors.Is(d, image.ErrCorrupt) || d.Ino == 0 {
			t.Errorf("%v is not a CorruptError with an inode", d)
		}
		got[strings.TrimPrefix(d.Path, "/.fscrypt/")] = d.Err.Error()
	}
	for name, why := range reasons {
		if !strings.Contains(got[name], why) {
			t.Errorf("%s: %q, want something with %q", name, got[name], why)
		}
	}
	if len(got) != len(reasons) {
		t.Errorf("damaged are %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(reasons)))
	}
	if len(s.Policies) != 1 || len(s.Protectors) != 1 || len(s.Links) != 1 {
		t.Errorf("usable are %v, %v and %v", s.Policies, s.Protectors, s.Links)
	}
	opens(t, s, "94e7509c3b08a8eaccd5e0f5aff9a1a2", "one", vectors(t)[0].Protectors[0].Passphrase, vectors(t)[0].Policies[0].PolicyKey)
	must(t, img.load().RemoveAll())
	img.check()
}

func TestLinks(t *testing.T) {
	for _, c := range []struct{ text, uuid, path, err string }{
		{"UUID=1234-abcd\nPATH=/\n", "1234-abcd", "/", `protector 1111111111111111 is not in this image: on the filesystem with UUID "1234-abcd", once mounted at "/"`},
		{"UUID=1234-abcd", "1234-abcd", "", `protector 1111111111111111 is not in this image: on the filesystem with UUID "1234-abcd"`},
		{"\n  PATH=/mnt/x \nrubbish\nNEW=1\n", "", "/mnt/x", `protector 1111111111111111 is not in this image: on the filesystem mounted at "/mnt/x"`},
		{"UUID=a\nUUID=b\n", "b", "", `protector 1111111111111111 is not in this image: on the filesystem with UUID "b"`},
	} {
		l, err := parseLink([]byte(c.text))
		must(t, err)
		l.ID = "1111111111111111"
		if l.UUID != c.uuid || l.Path != c.path || l.Err().Error() != c.err || !errors.Is(l.Err(), ErrElsewhere) {
			t.Errorf("%q: %+v, %v", c.text, l, l.Err())
		}
	}
	for _, text := range []string{"", "UUID=\nPATH=", "UUID=a\x00", "uuid=a", "UUID=a=b"} {
		if l, err := parseLink([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, l)
		}
	}
}

// A policy whose only other protector is elsewhere: the reason says where, and
// the one that is here may go.
func TestLinkedProtector(t *testing.T) {
	files := vectorTree(t)
	delete(files, ".fscrypt/protectors/2847faea51282691")
	files[".fscrypt/protectors/2847faea51282691.link"] = []byte("UUID=1234\nPATH=/\n")
	delete(files, ".fscrypt/protectors/d7f6d90af63b724e")
	img := newImage(t, "1k", writeTree(t, files))
	s := img.load()
	p, err := s.Policy("5947a0")
	must(t, err)
	usable, missing := s.ProtectorsOf(p)
	if len(usable) != 1 || len(missing) != 2 || !errors.Is(missing[0], ErrNotFound) || !strings.Contains(missing[1].Error(), `UUID "1234"`) {
		t.Errorf("usable %v, missing %v", usable, missing)
	}
	if _, err := s.Protector("2847"); !errors.Is(err, ErrElsewhere) {
		t.Errorf("linked protector: %v", err)
	}
	must(t, s.RemoveProtector(usable[0], false))
	s = img.load()
	p, err = s.Policy("5947a0")
	must(t, err)
	must(t, s.DetachProtector(p, "d7f6d90af63b724e", false))
	if err := s.DetachProtector(p, "2847faea51282691", false); !errors.Is(err, ErrLastProtector) {
		t.Errorf("the last one: %v", err)
	}
	img.check()
}

func TestInsecure(t *testing.T) {
	for mode, want := range map[string]error{"040777": ErrInsecure, "041777": nil, "040775": nil, "040702": ErrInsecure} {
		for _, dir := range []string{policiesName, protectorsName} {
			img := newImage(t, "1k", writeTree(t, vectorTree(t)), "sif /.fscrypt/"+dir+" mode "+mode)
			if _, err := Load(img.fs); !errors.Is(err, want) {
				t.Errorf("%s with mode %s: %v, want %v", dir, mode, err, want)
			}
		}
	}
}

// .fscrypt may be a symlink to a directory in the image; nothing else may be.
func TestSymlinks(t *testing.T) {
	for target, want := range map[string]error{
		"var/meta": nil, "./var//meta/": nil, "var/../var/meta": nil,
		"/var/meta": ErrElsewhere, "../x": ErrElsewhere, "..": ErrElsewhere, "var/../../x": ErrElsewhere,
		"var/none": ErrNotSetUp, "link/meta": ErrNotSetUp, "var/file": ErrNotSetUp, ".fscrypt": ErrNotSetUp,
		strings.Repeat("a/", 200) + "b": ErrNotSetUp,
	} {
		tree := t.TempDir()
		must(t, os.MkdirAll(filepath.Join(tree, "var/meta/policies"), 0o755))
		must(t, os.MkdirAll(filepath.Join(tree, "var/meta/protectors"), 0o755))
		must(t, os.WriteFile(filepath.Join(tree, "var/file"), nil, 0o600))
		must(t, os.Symlink("var", filepath.Join(tree, "link")))
		must(t, os.Symlink(target, filepath.Join(tree, baseName)))
		img := newImage(t, "1k", tree)
		if _, err := Load(img.fs); !errors.Is(err, want) {
			t.Errorf(".fscrypt -> %s: %v, want %v", target, err, want)
		}
		if err := Setup(img.fs, SetupOptions{}); err == nil {
			t.Errorf(".fscrypt -> %s: set up again", target)
		}
	}
	for _, name := range []string{policiesName, protectorsName} {
		tree := writeTree(t, vectorTree(t))
		must(t, os.Rename(filepath.Join(tree, baseName, name), filepath.Join(tree, "moved")))
		must(t, os.Symlink("../moved", filepath.Join(tree, baseName, name)))
		if _, err := Load(newImage(t, "1k", tree).fs); !errors.Is(err, ErrNotSetUp) {
			t.Errorf("%s is a symlink: %v", name, err)
		}
	}
}

// More files than one cares to read.
func TestLoadBound(t *testing.T) {
	img := newImage(t, "4k", writeTree(t, vectorTree(t)))
	s := img.load()
	s.policies.ino = img.stat(baseName, protectorsName).Ino
	dir := s.policies
	for i := range 9 {
		_, err := img.fs.Create(dir.ino, []byte{'x', byte('a' + i)}, nil, image.NewFile{Perm: 0o600})
		must(t, err)
	}
	entries, err := listDir(img.fs, dir)
	if err != nil || len(entries) != 17 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	if _, err := listDir(manyNames{img.fs}, dir); !errors.Is(err, errTooMany) {
		t.Errorf("a directory without end: %v", err)
	}
}

// manyNames is a filesystem whose directories never end.
type manyNames struct{ image.FS }

func (manyNames) ReadDir(_ image.Ino, f func(image.Dirent) error) error {
	for {
		if err := f(image.Dirent{Name: []byte("x"), Ino: 12}); err != nil {
			return err
		}
	}
}
