package audit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fsenc/internal/feature"
	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/probe"
	"fsenc/internal/store/storetest"
	"fsenc/internal/tree"
)

// auditTree lists the findings of Tree on an image of the kernel.
func auditTree(t *testing.T, img []byte, path string, must_ bool) ([]string, TreeResult) {
	t.Helper()
	fs, err := probe.Open(storetest.NewMem(img), probe.Options{})
	must(t, err)
	tr := tree.New(fs, nil)
	defer tr.Close()
	top, err := tr.Lookup(path)
	must(t, err)
	got := []string{}
	res, err := Tree(t.Context(), tr, top, must_, func(f Finding) error {
		got = append(got, fmt.Sprintf("%v %s %d", f.Severity, f.ID, f.Ino))
		return nil
	})
	must(t, err)
	slices.Sort(got)
	return got, res
}

// What is broken in an image is found where it is a question of plaintext.
func TestTreeFindsPlaintext(t *testing.T) {
	base, m := imagetest.GoldenBytes(t, "ext4-check"), imagetest.Manifest(t, "ext4-check")
	sound, res := auditTree(t, base, "/", false)
	if res.Errors+res.Warnings > 0 || res.Infos != len(sound) || res.Encrypted < 20 || res.Unencrypted < 2 {
		t.Errorf("a sound image: %q, %+v", sound, res)
	}
	want := map[string]string{
		"flag-cleared-file": "error context-without-flag", "flag-cleared-dir": "error context-without-flag",
		"plain-child": "error plaintext-in-encrypted-dir", "no-context-file": "error unreadable",
	}
	for _, b := range m.Broken {
		id, ok := want[b.Name]
		if !ok {
			continue
		}
		delete(want, b.Name)
		got, _ := auditTree(t, imagetest.Break(t, bytes.Clone(base), b), "/", false)
		if !slices.ContainsFunc(got, func(g string) bool { return len(g) > len(id) && g[:len(id)] == id }) {
			t.Errorf("%s: want %s, got %q", b.Name, id, got)
		}
	}
	if len(want) > 0 {
		t.Errorf("not tried: %v", want)
	}
}

// Below a path that must be encrypted, everything that is not is a finding.
func TestTreeBelowPath(t *testing.T) {
	base := imagetest.GoldenBytes(t, "ext4-4k")
	if got, res := auditTree(t, base, "/plain", true); uint64(len(got)) != res.Unencrypted || res.Unencrypted < 3 || res.Encrypted > 0 || res.Errors != len(got) {
		t.Errorf("%q, %+v", got, res)
	}
	if got, res := auditTree(t, base, "/plain", false); len(got) > 0 || res.Unencrypted < 3 {
		t.Errorf("%q, %+v", got, res)
	}
}

// The policies of an image with many of them are told by what is to be said
// against each.
func TestTreeTellsWeakPolicies(t *testing.T) {
	got, _ := auditTree(t, imagetest.GoldenBytes(t, "ext4-modes"), "/", false)
	more, _ := auditTree(t, imagetest.GoldenBytes(t, "ext4-lblk"), "/", false)
	got = append(got, more...)
	ids := map[string]bool{}
	for _, g := range got {
		var severity, id string
		var ino image.Ino
		if _, err := fmt.Sscan(g, &severity, &id, &ino); err != nil || severity != "info" {
			t.Errorf("%q: %v", g, err)
		}
		ids[id] = true
	}
	want := map[string]bool{}
	for _, w := range weaknesses {
		want[w.id] = true
	}
	if d := cmp.Diff(want, ids); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// An error of the caller ends the walk.
func TestTreeStops(t *testing.T) {
	fs, err := probe.Open(storetest.NewMem(imagetest.GoldenBytes(t, "ext4-4k")), probe.Options{})
	must(t, err)
	tr := tree.New(fs, nil)
	stop, calls := errors.New("stop"), 0
	_, err = Tree(t.Context(), tr, tr.Root(), true, func(Finding) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

// Contents inside of inodes are encrypted if the feature says so, and are not
// if it does not.
func TestTreeTellsInline(t *testing.T) {
	src := t.TempDir()
	put(t, src, "secret/small", noise("small", 200))
	put(t, src, "secret/large", noise("large", 2000))
	img := read(t, mke2fs(t, src, "8M", "-b", "1024", "-I", "512", "-O", "encrypt,inline_data"))
	setFeatures(t, img, []string{feature.EncryptedInlineData}, nil)
	img = encrypted(t, img, true)
	if got, res := auditTree(t, img, "/secret", true); res.Errors+res.Warnings > 0 || res.Encrypted != 3 {
		t.Errorf("%q, %+v", got, res)
	}
	setFeatures(t, img, nil, []string{feature.EncryptedInlineData})
	if got, res := auditTree(t, img, "/secret", true); res.Errors != 1 || !slices.ContainsFunc(got, func(f string) bool { return strings.HasPrefix(f, "error inline-encrypted") }) {
		t.Errorf("without the feature: %q, %+v", got, res)
	}
}
