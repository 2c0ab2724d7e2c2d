package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fsenc/internal/convert"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/feature"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store/storetest"
	"fsenc/internal/tree"
	"fsenc/test/mkimage"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, dir, name string, b []byte) {
	t.Helper()
	p := filepath.Join(dir, name)
	must(t, errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, b, 0o644)))
}

// noise is n bytes that only name decides.
func noise(name string, n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		s := sha256.Sum256(fmt.Appendf(nil, "%s %d", name, i))
		b = append(b, s[:]...)
	}
	return b[:n]
}

// mke2fs makes an image of a directory.
func mke2fs(t testing.TB, src, size string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "img")
	args = append([]string{"-q", "-F", "-t", "ext4", "-d", src}, append(args, path, size)...)
	if out, err := exec.Command("/usr/sbin/mke2fs", args...).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	return path
}

// scanFor scans an image for a source.
func scanFor(t testing.TB, img []byte, src *Source) ([]Finding, ScanResult) {
	t.Helper()
	home := storetest.NewMem(img)
	fs, err := probe.Open(home, probe.Options{})
	must(t, err)
	tr := tree.New(fs, nil)
	defer tr.Close()
	var all []Finding
	res, err := Scan(t.Context(), tr, home, src, nil, func(f Finding) error {
		all = append(all, f)
		return nil
	})
	must(t, err)
	return all, res
}

func quiet(Stats) {}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

func source(t testing.TB, path string) *Source {
	t.Helper()
	s, err := ReadSource(t.Context(), path, quiet)
	must(t, err)
	return s
}

// planted is what a test puts into an image, and how that is to be reported.
type planted struct {
	off      int64
	text     []byte
	match    Kind
	id       string
	region   Region
	severity image.Severity
	path     string
}

// Plaintext in each kind of place is found there, once, and told as what it is.
func TestScanTellsPlaces(t *testing.T) {
	other := t.TempDir()
	put(t, other, "dir/some-file", noise("some", 5000))
	put(t, other, "dir/half", noise("half", 1300))
	put(t, other, "dir/name-in-live-dir", nil)
	must(t, os.Symlink("the/live/target/of/a/link", filepath.Join(other, "link")))
	path := mke2fs(t, other, "16M", "-b", "1024", "-I", "256", "-O", "^metadata_csum")
	mkimage.Mounted(t, path, true, func(dir string) {
		must(t, exec.Command("fallocate", "-l", "8192", filepath.Join(dir, "prealloc")).Run())
	})
	img := read(t, path)

	src := t.TempDir()
	var plants []planted
	add := func(off int64, text []byte, k Kind, id string, r Region, s image.Severity, path string) {
		plants = append(plants, planted{off, text, k, id, r, s, path})
	}
	at := survey(t, img)
	for i, x := range []struct {
		name string
		off  int64
	}{{"free", at.free}, {"journal", at.journal}, {"unwritten", at.unwritten}, {"tail", at.half + 1536}} {
		region := []Region{FreeBlock, Journal, Unwritten, FileTail}[i]
		put(t, src, "full-"+x.name, noise(x.name, 2048))
		owner := []string{"", "", "/prealloc", "/dir/half"}[i]
		add(x.off, noise(x.name, 2048)[512:1024], Contents, idLeft, region, image.Error, owner)
		if region != FileTail {
			put(t, src, "the-name-"+x.name, nil)
			add(x.off+700, []byte("the-name-"+x.name), Name, idLeft, region, image.Error, owner)
		}
	}
	for _, name := range []string{"name-in-slot", "name-in-gap", "name-in-dir-gap", "name-in-super", "name-in-live-dir"} {
		put(t, src, name, nil)
	}
	add(at.freeSlot+40, []byte("name-in-slot"), Name, idLeft, FreeSlot, image.Error, "")
	add(at.usedSlot+200, []byte("name-in-gap"), Name, idLeft, InodeSlot, image.Error, "/dir/some-file")
	add(at.dir+1024-60, []byte("name-in-dir-gap"), Name, idLeft, Directory, image.Error, "/dir")
	add(1024+136, []byte("name-in-super"), Name, idUnknown, Metadata, image.Warning, "")
	add(at.dir, nil, Name, idName, Directory, image.Info, "/dir")
	put(t, src, "copied", noise("some", 5000)[:1024])
	add(at.file, nil, Contents, idInUse, File, image.Warning, "/dir/some-file")
	must(t, os.Symlink("the/live/target/of/a/link", filepath.Join(src, "short")))
	add(at.link, nil, Target, idInUse, InodeSlot, image.Warning, "/link")
	put(t, src, "tiny", []byte("contents of a short file"))
	add(at.freeSlot+100, []byte("contents of a short file"), Contents, idLeft, FreeSlot, image.Error, "")

	var want []string
	for _, p := range plants {
		copy(img[p.off:], p.text)
		want = append(want, fmt.Sprintf("%v %s %s %s block %d %s", p.severity, p.id, p.region, p.match, p.off/1024, p.path))
	}
	found, res := scanFor(t, img, source(t, src))
	var got []string
	for _, f := range found {
		got = append(got, fmt.Sprintf("%v %s %s %s block %d %s", f.Severity, f.ID, f.Region, f.Match.Kind, f.Pblk, f.Path))
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("findings (-want +got):\n%s", d)
	}
	if res.Errors+res.Warnings+res.Infos != len(found) || res.Untold != 0 || res.Bytes != int64(len(img)) {
		t.Errorf("%+v", res)
	}
}

// spots are byte offsets in the image that TestScanTellsPlaces makes.
type places struct {
	free, journal, unwritten, half, file, dir, freeSlot, usedSlot, link int64
}

func survey(t *testing.T, img []byte) places {
	t.Helper()
	fs, err := probe.Open(storetest.NewMem(img), probe.Options{})
	must(t, err)
	tr := tree.New(fs, nil)
	find := func(path string) image.Ino {
		n, err := tr.Lookup(path)
		must(t, err)
		return n.Ino
	}
	block := func(ino image.Ino, l image.Lblk) int64 {
		all, err := fs.Extents(ino)
		must(t, err)
		for _, x := range all {
			if l >= x.Lblk && l < x.Lblk+image.Lblk(x.Len) {
				return int64(x.Pblk+image.Pblk(l-x.Lblk)) * 1024
			}
		}
		t.Fatalf("inode %d has no block %d", ino, l)
		return 0
	}
	slots, err := fs.(image.Slots).Slots()
	must(t, err)
	slot := func(want func(image.Ino) bool) int64 {
		for off := int64(0); off < int64(len(img)); off += 256 {
			if ino := slots(off); ino != 0 && want(ino) {
				return off
			}
		}
		t.Fatal("no such slot")
		return 0
	}
	p := places{
		journal: block(8, 5), unwritten: block(find("/prealloc"), 2), half: block(find("/dir/half"), 0),
		file: block(find("/dir/some-file"), 0), dir: block(find("/dir"), 0),
		freeSlot: slot(func(i image.Ino) bool { return i == 500 }),
		usedSlot: slot(func(i image.Ino) bool { return i == find("/dir/some-file") }),
		link:     slot(func(i image.Ino) bool { return i == find("/link") }),
	}
	must(t, fs.Residue(func(off, n int64) error {
		if slots(off) == 0 && off != block(8, 1) && n >= 4096 && p.free == 0 {
			p.free = (off + n/2) &^ 1023
		}
		return nil
	}))
	return p
}

// A conversion that wipes leaves nothing of the source in the image, one that
// does not leaves what the kernel left: old directory blocks in the journal,
// deleted files. What is left is found, and wiping removes it.
func TestNothingIsLeftOfConverted(t *testing.T) {
	src := t.TempDir()
	for i := range 30 {
		put(t, src, fmt.Sprintf("sub-directory/a-name-of-a-file-%02d", i), noise(fmt.Sprint(i), 300*i))
	}
	put(t, src, "a-larger-file", noise("large", 100000))
	must(t, os.Symlink("a/target/that/must/not/stay", filepath.Join(src, "link")))
	for i, args := range [][]string{{"-b", "1024", "-O", "encrypt"}, {"-b", "4096", "-O", "encrypt,inline_data"},
		{"-b", "4096", "-I", "1024", "-O", "encrypt,inline_data"}} {
		path := mke2fs(t, t.TempDir(), "24M", args...)
		mkimage.Mounted(t, path, true, func(dir string) {
			must(t, exec.Command("cp", "-a", src, filepath.Join(dir, "secret")).Run())
			must(t, exec.Command("cp", "-a", src, filepath.Join(dir, "deleted")).Run())
			must(t, exec.Command("sync", "-f", dir).Run())
			must(t, os.RemoveAll(filepath.Join(dir, "deleted")))
		})
		base := read(t, path)
		if i == 2 {
			setFeatures(t, base, []string{feature.EncryptedInlineData}, nil)
		}
		known := source(t, src)
		if !known.Stats().Whole() {
			t.Fatalf("%+v", known.Stats())
		}
		unwiped := encrypted(t, base, false)
		found, res := scanFor(t, unwiped, known)
		regions := map[Region]int{}
		kinds := map[Kind]int{}
		for _, f := range found {
			regions[f.Region]++
			kinds[f.Match.Kind]++
		}
		t.Logf("%v: %v %v", args, regions, kinds)
		for _, r := range []Region{FreeBlock, Journal} {
			if regions[r] == 0 {
				t.Errorf("%v: nothing found in a %s", args, r)
			}
		}
		if kinds[Name] == 0 || kinds[Contents] == 0 || kinds[Target] == 0 || res.Errors == 0 {
			t.Errorf("%v: found %v", args, kinds)
		}
		for _, r := range slices.Sorted(maps.Keys(regions)) {
			if r != FreeBlock && r != Journal && r != FreeSlot {
				t.Errorf("%v: found in a %s", args, r)
			}
		}
		if found, _ := scanFor(t, encrypted(t, base, true), known); len(found) > 0 {
			t.Errorf("%v: %d findings after a conversion that wipes: %+v", args, len(found), found[0])
		}
	}
}

// setFeatures changes the features of an image.
func setFeatures(t testing.TB, img []byte, set, clear []string) {
	t.Helper()
	fs, err := probe.Open(storetest.NewMem(img), probe.Options{Write: true})
	must(t, err)
	must(t, fs.SetFeatures(set, clear))
	must(t, fs.Flush())
}

// encrypted converts /secret of an image.
func encrypted(t *testing.T, base []byte, wipe bool) []byte {
	t.Helper()
	home := storetest.NewMem(bytes.Clone(base))
	key, err := crypt.NewMasterKey(noise("key", 64))
	must(t, err)
	ring := new(crypt.Keyring)
	ring.Add(key)
	fs, err := probe.Open(home, probe.Options{Write: true})
	must(t, err)
	n, err := tree.New(fs, ring).Lookup("/secret")
	must(t, err)
	pol := policy.Policy{Version: 2, Contents: policy.ModeAES256XTS, Filenames: policy.ModeAES256CTS, Flags: 3, Identifier: key.Identifier()}
	o := convert.Options{Keys: ring, Wipe: wipe}
	p, err := convert.PlanEncrypt(t.Context(), fs, []convert.Top{{Path: "/secret", Ino: n.Ino}}, pol, o)
	must(t, err)
	c, err := convert.Begin(home, storetest.NewClock(1<<30).Log(nil), p, ring)
	must(t, err)
	must(t, c.Run(t.Context(), convert.Forward))
	return home.Bytes()
}

// A string may begin in one piece of the image and end in the next. In the
// contents of a file nothing is searched for but contents.
func TestScanSearchesEverywhere(t *testing.T) {
	other := t.TempDir()
	put(t, other, "text", bytes.Repeat([]byte("name-of-it"), 3000))
	img := read(t, mke2fs(t, other, "8M", "-b", "1024", "-O", "^has_journal"))
	src := t.TempDir()
	put(t, src, "name-of-it", nil)
	target := "../" + strings.Repeat("a-long-part-of-a-target/", 80)
	must(t, os.Symlink(target, filepath.Join(src, "link")))
	for _, at := range []int{5<<20 - 1, 6<<20 - len(target) + 1, len(img) - len(target)} {
		copy(img[at:], target)
	}
	found, res := scanFor(t, img, source(t, src))
	// The last part of the file is in a block that is not full.
	if rest := 30000 % 1024 / 10; len(found) != 3 || res.Matches > uint64(3+rest) {
		t.Errorf("%d findings, %+v", len(found), res)
	}
	for _, f := range found {
		if f.Match.Kind != Target || f.Match.Source != "link" || f.Region != FreeBlock {
			t.Errorf("%+v", f)
		}
	}
}

// More than is kept is counted, and the scan ends when it is told to.
func TestScanBounds(t *testing.T) {
	src := t.TempDir()
	put(t, src, "name-of-it", nil)
	path := mke2fs(t, t.TempDir(), "16M", "-b", "1024", "-O", "^has_journal")
	img := read(t, path)
	at := bytes.LastIndexFunc(img, func(r rune) bool { return r != 0 })
	free := (len(img) - 7<<20) &^ 1023
	if at > free {
		t.Fatalf("the end of the image is in use up to %d", at)
	}
	copy(img[free:free+6<<20], bytes.Repeat([]byte("name-of-it"), 6<<20/10))
	found, res := scanFor(t, img, source(t, src))
	if uint64(len(found))+res.Untold != res.Matches || res.Matches != 6<<20/10 || len(found) != maxHits {
		t.Errorf("%d findings, %+v", len(found), res)
	}
	home := storetest.NewMem(img)
	fs, err := probe.Open(home, probe.Options{})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	progress := func(int64) { cancel() }
	if _, err := Scan(ctx, tree.New(fs, nil), home, source(t, src), progress, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	broken := storetest.NewFaulty(home, storetest.Read, 3, os.ErrPermission)
	if _, err := Scan(t.Context(), tree.New(fs, nil), broken, source(t, src), nil, nil); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "read the image at") {
		t.Errorf("unreadable: %v", err)
	}
}
